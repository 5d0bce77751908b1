-- Each a look-up by a unique key.
SELECT r.id, r.dag_id, r.run_id, r.run_type, r.triggered_by, r.version_id, r.state, r.logical_date, r.interval_start,
       r.interval_end, r.run_after, r.queued_at, r.started_at, r.ended_at, r.conf, r.note, r.clear_number, r.triggering_user,
       r.backfill_id, r.backfill_ordinal, r.backfill_first
FROM unnest($1::text[], $2::text[]) AS wanted (dag_id, run_id)
JOIN dag_run AS r ON r.dag_id = wanted.dag_id AND r.run_id = wanted.run_id
