-- Instances of some runs, with what their side table has.
SELECT ti.run_id, ti.task_idx, ti.map_index, ti.try_number, ti.state, ti.attempt, ti.live, ti.worker_id, ti.queued_at,
       ti.started_at, ti.ended_at, x.max_tries, x.infrastructure_losses AS "infrastructure_losses?", x.wake_at, x.exit_code,
       x.reason, x.note, x.skips, x.lost_at, x.map_length, x.rendered_map_index,
       x.first_poke_at, x.reschedules AS "reschedules?",
       x.requeues AS "requeues?"
FROM unnest($1::bigint[]) AS wanted (run_id)
JOIN task_instance AS ti ON ti.run_id = wanted.run_id
LEFT JOIN task_instance_extra AS x
    ON (x.run_id, x.task_idx, x.map_index) = (ti.run_id, ti.task_idx, ti.map_index)
ORDER BY ti.run_id, ti.task_idx, ti.map_index
