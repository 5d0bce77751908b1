-- The $2 newest runs of each DAG in $1: one short index scan a DAG.
SELECT r.id, r.dag_id, r.run_id, r.state, r.version_id, r.run_after, r.started_at, r.ended_at
FROM unnest($1::text[]) AS d (dag_id)
CROSS JOIN LATERAL (
    SELECT * FROM dag_run WHERE dag_run.dag_id = d.dag_id ORDER BY run_after DESC, id DESC LIMIT $2
) AS r
ORDER BY r.dag_id, r.run_after DESC, r.id DESC
