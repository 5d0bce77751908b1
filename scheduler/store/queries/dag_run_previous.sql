-- For each DAG and date in $1 and $2 the latest run before it; without those of run type 1, manual, where $3 says so. The
-- number tells which question a run answers.
SELECT wanted.nth AS "nth!", r.id, r.dag_id, r.run_id, r.run_type, r.triggered_by, r.version_id, r.state, r.logical_date,
       r.interval_start, r.interval_end, r.run_after, r.queued_at, r.started_at, r.ended_at, r.conf, r.note, r.clear_number,
       r.triggering_user, r.backfill_id, r.backfill_ordinal, r.backfill_first
FROM unnest($1::text[], $2::timestamptz[], $3::boolean[]) WITH ORDINALITY AS wanted (dag_id, before, manual_too, nth),
LATERAL (
    SELECT *
    FROM dag_run
    WHERE dag_id = wanted.dag_id AND logical_date < wanted.before AND (wanted.manual_too OR run_type <> 1)
    ORDER BY logical_date DESC
    LIMIT 1
) AS r
