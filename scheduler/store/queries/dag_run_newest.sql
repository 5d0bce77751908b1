-- For each DAG in $1 so many of its newest runs as $2 says, by the index of a DAG's list of runs. The number tells which
-- question a run answers.
SELECT wanted.nth AS "nth!", r.id AS "id!", r.state AS "state!", r.run_after AS "run_after!"
FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS wanted (dag_id, most, nth),
LATERAL (
    SELECT id, state, run_after
    FROM dag_run
    WHERE dag_id = wanted.dag_id
    ORDER BY run_after DESC, id DESC
    LIMIT wanted.most
) AS r
