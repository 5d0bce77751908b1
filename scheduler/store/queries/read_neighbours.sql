-- The runs of DAG $1 directly before and after run $3, which is due at $2: two steps along one index.
SELECT (SELECT run_id FROM dag_run
        WHERE dag_id = $1 AND run_after <= $2 AND (run_after, id) < ($2, $3)
        ORDER BY run_after DESC, id DESC LIMIT 1) AS before,
       (SELECT run_id FROM dag_run
        WHERE dag_id = $1 AND run_after >= $2 AND (run_after, id) > ($2, $3)
        ORDER BY run_after, id LIMIT 1) AS after
