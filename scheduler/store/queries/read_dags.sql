-- Every DAG, or the one named by $1, with whether its file has mistakes.
SELECT d.dag_id, d.current_version, d.fileloc, d.display_name, d.description, d.tags, d.owners, d.is_paused, d.is_draining, d.is_stale,
       d.bundle_name, (SELECT v.bundle_version FROM dag_version v WHERE v.id = d.current_version) AS bundle_version,
       EXISTS (SELECT FROM import_error e WHERE e.bundle_name = d.bundle_name AND e.file = d.fileloc) AS "has_import_errors!",
       d.next_logical_date, d.next_interval_start, d.next_interval_end, d.next_run_after, d.last_parsed_at
FROM dag d
WHERE $1::text IS NULL OR d.dag_id = $1
ORDER BY d.dag_id
