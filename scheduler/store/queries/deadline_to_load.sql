-- What is pending, and what unfinished runs have missed: it is not set again.
SELECT d.id, d.run_key, d.dag_id, d.run_id, d.version_id, d.position, d.name, d.kinds, d.at, d.created_at, d.missed_at
FROM deadline AS d
WHERE d.missed_at IS NULL OR d.run_key IN (SELECT id FROM dag_run WHERE state IN (0, 1))
