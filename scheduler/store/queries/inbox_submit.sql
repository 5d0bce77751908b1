-- No row: $6 commands wait already. $7 is the command without secrets. A command has the number of its line in the audit
-- log, so that its answer finds the line.
WITH logged AS (
    INSERT INTO audit_log (who, action, dag_id, run_id, details, address, door, outcome)
    SELECT $2, $3, $4, $5, $7, $8, $9, 'asked'
    WHERE (SELECT count(*) FROM inbox WHERE dead_because IS NULL) < $6
    RETURNING id
)
INSERT INTO inbox (id, command, sent_by) OVERRIDING SYSTEM VALUE
SELECT id, $1, $2 FROM logged
RETURNING id
