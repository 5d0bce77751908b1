-- Workers that may hold an attempt: those that are not known to be dead, and those that a live attempt names.
SELECT id, name, slots, queues, capabilities
FROM worker
WHERE lost_at IS NULL OR id = ANY ($1)
ORDER BY id
