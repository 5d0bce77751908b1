-- Withdraws a command, unless the leader in force has taken it: whatever that one decides stands. A leader that took over
-- while this waited for the row has a higher epoch than the one that is seen here. The audit log tells of it.
WITH withdrawn AS (
    DELETE FROM inbox
    WHERE id = $1 AND dead_because IS NULL
      AND (delivered_epoch IS NULL OR delivered_epoch < (SELECT epoch FROM leader))
    RETURNING audit_id
), told AS (
    INSERT INTO audit_log (who, action, dag_id, run_id, details)
    SELECT a.who, 'withdraw_command', a.dag_id, a.run_id, json_build_object('event_log_id', a.id, 'event', a.action)
    FROM withdrawn AS w JOIN audit_log AS a ON a.id = w.audit_id
)
SELECT count(*) AS "withdrawn!" FROM withdrawn
