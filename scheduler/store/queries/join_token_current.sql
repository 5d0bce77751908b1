SELECT id, sealed, CASE WHEN expires_at <= now() THEN expires_at END AS expired_at
FROM join_token WHERE revoked_at IS NULL
