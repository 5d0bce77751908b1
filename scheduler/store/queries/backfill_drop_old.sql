-- Drops backfills that were over before $2; what belongs to them is swept later.
WITH fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
), dropped AS (
    UPDATE backfill SET is_dropped = true FROM fence WHERE completed_at < $2 AND NOT is_dropped RETURNING 1
)
SELECT CASE WHEN EXISTS (SELECT FROM fence) THEN (SELECT count(*) FROM dropped) ELSE refuse('deposed') END AS "dropped!"
