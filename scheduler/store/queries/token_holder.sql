-- Who shows a token, a session by its id $1 or an API token by the hash $2 of its text, and what the own roles allow. With $3 the
-- id may be that of an API token, too.
SELECT u.id AS "id!", u.username AS "username!", u.role AS "role!", t.jti, t.name, t.scope, u.own_roles AS "own_roles!",
       t.hash IS NOT NULL AS "is_api_token!",
       coalesce(t.last_used_at < now() - interval '1 minute', true) AS "is_noted_late!",
       ARRAY(SELECT DISTINCT unnest(r.rights) FROM user_role ur JOIN role r ON r.id = ur.role_id
             WHERE ur.user_id = u.id) AS "rights!",
       EXISTS (SELECT FROM user_role ur JOIN role_dag_permission p ON p.role_id = ur.role_id
               WHERE ur.user_id = u.id) AS "has_dag_permissions!"
FROM token AS t
JOIN user_with_roles AS u ON u.id = t.user_id
WHERE ((t.jti = $1 AND (t.hash IS NULL OR $3)) OR t.hash = $2) AND t.revoked_at IS NULL AND t.expires_at > now()
