-- As text: each is read by itself, so that one that a newer version wrote concerns nothing but its DAG.
SELECT id, dag_id, compiled::text AS "compiled!"
FROM dag_version
WHERE id = ANY ($1)
ORDER BY id
