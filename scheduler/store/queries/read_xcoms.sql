-- The XComs of the runs in $1, of task $2 when it is given.
SELECT run_id, task_idx, map_index, key, value AS "value: Json<Value>"
FROM xcom
WHERE run_id = ANY ($1) AND ($2::int IS NULL OR task_idx = $2)
ORDER BY run_id, task_idx, map_index, key
