-- Deletes what belongs to the runs in $1, which are gone themselves.
WITH instance AS (
    DELETE FROM task_instance WHERE run_id = ANY ($1)
), extra AS (
    DELETE FROM task_instance_extra WHERE run_id = ANY ($1)
), try AS (
    DELETE FROM task_try WHERE run_id = ANY ($1)
), left_xcom AS (
    DELETE FROM xcom WHERE run_id = ANY ($1)
)
DELETE FROM dropped_run WHERE run_id = ANY ($1)
