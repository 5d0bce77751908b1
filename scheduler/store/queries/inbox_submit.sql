-- No row: $6 commands wait already. $1 is the command, $7 is it without secrets; both as text, so that they are stored as they
-- are. $8: whether it is of a kind that comes in floods.
WITH logged AS (
    INSERT INTO audit_log (who, action, dag_id, run_id, details)
    SELECT $2, $3, $4, $5, $7::text::json
    WHERE (SELECT count(*) FROM (SELECT FROM inbox WHERE dead_because IS NULL LIMIT $6) AS waiting) < $6
    RETURNING id
)
INSERT INTO inbox (command, sent_by, is_bulk, audit_id)
SELECT $1::text::json, $2, $8, id FROM logged
RETURNING id
