-- Some sealed secrets of each kind.
(SELECT 'variable' AS "kind!", key AS "name!", value_sealed AS "sealed!" FROM variable ORDER BY key LIMIT $1)
UNION ALL
(SELECT 'password', conn_id, password_sealed FROM connection
 WHERE password_sealed IS NOT NULL ORDER BY conn_id LIMIT $1)
UNION ALL
(SELECT 'extra', conn_id, extra_sealed FROM connection
 WHERE extra_sealed IS NOT NULL ORDER BY conn_id LIMIT $1)
