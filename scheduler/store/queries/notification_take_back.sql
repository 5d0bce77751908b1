-- What an earlier leader was sending is sent again: nobody knows whether it has arrived.
WITH fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
), back AS (
    UPDATE notification SET state = 0, next_attempt_at = now() FROM fence WHERE state = 1 RETURNING 1
)
SELECT CASE WHEN EXISTS (SELECT FROM fence) THEN (SELECT count(*) FROM back) ELSE refuse('deposed') END AS "back!"
