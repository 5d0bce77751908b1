SET LOCAL lock_timeout = '2s';

-- What lists walk along. Those of dag_run change with a run, not with its task instances. They are made in this transaction and
-- hold back writes of runs meanwhile, some seconds for a million of them: CONCURRENTLY would wait for every process that
-- waits for this migration.
CREATE INDEX dag_run_newest ON dag_run (run_after, id);
CREATE INDEX dag_run_of_dag_newest ON dag_run (dag_id, run_after, id);
CREATE INDEX dag_run_of_dag ON dag_run (dag_id, id);
CREATE INDEX dag_run_failed ON dag_run (run_after, id) WHERE state = 3;
CREATE INDEX dag_run_of_dag_failed ON dag_run (dag_id, run_after, id) WHERE state = 3;
CREATE INDEX dag_run_by_logical_date ON dag_run (logical_date, id);
CREATE INDEX dag_run_by_start ON dag_run (started_at, id);
CREATE INDEX dag_run_by_change ON dag_run ((coalesce(ended_at, started_at, queued_at)), id);
-- dag_run_of_dag_newest begins with the same columns.
DROP INDEX dag_run_by_date;

CREATE INDEX audit_log_of_dag ON audit_log (dag_id, id);
CREATE INDEX audit_log_by_action ON audit_log (action, id);
CREATE INDEX audit_log_by_who ON audit_log (who, id);
CREATE INDEX audit_log_by_time ON audit_log (at, id);
