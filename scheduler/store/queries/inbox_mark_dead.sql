WITH fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
), aside AS (
    UPDATE inbox SET dead_because = $3 FROM fence WHERE id = $2 RETURNING id
), answered AS (
    INSERT INTO inbox_answer (command_id, status, body) SELECT id, $4, $5 FROM aside
)
SELECT CASE WHEN EXISTS (SELECT FROM fence) THEN 0 ELSE refuse('deposed') END AS "ok!"
