-- Withdraws a command, unless the leader in force has taken it: whatever that one decides stands. A leader that took over
-- while this waited for the row has a higher epoch than the one that is seen here. Its line in the audit log says that nothing came of it.
WITH withdrawn AS (
    DELETE FROM inbox
    WHERE id = $1 AND dead_because IS NULL
      AND (delivered_epoch IS NULL OR delivered_epoch < (SELECT epoch FROM leader))
    RETURNING id
), told AS (
    UPDATE audit_log AS l SET outcome = 'withdrawn' FROM withdrawn WHERE l.id = withdrawn.id AND l.outcome = 'asked'
)
SELECT count(*) AS "withdrawn!" FROM withdrawn
