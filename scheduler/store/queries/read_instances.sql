-- The stored task instances of the runs in $1, with their side rows and the names of their workers.
SELECT ti.run_id, ti.task_idx, ti.map_index, ti.try_number, ti.state, ti.attempt, ti.live, ti.worker_id, ti.queued_at,
       ti.started_at, ti.ended_at, x.max_tries AS "max_tries?",
       coalesce(x.infrastructure_losses, 0::smallint) AS "infrastructure_losses!", x.wake_at AS "wake_at?",
       x.exit_code AS "exit_code?", x.reason AS "reason?", x.note AS "note?", x.skips AS "skips?",
       x.map_length AS "map_length?", x.rendered_map_index AS "rendered_map_index?",
       x.first_poke_at AS "first_poke_at?", coalesce(x.reschedules, 0) AS "reschedules!", w.name AS "worker?"
FROM task_instance ti
LEFT JOIN task_instance_extra x USING (run_id, task_idx, map_index)
LEFT JOIN worker_name w
    ON w.worker_id = ti.worker_id AND coalesce(ti.started_at, ti.queued_at) >= w.since
        AND coalesce(ti.started_at, ti.queued_at) < w.until
WHERE ti.run_id = ANY($1)
ORDER BY ti.run_id, ti.task_idx, ti.map_index
