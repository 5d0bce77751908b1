-- No row: $6 commands wait already. $1 is the command, $7 is it without secrets; both as text, so that they are stored as they
-- are. $8 and $9: from where, and by which door. $10: whether it is of a kind that comes in floods. $11: the API token that it came by. A command has the number of its
-- line in the audit log, so that its answer finds the line.
WITH logged AS (
    INSERT INTO audit_log (who, action, dag_id, run_id, details, address, door, api_token, outcome)
    SELECT $2, $3, $4, $5, $7::text::json, $8, $9, $11, 'asked'
    WHERE (SELECT count(*) FROM (SELECT FROM inbox WHERE dead_because IS NULL LIMIT $6) AS waiting) < $6
    RETURNING id
)
INSERT INTO inbox (id, command, sent_by, is_bulk) OVERRIDING SYSTEM VALUE
SELECT id, $1::text::json, $2, $10 FROM logged
RETURNING id
