-- The start tells the old leader's backend from a later one with the same number.
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid = $1 AND backend_start = $2 AND pid <> pg_backend_pid()
