SELECT id, dag_id, from_date, to_date, run_order, reprocess_behavior, on_latest_version, max_active_runs, conf, is_paused,
       triggering_user, created_at, updated_at, completed_at, cursor_start, cursor_end, dates_seen, runs_made, is_planned
FROM backfill
WHERE id = $1 AND NOT is_dropped
