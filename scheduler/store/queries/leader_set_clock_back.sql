-- The database's clock was wrong into the future, up to $2, and is right again: what was planned by the wrong one is planned
-- anew. A wait that has not ended ends as much earlier as the clock was fast, one that had ended by the wrong clock at once; a
-- run that was due already may start; what is queued is queued from now on, and pools with a rate limit begin anew; a schedule goes on after the newest interval that had really ended.
WITH fence AS (
    UPDATE leader SET turn_at = clock_timestamp() WHERE epoch = $1 RETURNING turn_at AS now
), waiting AS (
    UPDATE task_instance_extra AS x SET wake_at = greatest(fence.now, x.wake_at - ($2::timestamptz - fence.now))
    FROM dag_run AS d, fence
    WHERE (d.state IN (0, 1) OR d.has_leftovers) AND x.run_id = d.id AND x.wake_at > fence.now
), queued AS (
    -- State 2 is queued.
    UPDATE task_instance AS ti SET queued_at = fence.now
    FROM dag_run AS d, fence
    WHERE (d.state IN (0, 1) OR d.has_leftovers) AND ti.run_id = d.id AND ti.state = 2 AND ti.queued_at > fence.now
), pools AS (
    UPDATE pool AS p SET recent_starts = '{}' FROM fence WHERE fence.now < ANY (p.recent_starts)
), starting AS (
    UPDATE dag_run AS d SET run_after = fence.now
    FROM fence
    WHERE (d.state IN (0, 1) OR d.has_leftovers) AND d.state = 0 AND d.run_after > fence.now AND d.run_after <= $2
), services AS (
    UPDATE service AS s SET not_before = fence.now FROM fence WHERE s.not_before > fence.now
), schedules AS (
    UPDATE dag AS d
    SET next_logical_date = NULL, next_interval_start = NULL, next_interval_end = NULL, next_run_after = NULL,
        last_interval_start = newest.interval_start, last_interval_end = newest.interval_end
    FROM fence, dag AS wrong
    LEFT JOIN LATERAL (
        -- Run type 0 is scheduled.
        SELECT r.interval_start, r.interval_end
        FROM dag_run AS r
        WHERE r.dag_id = wrong.dag_id AND r.run_type = 0 AND r.run_after <= clock_timestamp() AND r.interval_end IS NOT NULL
        ORDER BY r.run_after DESC
        LIMIT 1
    ) AS newest ON true
    WHERE wrong.dag_id = d.dag_id AND d.last_interval_end > fence.now
)
SELECT now FROM fence
