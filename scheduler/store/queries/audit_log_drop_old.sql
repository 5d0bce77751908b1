-- Deletes those of the $3 oldest entries that were written before $2.
WITH fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
), dropped AS (
    DELETE FROM audit_log USING fence
    WHERE id = ANY (ARRAY(
        SELECT oldest.id FROM (SELECT id, at FROM audit_log ORDER BY id LIMIT $3) AS oldest WHERE oldest.at < $2
    ))
    RETURNING 1
)
SELECT CASE WHEN EXISTS (SELECT FROM fence) THEN (SELECT count(*) FROM dropped) ELSE refuse('deposed') END AS "dropped!"
