-- New tasks get the next numbers of their DAG, in the order given; those that have one keep it for ever.
INSERT INTO dag_task (dag_id, task_id, task_idx)
SELECT t.dag_id, t.task_id,
       coalesce((SELECT max(task_idx) FROM dag_task AS known WHERE known.dag_id = t.dag_id), -1)
       + row_number() OVER (PARTITION BY t.dag_id ORDER BY t.position)
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS t (dag_id, task_id, position)
WHERE NOT EXISTS (SELECT FROM dag_task AS known WHERE known.dag_id = t.dag_id AND known.task_id = t.task_id)
