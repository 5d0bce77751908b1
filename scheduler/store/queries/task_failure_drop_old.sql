-- Deletes up to $3 failures from before $2.
WITH fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
), dropped AS (
    DELETE FROM task_failure USING fence
    WHERE id = ANY (ARRAY(SELECT id FROM task_failure WHERE failed_at < $2 ORDER BY failed_at LIMIT $3))
    RETURNING 1
)
SELECT CASE WHEN EXISTS (SELECT FROM fence) THEN (SELECT count(*) FROM dropped) ELSE refuse('deposed') END AS "dropped!"
