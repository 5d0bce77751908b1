-- One writer, so the next number is free.
INSERT INTO dag_version (dag_id, number, content_hash, canonical_yaml, compiled, fileloc)
SELECT $1, 1 + coalesce((SELECT max(number) FROM dag_version WHERE dag_id = $1), 0), $2, $3, $4, $5
ON CONFLICT (dag_id, content_hash) DO NOTHING
