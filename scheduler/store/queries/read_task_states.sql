-- One index lookup a task in each table. A task without a row is in no state yet.
SELECT t.task_id, ti.state AS "state?"
FROM dag_task AS t
LEFT JOIN task_instance AS ti ON ti.run_id = $2 AND ti.task_idx = t.task_idx AND ti.map_index = -1
WHERE t.dag_id = $1 AND t.task_id = ANY ($3)
