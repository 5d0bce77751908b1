SELECT dag_id, current_version, is_paused, is_stale, next_logical_date, next_interval_start, next_interval_end,
       next_run_after, last_interval_start, last_interval_end, failed_in_a_row, is_draining, passed_over_at
FROM dag
ORDER BY dag_id
