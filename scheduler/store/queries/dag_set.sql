INSERT INTO dag (dag_id, current_version, fileloc, description, tags, owners, is_paused)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (dag_id) DO UPDATE
SET current_version = excluded.current_version, fileloc = excluded.fileloc, description = excluded.description,
    tags = excluded.tags, owners = excluded.owners, is_stale = false, last_parsed_at = now()
