-- The certificates of the workers with this identity or name.
DELETE FROM worker_certificate
WHERE identity::text = $1 OR identity IN (SELECT w.identity FROM worker AS w WHERE w.name = $1)
