-- Tags and owners are JSON arrays of texts, a pair for each DAG.
INSERT INTO dag (dag_id, current_version, fileloc, description, tags, owners, is_paused, bundle_name, display_name)
SELECT d.dag_id, d.version, d.fileloc, d.description, ARRAY(SELECT json_array_elements_text(d.tags::json)),
       ARRAY(SELECT json_array_elements_text(d.owners::json)), d.is_paused, d.bundle_name, d.display_name
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::boolean[], $8::text[],
            $9::text[])
     AS d (dag_id, version, fileloc, description, tags, owners, is_paused, bundle_name, display_name)
ON CONFLICT (dag_id) DO UPDATE
SET current_version = excluded.current_version, fileloc = excluded.fileloc, description = excluded.description,
    tags = excluded.tags, owners = excluded.owners, bundle_name = excluded.bundle_name, display_name = excluded.display_name,
    is_stale = false, last_parsed_at = now()
