-- The certificates of the workers with this identity or name.
UPDATE worker_certificate SET revoked_at = now()
WHERE revoked_at IS NULL
    AND (identity::text = $1 OR identity IN (SELECT w.identity FROM worker AS w WHERE w.name = $1))
