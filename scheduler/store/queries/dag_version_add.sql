-- One writer, so the next number is free. The same definition may stand in a file that reads otherwise by now, or in another bundle:
-- then its revision is that of the bundle that has it now. A DAG stands in the list once.
INSERT INTO dag_version (dag_id, number, content_hash, canonical_yaml, compiled, fileloc, source_sha256, bundle_name, bundle_version)
SELECT v.dag_id, 1 + coalesce((SELECT max(number) FROM dag_version AS known WHERE known.dag_id = v.dag_id), 0),
       v.content_hash, v.canonical_yaml, v.compiled::json, v.fileloc, v.source_sha256, v.bundle_name, v.bundle_version
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::text[], $8::text[])
     AS v (dag_id, content_hash, canonical_yaml, compiled, fileloc, source_sha256, bundle_name, bundle_version)
ON CONFLICT (dag_id, content_hash) DO UPDATE
SET source_sha256 = excluded.source_sha256, bundle_name = excluded.bundle_name,
    bundle_version = CASE WHEN dag_version.bundle_name = excluded.bundle_name THEN dag_version.bundle_version
                          ELSE excluded.bundle_version END
WHERE dag_version.source_sha256 IS DISTINCT FROM excluded.source_sha256 OR dag_version.bundle_name <> excluded.bundle_name
