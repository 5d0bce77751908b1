-- The runs that have taken up the events $1, of visible DAGs, up to $3 rows. Of each DAG that has ever taken up the asset one range
-- can hold an event: the first that does not end before it.
WITH RECURSIVE event AS (
    SELECT id, asset_id FROM asset_event WHERE id = ANY ($1)
), consumer (asset_id, dag_id) AS (
    SELECT a.asset_id, (SELECT min(c.dag_id) FROM dag_run_asset AS c WHERE c.asset_id = a.asset_id)
    FROM (SELECT DISTINCT asset_id FROM event) AS a
    UNION ALL
    SELECT p.asset_id, (SELECT min(c.dag_id) FROM dag_run_asset AS c WHERE c.asset_id = p.asset_id AND c.dag_id > p.dag_id)
    FROM consumer AS p WHERE p.dag_id IS NOT NULL
)
SELECT e.id AS "event_id!", r.id AS "run_key!", r.dag_id, r.run_id, r.run_type, r.state, r.logical_date, r.interval_start,
       r.interval_end, r.run_after, r.started_at, r.ended_at, (t.last_event = e.id) AS "is_last!"
FROM event AS e
JOIN consumer AS c ON c.asset_id = e.asset_id AND c.dag_id IS NOT NULL
CROSS JOIN LATERAL (SELECT x.run_id, x.first_event, x.last_event FROM dag_run_asset AS x
                    WHERE x.asset_id = e.asset_id AND x.dag_id = c.dag_id AND x.last_event >= e.id
                    ORDER BY x.last_event LIMIT 1) AS t
JOIN dag_run AS r ON r.id = t.run_id
WHERE t.first_event <= e.id AND ($2::text[] IS NULL OR r.dag_id = ANY ($2))
ORDER BY e.id, r.dag_id
LIMIT $3
