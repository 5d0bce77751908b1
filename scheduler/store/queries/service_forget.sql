-- Removes the replicas of these DAGs, names and numbers.
WITH fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
), forgotten AS (
    DELETE FROM service AS s
    USING unnest($2::text[], $3::text[], $4::int[]) AS gone (dag_id, name, replica), fence
    WHERE (s.dag_id, s.name, s.replica) = (gone.dag_id, gone.name, gone.replica)
)
SELECT CASE WHEN EXISTS (SELECT FROM fence) THEN 0 ELSE refuse('deposed') END AS "ok!"
