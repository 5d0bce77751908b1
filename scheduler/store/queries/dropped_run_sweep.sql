-- Deletes up to $2 rows of each table of what belongs to the runs in $1, which are gone themselves. They are forgotten when
-- nothing of them is left.
WITH instance AS (
    DELETE FROM task_instance
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM task_instance WHERE run_id = ANY ($1) LIMIT $2)) RETURNING 1
), extra AS (
    DELETE FROM task_instance_extra
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM task_instance_extra WHERE run_id = ANY ($1) LIMIT $2)) RETURNING 1
), try AS (
    DELETE FROM task_try
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM task_try WHERE run_id = ANY ($1) LIMIT $2)) RETURNING 1
), left_xcom AS (
    DELETE FROM xcom
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM xcom WHERE run_id = ANY ($1) LIMIT $2)) RETURNING 1
), kept_state AS (
    DELETE FROM task_state_store
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM task_state_store WHERE run_id = ANY ($1) LIMIT $2)) RETURNING 1
), asked AS (
    DELETE FROM hitl_detail
    WHERE ctid = ANY (ARRAY(SELECT ctid FROM hitl_detail WHERE run_id = ANY ($1) LIMIT $2)) RETURNING 1
), noted AS ( -- a few rows a run at most
    DELETE FROM run_instance_state WHERE run_id = ANY ($1)
), taken AS ( -- a row an asset
    DELETE FROM dag_run_asset WHERE run_id = ANY ($1)
), told AS ( -- a few rows an instance at most
    DELETE FROM notification
    WHERE id = ANY (ARRAY(SELECT id FROM notification WHERE run_key = ANY ($1) LIMIT $2)) RETURNING 1
), due AS (
    DELETE FROM deadline WHERE run_key = ANY ($1)
), most AS (
    SELECT greatest((SELECT count(*) FROM instance), (SELECT count(*) FROM extra), (SELECT count(*) FROM try),
                    (SELECT count(*) FROM left_xcom), (SELECT count(*) FROM kept_state),
                    (SELECT count(*) FROM told), (SELECT count(*) FROM asked)) AS rows
)
DELETE FROM dropped_run USING most WHERE run_id = ANY ($1) AND most.rows < $2
