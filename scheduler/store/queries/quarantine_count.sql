-- Counts a failure; $6 of them hold it.
WITH fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
), counted AS (
    INSERT INTO quarantine AS q (kind, key, reason, content, held_at)
    SELECT $2, $3, $4, $5::text::json, CASE WHEN $6::int <= 1 THEN now() END FROM fence
    ON CONFLICT (kind, key) DO UPDATE
    SET reason = excluded.reason, content = coalesce(excluded.content, q.content), failures = q.failures + 1,
        last_at = now(), released_at = NULL,
        held_at = coalesce(q.held_at, CASE WHEN q.failures + 1 >= $6::int THEN now() END)
    RETURNING failures, held_at IS NOT NULL AS is_held
)
SELECT CASE WHEN EXISTS (SELECT FROM fence) THEN 0 ELSE refuse('deposed') END AS "ok!",
       (SELECT is_held FROM counted) AS "is_held!"
