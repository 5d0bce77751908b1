-- What visible DAGs that files define say of the assets $1, up to $3 rows.
SELECT a.id AS "asset_id!", r.kind, r.dag_id, r.task_id, r.created_at, r.updated_at
FROM asset AS a
JOIN asset_reference AS r
  ON NOT r.is_alias AND r.name IN (a.name, a.uri) AND (r.uri IS NULL OR (r.name = a.name AND r.uri = a.uri))
JOIN dag AS d ON d.dag_id = r.dag_id AND NOT d.is_stale
WHERE a.id = ANY ($1) AND ($2::text[] IS NULL OR r.dag_id = ANY ($2))
ORDER BY a.id, r.dag_id, r.task_id, r.kind
LIMIT $3
