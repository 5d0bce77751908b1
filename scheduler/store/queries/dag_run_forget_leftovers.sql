-- The first condition is that of the index dag_run_to_load. Up to $1 runs.
UPDATE dag_run SET has_leftovers = false
WHERE id = ANY (ARRAY(
    SELECT d.id FROM dag_run AS d
    WHERE (d.state IN (0, 1) OR d.has_leftovers) AND d.has_leftovers
      AND NOT EXISTS (SELECT FROM task_instance AS ti WHERE ti.run_id = d.id AND ti.live)
    LIMIT $1
))
