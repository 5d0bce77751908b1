-- Sessions and API tokens that hold, of the user $1 or of everybody, the newest first.
SELECT t.jti, u.username, t.name, t.scope, t.hash IS NOT NULL AS "is_api_token!", t.issued_at, t.expires_at, t.last_used_at,
       t.address, t.door
FROM token AS t
JOIN user_account AS u ON u.id = t.user_id
WHERE t.revoked_at IS NULL AND t.expires_at > now() AND ($1::text IS NULL OR u.username = $1)
ORDER BY t.issued_at DESC, t.jti
LIMIT $2
