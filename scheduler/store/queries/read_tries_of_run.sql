-- The superseded tries of a run's task instances, oldest first; at most $2. A try that was repeated shows each time.
SELECT t.task_idx, t.map_index, t.try_number, t.state, t.attempt, t.queued_at, t.started_at, t.ended_at, t.reason,
       t.worker_id, w.name AS "worker?"
FROM task_try t
LEFT JOIN worker_name w
    ON w.worker_id = t.worker_id AND coalesce(t.started_at, t.queued_at) >= w.since
        AND coalesce(t.started_at, t.queued_at) < w.until
WHERE t.run_id = $1
ORDER BY t.task_idx, t.map_index, t.try_number, t.id
LIMIT $2
