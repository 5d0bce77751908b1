-- The superseded tries of a run's task instances, oldest first; at most $2. A try that was repeated shows each time.
SELECT t.task_idx, t.map_index, t.try_number, t.state, t.attempt, t.queued_at, t.started_at, t.ended_at, t.reason,
       t.worker_id, w.name AS "worker?"
FROM task_try t
LEFT JOIN worker w ON w.id = t.worker_id
WHERE t.run_id = $1
ORDER BY t.task_idx, t.map_index, t.try_number, t.id
LIMIT $2
