-- Notifications, the newest first: of the DAGs in $1, of the states in $2, of the run $3, each where it is not null.
SELECT id, dag_id, run_id, event, kind, task_id, map_index, try_number, reason, at, state, attempts, next_attempt_at,
       ended_at, detail
FROM notification
WHERE ($1::text[] IS NULL OR dag_id = ANY ($1))
    AND ($2::smallint[] IS NULL OR state = ANY ($2))
    AND ($3::text IS NULL OR run_id = $3)
ORDER BY at DESC, id DESC
OFFSET $4 LIMIT $5
