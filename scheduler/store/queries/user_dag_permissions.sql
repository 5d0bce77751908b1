-- The DAGs that the own roles of a user allow to read, and whether to change.
SELECT d.dag_id, bool_or(p.may_edit) AS "may_edit!"
FROM user_role ur
JOIN role_dag_permission p ON p.role_id = ur.role_id
JOIN dag d ON (p.kind = 0 AND d.dag_id = p.target) OR (p.kind = 1 AND p.target = ANY (d.tags))
WHERE ur.user_id = $1
GROUP BY d.dag_id
ORDER BY d.dag_id
LIMIT $2
