-- Nothing happens while another one is in use.
INSERT INTO join_token (id, sealed, lookup_hash, expires_at) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING
