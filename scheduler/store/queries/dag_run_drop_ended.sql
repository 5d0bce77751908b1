-- Deletes up to $3 ended runs of a DAG, the oldest first; what belongs to them is swept later. Those with an attempt that may
-- live are known to the leader's memory, and stay.
WITH fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
), dropped AS (
    DELETE FROM dag_run
    USING fence
    WHERE id = ANY (ARRAY(SELECT id FROM dag_run
                          WHERE dag_id = $2 AND state NOT IN (0, 1) AND NOT has_leftovers
                          ORDER BY run_after LIMIT $3))
    RETURNING id
), to_sweep AS (
    INSERT INTO dropped_run (run_id) SELECT id FROM dropped ON CONFLICT DO NOTHING
)
SELECT CASE WHEN EXISTS (SELECT FROM fence) THEN (SELECT count(*) FROM dropped) ELSE refuse('deposed') END AS "dropped!"
