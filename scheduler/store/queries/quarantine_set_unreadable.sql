-- $2 and $3: what this leader can not read of what is stored, and why. What it can read is held no more.
WITH fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
), readable AS (
    DELETE FROM quarantine USING fence WHERE kind = 'stored' AND key <> ALL ($2::text[])
), held AS (
    INSERT INTO quarantine AS q (kind, key, reason, held_at)
    SELECT 'stored', u.key, u.reason, now() FROM unnest($2::text[], $3::text[]) AS u (key, reason), fence
    ON CONFLICT (kind, key) DO UPDATE
    SET reason = excluded.reason, failures = q.failures + 1, last_at = now(), held_at = coalesce(q.held_at, now()),
        released_at = NULL
)
SELECT CASE WHEN EXISTS (SELECT FROM fence) THEN 0 ELSE refuse('deposed') END AS "ok!"
