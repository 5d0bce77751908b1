SET LOCAL lock_timeout = '2s';

-- What a task instance keeps for itself from try to try; clients and its later tries read it.
CREATE TABLE task_state_store (
    run_id bigint NOT NULL,
    task_idx int NOT NULL,
    map_index int NOT NULL,
    key text NOT NULL,
    value json NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    PRIMARY KEY (run_id, task_idx, map_index, key)
);

-- What pages call a DAG; its id without.
ALTER TABLE dag ADD COLUMN display_name text;

-- The API token that somebody has acted by; none for a session, the command line, or a part of Windlass.
ALTER TABLE audit_log ADD COLUMN api_token uuid;

-- What a worker was called at which time: a try shows the name that its worker had then, whatever it is called now. It is noted
-- whichever version registers the worker.
CREATE TABLE worker_name (
    worker_id int NOT NULL REFERENCES worker ON DELETE CASCADE,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL DEFAULT 'infinity',
    name text NOT NULL,
    PRIMARY KEY (worker_id, since)
);
INSERT INTO worker_name (worker_id, since, name) SELECT id, '-infinity', name FROM worker;
CREATE FUNCTION note_worker_name() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE worker_name SET until = now() WHERE worker_id = NEW.id AND until = 'infinity';
    INSERT INTO worker_name (worker_id, since, name)
    VALUES (NEW.id, CASE WHEN TG_OP = 'INSERT' THEN '-infinity' ELSE now() END, NEW.name)
    ON CONFLICT (worker_id, since) DO UPDATE SET name = excluded.name, until = 'infinity';
    -- Names are of processes: those of the last 200 are kept.
    DELETE FROM worker_name
    WHERE worker_id = NEW.id
        AND since < (SELECT n.since FROM worker_name AS n WHERE n.worker_id = NEW.id ORDER BY n.since DESC OFFSET 199 LIMIT 1);
    RETURN NULL;
END
$$;
CREATE TRIGGER worker_note_first_name AFTER INSERT ON worker FOR EACH ROW EXECUTE FUNCTION note_worker_name();
CREATE TRIGGER worker_note_name AFTER UPDATE OF name ON worker
    FOR EACH ROW WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION note_worker_name();
