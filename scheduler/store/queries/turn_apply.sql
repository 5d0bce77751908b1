-- Stores a turn that changes nothing but task instances, or nothing. It is the common turn: one statement, one round trip.
-- $1 epoch, $2 instant of the turn; $3..$13 new instances; $14..$25 keys, expected and next values of what changes.
WITH fence AS (
    UPDATE leader SET turn = turn + 1, turn_at = $2 WHERE epoch = $1 RETURNING turn
), made AS (
    INSERT INTO task_instance
        (run_id, task_idx, map_index, try_number, state, attempt, live, worker_id, queued_at, started_at, ended_at)
    SELECT n.*
    FROM unnest($3::bigint[], $4::int[], $5::int[], $6::smallint[], $7::smallint[], $8::uuid[], $9::boolean[], $10::int[],
                $11::timestamptz[], $12::timestamptz[], $13::timestamptz[]) AS n, fence
    RETURNING 1
), changed AS (
    UPDATE task_instance AS ti
    SET try_number = c.try_number, state = c.next, attempt = c.attempt, live = c.live, worker_id = c.worker_id,
        queued_at = c.queued_at, started_at = c.started_at, ended_at = c.ended_at
    FROM unnest($14::bigint[], $15::int[], $16::int[], $17::smallint[], $18::smallint[], $19::smallint[], $20::uuid[],
                $21::boolean[], $22::int[], $23::timestamptz[], $24::timestamptz[], $25::timestamptz[])
         AS c (run_id, task_idx, map_index, expected, try_number, next, attempt, live, worker_id, queued_at, started_at, ended_at),
         fence
    WHERE (ti.run_id, ti.task_idx, ti.map_index) = (c.run_id, c.task_idx, c.map_index) AND ti.state = c.expected
    RETURNING 1
)
SELECT CASE
    WHEN NOT EXISTS (SELECT FROM fence) THEN refuse('deposed')
    WHEN (SELECT count(*) FROM made) <> cardinality($3::bigint[]) THEN refuse('diverged: an instance exists already')
    WHEN (SELECT count(*) FROM changed) <> cardinality($14::bigint[])
        THEN refuse('diverged: an instance is not in the state that it was believed to be in')
    ELSE (SELECT turn FROM fence)
END AS "turn!"
