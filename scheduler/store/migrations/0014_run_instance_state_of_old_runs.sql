-- What was there before the trigger: read once, which takes some seconds for ten million instances and holds back no turn.
INSERT INTO run_instance_state (run_id, state, dag_id, run_after)
SELECT DISTINCT ti.run_id, ti.state, d.dag_id, d.run_after
FROM task_instance AS ti
JOIN dag_run AS d ON d.id = ti.run_id
WHERE ti.state BETWEEN 5 AND 8
ON CONFLICT DO NOTHING;
