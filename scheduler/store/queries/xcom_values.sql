SELECT value
FROM xcom
WHERE run_id = $1 AND task_idx = $2 AND key = $4 AND ($3::int IS NULL OR map_index = $3)
ORDER BY map_index
