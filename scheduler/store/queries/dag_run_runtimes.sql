-- When the newest runs began and ended that have succeeded: for the n-th DAG of $1 as many as $2 says, looked for in the newest
-- thousand of its runs.
SELECT w.nth AS "nth!", r.started_at AS "started_at!", r.ended_at AS "ended_at!"
FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS w (dag_id, most, nth)
CROSS JOIN LATERAL (
    SELECT n.started_at, n.ended_at FROM (
        SELECT d.started_at, d.ended_at, d.state, d.run_after FROM dag_run AS d WHERE d.dag_id = w.dag_id
        ORDER BY d.run_after DESC LIMIT 1000
    ) AS n
    WHERE n.state = 2 AND n.started_at IS NOT NULL AND n.ended_at IS NOT NULL
    ORDER BY n.run_after DESC LIMIT w.most
) AS r
ORDER BY w.nth
