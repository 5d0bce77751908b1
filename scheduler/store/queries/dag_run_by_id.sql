SELECT id, dag_id, run_id, run_type, triggered_by, version_id, state, logical_date, interval_start, interval_end, run_after,
       queued_at, started_at, ended_at, conf, note, clear_number, triggering_user, backfill_id,
       backfill_ordinal, backfill_first
FROM dag_run
WHERE dag_id = $1 AND run_id = $2
