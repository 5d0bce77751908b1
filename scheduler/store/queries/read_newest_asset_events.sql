-- The newest events of the assets $1, newest first: at most $2 of one, and $3 in all.
SELECT e.id, e.asset_id, a.name, a.uri, a.asset_group, e.at, e.extra::text AS extra, e.source_dag_id, e.source_run_id, e.source_task_id,
       e.source_map_index
FROM unnest($1::bigint[]) AS wanted (id)
JOIN asset AS a ON a.id = wanted.id
CROSS JOIN LATERAL (SELECT * FROM asset_event AS n WHERE n.asset_id = a.id ORDER BY n.id DESC LIMIT $2) AS e
ORDER BY e.id DESC
LIMIT $3
