SELECT id, sealed, CASE WHEN expires_at <= now() THEN expires_at END AS expired_at, revoked_at
FROM join_token WHERE id = $1
