-- Its line in the audit log says that nothing came of it.
WITH gone AS (
    DELETE FROM inbox WHERE id = $1 AND dead_because IS NULL RETURNING id
), told AS (
    UPDATE audit_log AS l SET outcome = 'withdrawn' FROM gone WHERE l.id = gone.id AND l.outcome = 'asked'
)
SELECT count(*) AS "gone!" FROM gone
