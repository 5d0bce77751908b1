-- Deadlines, the next first: of the DAGs in $1 and of the run $2, each where it is not null.
SELECT id, dag_id, run_id, version_id, position, name, at, created_at, missed_at
FROM deadline
WHERE ($1::text[] IS NULL OR dag_id = ANY ($1)) AND ($2::text IS NULL OR run_id = $2)
ORDER BY at, id
OFFSET $3 LIMIT $4
