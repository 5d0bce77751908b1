-- Of each run in $1 the instance that failed first (state 5), if one did.
SELECT f.run_id AS "run_id!", f.map_index AS "map_index!", f.try_number AS "try_number!", t.task_id, x.reason AS "reason?", x.max_tries AS "max_tries?",
    x.rendered_map_index AS "rendered_map_index?"
FROM unnest($1::bigint[]) AS r (id)
JOIN dag_run d ON d.id = r.id
CROSS JOIN LATERAL (
    SELECT ti.run_id, ti.task_idx, ti.map_index, ti.try_number
    FROM task_instance ti
    WHERE ti.run_id = r.id AND ti.state = 5
    ORDER BY ti.ended_at, ti.task_idx, ti.map_index
    LIMIT 1
) AS f
JOIN dag_task t ON t.dag_id = d.dag_id AND t.task_idx = f.task_idx
LEFT JOIN task_instance_extra x ON (x.run_id, x.task_idx, x.map_index) = (f.run_id, f.task_idx, f.map_index)
