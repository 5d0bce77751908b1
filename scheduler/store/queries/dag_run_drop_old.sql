-- Deletes the runs $2 that have ended; what belongs to them is swept later.
WITH fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
), dropped AS (
    DELETE FROM dag_run USING fence
    WHERE id = ANY ($2) AND state NOT IN (0, 1) AND NOT has_leftovers
    RETURNING id
), to_sweep AS (
    INSERT INTO dropped_run (run_id) SELECT id FROM dropped ON CONFLICT DO NOTHING
)
SELECT CASE WHEN EXISTS (SELECT FROM fence) THEN (SELECT count(*) FROM dropped) ELSE refuse('deposed') END AS "dropped!"
