-- What the last successful attempts of tasks have taken: a row a task of the DAGs $1, of which no more than $3 tasks are looked at.
-- Of each DAG its $2 newest runs count, of a run's instances of an expanded task the first. States: 4 is success.
WITH wanted AS (
    SELECT t.dag_id, t.task_idx FROM dag_task AS t WHERE t.dag_id = ANY ($1) ORDER BY t.dag_id, t.task_idx LIMIT $3
), newest AS (
    SELECT d.dag_id, r.id
    FROM unnest($1::text[]) AS d (dag_id)
    CROSS JOIN LATERAL (
        SELECT id FROM dag_run WHERE dag_id = d.dag_id ORDER BY run_after DESC, id DESC LIMIT $2
    ) AS r
)
SELECT w.dag_id AS "dag_id!", w.task_idx AS "task_idx!", count(*) AS "attempts!",
       percentile_cont(0.5) WITHIN GROUP (ORDER BY one.secs) AS "secs!",
       (array_agg(one.map_length ORDER BY n.id DESC) FILTER (WHERE one.map_length IS NOT NULL))[1] AS map_length
FROM wanted AS w
JOIN newest AS n ON n.dag_id = w.dag_id
CROSS JOIN LATERAL (
    SELECT extract(epoch FROM ti.ended_at - coalesce(x.first_poke_at, ti.started_at))::double precision AS secs, x.map_length
    FROM task_instance AS ti
    LEFT JOIN task_instance_extra AS x
        ON (x.run_id, x.task_idx, x.map_index) = (ti.run_id, ti.task_idx, ti.map_index)
    WHERE ti.run_id = n.id AND ti.task_idx = w.task_idx AND ti.state = 4
      AND ti.started_at IS NOT NULL AND ti.ended_at IS NOT NULL
    ORDER BY ti.map_index
    LIMIT 1
) AS one
GROUP BY w.dag_id, w.task_idx
