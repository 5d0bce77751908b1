-- Voids the token of this id, if it is of the user $2 or no user is named, and says whose it was.
UPDATE token AS t
SET revoked_at = now()
FROM user_account AS u
WHERE t.jti = $1 AND u.id = t.user_id AND t.revoked_at IS NULL AND ($2::text IS NULL OR u.username = $2)
RETURNING u.username, t.name
