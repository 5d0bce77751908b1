-- What has changed and was not taken up: of a DAG, of an asset, before an instant; for visible DAGs, up to $5 rows.
SELECT q.dag_id, q.asset_id, a.name, a.uri, q.first_event, q.last_event, q.created_at
FROM asset_queue AS q JOIN asset AS a ON a.id = q.asset_id
WHERE ($1::text IS NULL OR q.dag_id = $1) AND ($2::bigint IS NULL OR q.asset_id = $2)
  AND ($3::timestamptz IS NULL OR q.created_at < $3) AND ($4::text[] IS NULL OR q.dag_id = ANY ($4))
ORDER BY q.dag_id, a.name, q.asset_id
LIMIT $5
