-- Those of the task instances with the keys in $1, $2 and $3 that have a row, as read_instances.sql has them.
SELECT ti.run_id, ti.task_idx, ti.map_index, ti.try_number, ti.state, ti.attempt, ti.live, ti.worker_id, ti.queued_at,
       ti.started_at, ti.ended_at, x.max_tries AS "max_tries?",
       coalesce(x.infrastructure_losses, 0::smallint) AS "infrastructure_losses!", x.wake_at AS "wake_at?",
       x.exit_code AS "exit_code?", x.reason AS "reason?", x.note AS "note?", x.skips AS "skips?",
       x.map_length AS "map_length?", x.rendered_map_index AS "rendered_map_index?",
       x.first_poke_at AS "first_poke_at?", coalesce(x.reschedules, 0) AS "reschedules!", w.name AS "worker?"
FROM unnest($1::bigint[], $2::int[], $3::int[]) AS k (run_id, task_idx, map_index)
JOIN task_instance ti ON (ti.run_id, ti.task_idx, ti.map_index) = (k.run_id, k.task_idx, k.map_index)
LEFT JOIN task_instance_extra x
    ON (x.run_id, x.task_idx, x.map_index) = (ti.run_id, ti.task_idx, ti.map_index)
LEFT JOIN worker_name w
    ON w.worker_id = ti.worker_id AND coalesce(ti.started_at, ti.queued_at) >= w.since
        AND coalesce(ti.started_at, ti.queued_at) < w.until
ORDER BY ti.run_id, ti.task_idx, ti.map_index
