UPDATE token AS t
SET revoked_at = now()
FROM user_account AS u
WHERE u.id = t.user_id AND u.username = $1 AND t.revoked_at IS NULL
