-- What is held, the newest first: the leader's, and commands that were put aside.
SELECT kind AS "kind!", key AS "key!", reason AS "reason!", failures AS "failures!", first_at AS "first_at!",
       last_at AS "last_at!", count(*) OVER () AS "total!"
FROM (
    SELECT kind, key, reason, failures, first_at, last_at
    FROM quarantine WHERE held_at IS NOT NULL AND released_at IS NULL
    UNION ALL
    SELECT 'command', id::text, dead_because, deliveries::int, sent_at, sent_at
    FROM inbox WHERE dead_because IS NOT NULL
) AS held
WHERE ($1::text IS NULL OR kind = $1) AND ($2::text IS NULL OR key = $2)
ORDER BY last_at DESC, kind, key
LIMIT $3 OFFSET $4
