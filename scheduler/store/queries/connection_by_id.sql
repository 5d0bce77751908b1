SELECT conn_id, conn_type, host, schema, login, port, password_sealed, extra_sealed, description
FROM connection
WHERE conn_id = $1
