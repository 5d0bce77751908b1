-- One walk over a task's rows each. A task without a row is in no state yet; of an expanded task the instances give one state:
-- failed (5) or upstream_failed (7) when one is, else that of one that is not over, else success (4) when one succeeded.
SELECT t.task_id, s.state AS "state?"
FROM dag_task AS t
LEFT JOIN LATERAL (
    SELECT (CASE
        WHEN bool_or(ti.state = 5) THEN 5
        WHEN bool_or(ti.state = 7) THEN 7
        WHEN bool_or(ti.state NOT IN (4, 6, 8)) THEN max(ti.state) FILTER (WHERE ti.state NOT IN (4, 6, 8))
        WHEN bool_or(ti.state = 4) THEN 4
        ELSE max(ti.state)
    END)::smallint AS state
    FROM task_instance AS ti
    WHERE ti.run_id = $2 AND ti.task_idx = t.task_idx
) AS s ON true
WHERE t.dag_id = $1 AND t.task_id = ANY ($3)
