-- Notes that a worker is gone.
WITH fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
), noted AS (
    UPDATE worker SET lost_at = now() FROM fence WHERE id = $2 AND lost_at IS NULL
)
SELECT CASE WHEN EXISTS (SELECT FROM fence) THEN 0 ELSE refuse('deposed') END AS "ok!"
