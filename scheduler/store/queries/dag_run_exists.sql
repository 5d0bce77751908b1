-- Whether an id or a logical date of a DAG is taken: two look-ups by a unique key each; the id is the better answer when both
-- are. The number tells which question a run answers.
SELECT wanted.nth AS "nth!", r.id AS "id!", r.run_id AS "run_id!", r.state AS "state!"
FROM unnest($1::text[], $2::text[], $3::timestamptz[]) WITH ORDINALITY AS wanted (dag_id, run_id, logical_date, nth),
LATERAL (
    (SELECT id, run_id, state FROM dag_run WHERE dag_id = wanted.dag_id AND run_id = wanted.run_id)
    UNION ALL
    (SELECT id, run_id, state FROM dag_run WHERE dag_id = wanted.dag_id AND logical_date = wanted.logical_date)
    LIMIT 1
) AS r
