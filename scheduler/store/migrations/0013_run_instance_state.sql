SET LOCAL lock_timeout = '2s';

-- The runs that have, or once had, an instance in a state that few end in: failed (5), skipped (6), upstream_failed (7),
-- removed (8). A list of such instances over all runs looks at these runs only. An index of task_instance by state would end
-- the HOT updates of the table that is written most.
CREATE TABLE run_instance_state (
    run_id bigint NOT NULL,
    state smallint NOT NULL,
    dag_id text NOT NULL,
    run_after timestamptz NOT NULL,
    PRIMARY KEY (run_id, state)
);
CREATE INDEX run_instance_state_newest ON run_instance_state (state, run_after, run_id);
CREATE INDEX run_instance_state_of_dag ON run_instance_state (dag_id, state, run_after, run_id);

-- A trigger, so that a leader of the version before notes them, too.
CREATE FUNCTION note_instance_state() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM run_instance_state AS s WHERE s.run_id = NEW.run_id AND s.state = NEW.state) THEN
        INSERT INTO run_instance_state (run_id, state, dag_id, run_after)
        SELECT d.id, NEW.state, d.dag_id, d.run_after FROM dag_run AS d WHERE d.id = NEW.run_id
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER task_instance_note_state AFTER INSERT OR UPDATE OF state ON task_instance
    FOR EACH ROW WHEN (NEW.state BETWEEN 5 AND 8) EXECUTE FUNCTION note_instance_state();

-- Runs that no schedule made are the fewer, as a rule.
CREATE INDEX dag_run_by_type ON dag_run (run_type, run_after, id) WHERE run_type <> 0;
CREATE INDEX dag_run_of_dag_by_type ON dag_run (dag_id, run_type, run_after, id) WHERE run_type <> 0;
CREATE INDEX audit_log_of_run ON audit_log (run_id, id) WHERE run_id IS NOT NULL;
