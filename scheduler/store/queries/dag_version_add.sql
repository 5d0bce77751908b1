-- One writer, so the next number is free. The same definition may stand in a file that reads otherwise by now.
INSERT INTO dag_version (dag_id, number, content_hash, canonical_yaml, compiled, fileloc, source_sha256)
SELECT $1, 1 + coalesce((SELECT max(number) FROM dag_version WHERE dag_id = $1), 0), $2, $3, $4, $5, $6
ON CONFLICT (dag_id, content_hash) DO UPDATE SET source_sha256 = excluded.source_sha256
WHERE dag_version.source_sha256 IS DISTINCT FROM excluded.source_sha256
