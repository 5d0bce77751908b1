-- What has changed for the DAGs that wait for assets.
SELECT q.dag_id, a.name, a.uri, q.first_event, q.last_event, q.created_at, q.newest_at,
       coalesce(q.aliases, '{}') AS "aliases!"
FROM asset_queue AS q JOIN asset AS a ON a.id = q.asset_id
ORDER BY q.dag_id, a.id
