-- Deletes up to $3 events from before $2. The newest one stays: the next one is numbered after it.
WITH fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
), dropped AS (
    DELETE FROM asset_event USING fence
    WHERE id = ANY (ARRAY(SELECT id FROM asset_event WHERE at < $2 AND id < (SELECT max(id) FROM asset_event)
                          ORDER BY at, id LIMIT $3))
    RETURNING 1
)
SELECT CASE WHEN EXISTS (SELECT FROM fence) THEN (SELECT count(*) FROM dropped) ELSE refuse('deposed') END AS "dropped!"
