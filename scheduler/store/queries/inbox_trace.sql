-- The audit log is searched from shortly before the run that the command would have made. What was refused or withdrawn
-- has left nothing behind; lines of older versions do not say.
SELECT EXISTS (
           SELECT FROM audit_log WHERE dag_id = $1 AND at >= $4::timestamptz - interval '1 hour' AND who = $3 AND run_id = $2
               AND coalesce(outcome, 'done') IN ('asked', 'done')
       ) AS "left_behind!",
       EXISTS (SELECT FROM inbox WHERE sent_by = $3 AND dead_because IS NULL) AS "waits!"
