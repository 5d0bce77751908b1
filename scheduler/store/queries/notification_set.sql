-- What has come of a notification that was under way: its next state, when it is tried again, and what is said of it.
WITH fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
), done AS (
    UPDATE notification
    SET state = $3, next_attempt_at = coalesce($4, next_attempt_at), ended_at = $5, detail = $6
    FROM fence WHERE id = $2 AND state = 1
    RETURNING 1
)
SELECT CASE WHEN EXISTS (SELECT FROM fence) THEN (SELECT count(*) FROM done) ELSE refuse('deposed') END AS "done!"
