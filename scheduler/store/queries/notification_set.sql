-- What has come of a notification that was under way: its next state ($3), after how many seconds it is tried again ($4), what is
-- said of it ($5), and whether the try counts ($6).
WITH fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
), done AS (
    UPDATE notification
    SET state = $3::smallint, next_attempt_at = now() + make_interval(secs => $4), ended_at = CASE WHEN $3::smallint = 0 THEN NULL ELSE now() END,
        detail = $5, attempts = attempts - CASE WHEN $6 THEN 0 ELSE 1 END
    FROM fence WHERE id = $2 AND state = 1
    RETURNING 1
)
SELECT CASE WHEN EXISTS (SELECT FROM fence) THEN (SELECT count(*) FROM done) ELSE refuse('deposed') END AS "done!"
