SELECT wanted.dag_id AS "dag_id!", coalesce(dag.first_seen_at, now()) AS "first_seen!"
FROM unnest($1::text[]) AS wanted (dag_id)
LEFT JOIN dag ON dag.dag_id = wanted.dag_id
