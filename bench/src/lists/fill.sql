-- Ten instances of each of `bench.runs` runs, one run a minute up to now, over the DAGs that are stored. One DAG in eight runs is
-- dag_000. As in life nearly all ended well: one run in fifty has failed, one in twenty has a failed instance that did no harm, a
-- few have skipped ones; the newest 300 runs have not ended. One run of the oldest hundredth has a removed instance, and one an
-- instance in its fifth try: what is rarest.
CREATE TEMP TABLE made AS
SELECT n AS id, CASE WHEN n % 8 = 0 THEN 0 ELSE 1 + (n * 7919) % (dags - 1) END AS dag, total - n AS age,
       date_trunc('minute', now()) - (total - n) * interval '1 minute' AS at
FROM (SELECT current_setting('bench.runs')::bigint AS total, (SELECT count(*) FROM dag) AS dags) AS size,
     generate_series(1, total) AS n;

INSERT INTO dag_run (id, dag_id, run_id, run_type, triggered_by, version_id, state, logical_date, interval_start, interval_end,
                     run_after, queued_at, started_at, ended_at, conf, triggering_user)
SELECT m.id, d.dag_id, CASE WHEN manual THEN 'manual__' ELSE 'scheduled__' END || to_char(m.at, 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'),
       CASE WHEN manual THEN 1 ELSE 0 END, CASE WHEN manual THEN 3 ELSE 5 END, d.current_version,
       CASE WHEN age < 20 THEN 0 WHEN age < 300 THEN 1 WHEN m.id % 50 = 0 THEN 3 ELSE 2 END, m.at, m.at, m.at, m.at, m.at,
       CASE WHEN age < 20 THEN NULL ELSE m.at + interval '1 s' END,
       CASE WHEN age < 300 THEN NULL ELSE m.at + interval '1 s' + m.id % 300 * interval '1 s' END, '{}',
       CASE WHEN manual THEN 'user_' || m.id % 40 END
FROM made m
JOIN dag d ON d.dag_id = 'dag_' || lpad(m.dag::text, 3, '0')
CROSS JOIN LATERAL (SELECT m.id % 100 = 1 AS manual) AS kind;

INSERT INTO task_instance (run_id, task_idx, map_index, try_number, state, attempt, live, worker_id, queued_at, started_at, ended_at)
SELECT m.id, t, -1, CASE WHEN m.id = 1005 AND t = 2 THEN 5 ELSE 1 END, state, gen_random_uuid(), state IN (2, 3), 1, m.at,
       m.at + t * interval '10 s', CASE WHEN state NOT IN (2, 3) THEN m.at + t * interval '10 s' + m.id % 60 * interval '0.1 s' END
FROM made m
CROSS JOIN generate_series(0, 9) AS t
CROSS JOIN LATERAL (
    SELECT CASE WHEN age < 300 AND t = 5 THEN CASE WHEN m.id % 3 = 0 THEN 2 ELSE 3 END
                WHEN age < 300 THEN 4
                WHEN m.id % 50 = 0 AND t = 6 THEN 5
                WHEN m.id % 50 = 0 AND t > 6 THEN 7
                WHEN m.id % 20 = 7 AND t = 3 THEN 5
                WHEN m.id % 200 = 3 AND t = 8 THEN 6
                WHEN m.id = 1003 AND t = 9 THEN 8
                ELSE 4 END::smallint AS state
) AS s
WHERE age >= 300 OR (age >= 20 AND t <= 5);

INSERT INTO task_failure (run_id, task_idx, map_index, try_number, failed_at, reason)
SELECT run_id, task_idx, map_index, try_number, ended_at, 'exit code 1' FROM task_instance WHERE state = 5;
INSERT INTO xcom SELECT id, 1, -1, 'return_value', '{"rows": 1}' FROM made WHERE age >= 300;
INSERT INTO audit_log (at, who, action, dag_id, run_id, details, address, door, outcome)
SELECT at, 'user_' || id % 40, (ARRAY['trigger_dag_run', 'pause_dag', 'clear_task_instances', 'set_note'])[1 + id % 4],
       'dag_' || lpad(dag::text, 3, '0'), CASE WHEN id % 4 = 0 THEN 'r' || id END, '{"n": 1}', '127.0.0.1', 'api', 'done'
FROM made WHERE id % 2 = 0;
INSERT INTO import_error (file, position, message, line) SELECT 'broken_' || n || '.yaml', 0, 'unknown field', 3 FROM generate_series(1, 50) n;
DROP TABLE made;
SELECT setval('run_key', (SELECT max(id) FROM dag_run) + 1000);
