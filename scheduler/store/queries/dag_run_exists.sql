-- Two lookups by a unique key each; the id is the better answer when both are taken.
SELECT id, run_id, state
FROM dag_run
WHERE dag_id = $1 AND (run_id = $2 OR logical_date = $3)
ORDER BY run_id = $2 DESC
LIMIT 1
