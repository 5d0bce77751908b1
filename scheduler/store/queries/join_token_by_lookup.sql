SELECT CASE WHEN expires_at <= now() THEN expires_at END AS expired_at, revoked_at
FROM join_token WHERE lookup_hash = $1
