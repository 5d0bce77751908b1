-- A page of what came of a backfill's dates, in its order.
SELECT b.sort_ordinal, b.logical_date, b.exception_reason, b.dag_run_id, r.run_id AS "run_id?", r.state AS "state?"
FROM backfill_dag_run AS b
LEFT JOIN dag_run AS r ON r.id = b.dag_run_id
WHERE b.backfill_id = $1
ORDER BY b.sort_ordinal
OFFSET $2 LIMIT $3
