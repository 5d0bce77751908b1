SELECT id, dag_id, compiled AS "compiled: sqlx::types::Json<dag::Dag>"
FROM dag_version
WHERE id = ANY ($1)
ORDER BY id
