-- How the runs of a backfill stand: those of the last $2 dates that it has looked at.
SELECT count(*) FILTER (WHERE r.state = 0) AS "queued!", count(*) FILTER (WHERE r.state = 1) AS "running!",
       count(*) FILTER (WHERE r.state = 2) AS "success!", count(*) FILTER (WHERE r.state = 3) AS "failed!",
       count(*) FILTER (WHERE b.exception_reason IS NOT NULL) AS "passed!",
       count(*) FILTER (WHERE b.dag_run_id IS NOT NULL AND r.id IS NULL) AS "deleted!"
FROM (SELECT dag_run_id, exception_reason FROM backfill_dag_run
      WHERE backfill_id = $1 ORDER BY sort_ordinal DESC LIMIT $2) AS b
LEFT JOIN dag_run AS r ON r.id = b.dag_run_id
