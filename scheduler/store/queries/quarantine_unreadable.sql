-- What a new leader can not read is held, by kind, key and reason ($2 to $4); what it can is well again.
WITH fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
), told AS (
    SELECT t.kind, t.key, t.reason FROM unnest($2::text[], $3::text[], $4::text[]) AS t (kind, key, reason)
), well AS (
    DELETE FROM quarantine AS q USING fence
    WHERE q.kind IN ('version', 'run', 'dag') AND (q.kind, q.key) NOT IN (SELECT told.kind, told.key FROM told)
), held AS (
    INSERT INTO quarantine (kind, key, reason, held_at)
    SELECT told.kind, told.key, told.reason, now() FROM told, fence
    ON CONFLICT (kind, key) DO UPDATE
    SET reason = excluded.reason, last_at = now(), held_at = coalesce(quarantine.held_at, now()), released_at = NULL
)
SELECT CASE WHEN EXISTS (SELECT FROM fence) THEN 0 ELSE refuse('deposed') END AS "ok!"
