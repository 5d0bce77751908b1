-- Forgets up to $1 workers that are gone for a month: the tries that name one show it no more. Their certificates go with them, and
-- those that were bought a month ago and never used. What was taken back stays: it says whom not to let in.
WITH forgotten AS (
    DELETE FROM worker
    WHERE id = ANY (ARRAY(
        SELECT w.id FROM worker AS w
        WHERE w.lost_at < now() - interval '30 days'
            AND w.id NOT IN (SELECT s.worker_id FROM service AS s WHERE s.worker_id IS NOT NULL)
        ORDER BY w.lost_at LIMIT $1
    ))
    RETURNING identity
)
DELETE FROM worker_certificate
WHERE revoked_at IS NULL
    AND (identity = ANY (ARRAY(SELECT identity FROM forgotten)) OR (used_at IS NULL AND issued_at < now() - interval '30 days'))
