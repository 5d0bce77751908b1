-- The first condition is that of the index dag_run_to_load.
UPDATE dag_run SET has_leftovers = false
WHERE (state IN (0, 1) OR has_leftovers) AND has_leftovers
  AND NOT EXISTS (SELECT FROM task_instance AS ti WHERE ti.run_id = dag_run.id AND ti.live)
