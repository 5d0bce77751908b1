SELECT u.id, u.username, u.role
FROM token AS t
JOIN user_account AS u ON u.id = t.user_id
WHERE t.jti = $1 AND t.revoked_at IS NULL AND t.expires_at > now()
