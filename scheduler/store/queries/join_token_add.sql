-- Nothing happens while another one is in use.
INSERT INTO join_token (id, sealed, lookup_hash, expires_at)
VALUES ($1, $2, $3, now() + $4::float8 * interval '1 second')
ON CONFLICT DO NOTHING
