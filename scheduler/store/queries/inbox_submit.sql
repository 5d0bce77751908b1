-- No row: $6 commands wait already. $7 is the command without secrets.
WITH sent AS (
    INSERT INTO inbox (command, sent_by)
    SELECT $1, $2 WHERE (SELECT count(*) FROM inbox WHERE dead_because IS NULL) < $6
    RETURNING id
), logged AS (
    INSERT INTO audit_log (who, action, dag_id, run_id, details) SELECT $2, $3, $4, $5, $7 FROM sent
)
SELECT id FROM sent
