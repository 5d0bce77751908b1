-- A user with the names of its own roles.
CREATE VIEW user_with_roles AS
SELECT u.id, u.username, u.role, u.password_hash, u.provider,
       ARRAY(SELECT r.name FROM user_role ur JOIN role r ON r.id = ur.role_id WHERE ur.user_id = u.id
             ORDER BY r.name) AS own_roles
FROM user_account u;
