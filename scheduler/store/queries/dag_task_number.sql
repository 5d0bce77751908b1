-- New tasks get the next numbers, in the order given; those that have one keep it for ever.
INSERT INTO dag_task (dag_id, task_id, task_idx)
SELECT $1, t.task_id,
       coalesce((SELECT max(task_idx) FROM dag_task WHERE dag_id = $1), -1) + row_number() OVER (ORDER BY t.position)
FROM unnest($2::text[]) WITH ORDINALITY AS t (task_id, position)
WHERE NOT EXISTS (SELECT FROM dag_task AS known WHERE known.dag_id = $1 AND known.task_id = t.task_id)
