-- The audit log is searched from shortly before the run that the command would have made. A command that was withdrawn has
-- left two lines.
SELECT count(*) FILTER (WHERE action <> 'withdraw_command') > count(*) FILTER (WHERE action = 'withdraw_command')
           AS "left_behind!",
       EXISTS (SELECT FROM inbox WHERE sent_by = $3 AND dead_because IS NULL) AS "waits!"
FROM audit_log
WHERE dag_id = $1 AND at >= $4::timestamptz - interval '1 hour' AND who = $3 AND run_id = $2
