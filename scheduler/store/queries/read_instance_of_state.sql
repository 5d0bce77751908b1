-- The first instance of task $2 in run $1 that is in state $3.
SELECT ti.map_index
FROM task_instance AS ti
WHERE ti.run_id = $1 AND ti.task_idx = $2 AND ti.state = $3
ORDER BY ti.map_index
LIMIT 1
