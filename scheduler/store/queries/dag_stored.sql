-- What each DAG that a file defines is, for comparison with the file.
SELECT d.dag_id, d.bundle_name, d.fileloc, v.content_hash, v.source_sha256
FROM dag AS d JOIN dag_version AS v ON v.id = d.current_version
WHERE NOT d.is_stale
ORDER BY d.dag_id
