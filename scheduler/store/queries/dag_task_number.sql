-- New tasks get the next numbers of their DAG, in the order given; those that have one keep it for ever. The last number is looked
-- up once a DAG: looked up for each task, it would be searched among all rows that this statement has just added, which it does not
-- see but has to pass.
WITH dag AS MATERIALIZED (
    SELECT w.dag_id, w.task_ids,
           coalesce((SELECT max(known.task_idx) FROM dag_task AS known WHERE known.dag_id = w.dag_id), -1) AS last_idx
    FROM (
        SELECT t.dag_id, array_agg(t.task_id ORDER BY t.position) AS task_ids
        FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS t (dag_id, task_id, position)
        GROUP BY t.dag_id
    ) AS w
)
INSERT INTO dag_task (dag_id, task_id, task_idx)
SELECT dag.dag_id, t.task_id, dag.last_idx + row_number() OVER (PARTITION BY dag.dag_id ORDER BY t.position)
FROM dag, unnest(dag.task_ids) WITH ORDINALITY AS t (task_id, position)
WHERE NOT EXISTS (SELECT FROM dag_task AS known WHERE known.dag_id = dag.dag_id AND known.task_id = t.task_id)
