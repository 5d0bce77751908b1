-- Notes that a worker is gone. Those that are gone for a month are forgotten, some at a time: the tries that name one show
-- it no more.
WITH fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
), noted AS (
    UPDATE worker SET lost_at = now() FROM fence WHERE id = $2 AND lost_at IS NULL
), forgotten AS (
    DELETE FROM worker
    WHERE id IN (
        SELECT w.id FROM worker AS w, fence
        WHERE w.lost_at < now() - interval '30 days' AND NOT EXISTS (SELECT FROM service AS s WHERE s.worker_id = w.id)
        ORDER BY w.lost_at
        LIMIT 100
    )
)
SELECT CASE WHEN EXISTS (SELECT FROM fence) THEN 0 ELSE refuse('deposed') END AS "ok!"
