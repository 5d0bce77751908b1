-- Every bundle, or the one named by $2: the DAG folder ($1), which has no row, first.
WITH every AS (
    SELECT $1::text AS name, 'local' AS kind, true AS is_active, NULL::bigint AS current_revision,
           NULL::timestamptz AS current_since, NULL::text AS passed_over, '{}'::json AS settings,
           NULL::timestamptz AS polled_at, 0 AS poll_failures, NULL::text AS poll_error
    UNION ALL
    SELECT name, kind, is_active, current_revision, current_since, passed_over, settings, polled_at, poll_failures, poll_error
    FROM bundle
)
SELECT e.name AS "name!", e.kind AS "kind!", e.is_active AS "is_active!", r.revision AS "revision?", r.author, r.message,
       r.made_by AS "made_by?", e.current_since AS since, e.passed_over, e.settings AS "settings!", e.polled_at,
       e.poll_failures AS "poll_failures!", e.poll_error,
       (SELECT count(*) FROM dag WHERE dag.bundle_name = e.name AND NOT dag.is_stale) AS "dags!",
       (SELECT count(*) FROM import_error i WHERE i.bundle_name = e.name AND i.position = 0) AS "broken_files!"
FROM every AS e LEFT JOIN bundle_revision AS r ON r.id = e.current_revision
WHERE $2::text IS NULL OR e.name = $2
ORDER BY e.name <> $1, e.name
LIMIT $3
