INSERT INTO connection (conn_id, conn_type, host, schema, login, port, password_sealed, extra_sealed, description)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (conn_id) DO UPDATE
SET conn_type = excluded.conn_type, host = excluded.host, schema = excluded.schema, login = excluded.login,
    port = excluded.port, password_sealed = excluded.password_sealed, extra_sealed = excluded.extra_sealed,
    description = excluded.description
