-- Deletes up to $3 versions that were stored before $2, are current of no DAG and have no run.
WITH fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
), dropped AS (
    DELETE FROM dag_version USING fence
    WHERE id = ANY (ARRAY(
        SELECT old.id FROM dag_version AS old
        WHERE old.created_at < $2
            AND NOT EXISTS (SELECT FROM dag WHERE dag.dag_id = old.dag_id AND dag.current_version = old.id)
            AND NOT EXISTS (SELECT FROM dag_run WHERE dag_run.version_id = old.id)
            AND NOT EXISTS (SELECT FROM notification AS n WHERE n.version_id = old.id AND n.state IN (0, 1))
            AND NOT EXISTS (SELECT FROM deadline AS d WHERE d.version_id = old.id AND d.missed_at IS NULL)
        ORDER BY old.id LIMIT $3
    ))
    RETURNING id
)
SELECT CASE WHEN EXISTS (SELECT FROM fence) THEN (SELECT count(*) FROM dropped) ELSE refuse('deposed') END AS "dropped!"
