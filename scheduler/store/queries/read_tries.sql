-- The superseded tries of one task instance. A try that was repeated under its number shows once: its last attempt.
SELECT DISTINCT ON (t.try_number) t.task_idx, t.map_index, t.try_number, t.state, t.attempt, t.queued_at, t.started_at,
       t.ended_at, t.reason, t.worker_id, w.name AS "worker?"
FROM task_try t
LEFT JOIN worker_name w
    ON w.worker_id = t.worker_id AND coalesce(t.started_at, t.queued_at) >= w.since
        AND coalesce(t.started_at, t.queued_at) < w.until
WHERE t.run_id = $1 AND t.task_idx = $2 AND t.map_index = $3
ORDER BY t.try_number, t.id DESC
