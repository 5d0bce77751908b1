-- Deletes up to $1 rows of backfills that are dropped, and each of those of which nothing is left.
WITH dropped AS (
    SELECT id FROM backfill WHERE is_dropped ORDER BY id LIMIT 100
), seen AS (
    DELETE FROM backfill_dag_run
    WHERE ctid = ANY (ARRAY(SELECT b.ctid FROM backfill_dag_run AS b JOIN dropped ON dropped.id = b.backfill_id LIMIT $1))
    RETURNING 1
)
DELETE FROM backfill WHERE id IN (SELECT id FROM dropped) AND (SELECT count(*) FROM seen) < $1
