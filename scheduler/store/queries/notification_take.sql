-- Takes up to $2 notifications that are due, of each DAG no more than have room with those under way, $3 together. DAGs are found one by
-- one along the index, so that one with many does not stand before the others.
WITH RECURSIVE fence AS (
    SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE
), dags AS (
    (SELECT dag_id FROM notification WHERE state = 0 ORDER BY dag_id LIMIT 1)
    UNION ALL
    SELECT (SELECT n.dag_id FROM notification AS n WHERE n.state = 0 AND n.dag_id > d.dag_id ORDER BY n.dag_id LIMIT 1)
    FROM dags AS d WHERE d.dag_id IS NOT NULL
), due AS (
    SELECT o.id
    FROM dags AS d CROSS JOIN LATERAL (
        SELECT n.id, n.next_attempt_at FROM notification AS n
        WHERE n.state = 0 AND n.dag_id = d.dag_id AND n.next_attempt_at <= now()
        ORDER BY n.next_attempt_at, n.id
        LIMIT greatest(0, $3 - (SELECT count(*) FROM notification AS s WHERE s.state = 1 AND s.dag_id = d.dag_id))
    ) AS o
    ORDER BY o.next_attempt_at, o.id LIMIT $2
), taken AS (
    UPDATE notification AS n SET state = 1, attempts = n.attempts + 1
    FROM fence WHERE n.id = ANY (ARRAY(SELECT id FROM due)) AND n.state = 0
    RETURNING n.*
)
SELECT t.id AS "id!", t.dag_id AS "dag_id!", t.run_key AS "run_key!", t.run_id AS "run_id!", t.version_id AS "version_id!",
       t.event AS "event!", t.position AS "position!", t.deadline, t.task_idx, t.task_id, t.map_index AS "map_index!",
       t.try_number AS "try_number!", t.max_tries AS "max_tries!", t.reason, t.at AS "at!", t.attempts AS "attempts!",
       t.at < now() - interval '1 day' AS "is_late!"
FROM taken AS t
ORDER BY t.at, t.id
