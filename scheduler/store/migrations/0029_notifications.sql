SET LOCAL lock_timeout = '2s';

-- Nothing has ever written it.
DROP TABLE outbox;

-- What is owed to the outside: one callback of one event (model::CallbackEvent), written in the turn that stores the event. The
-- leader gives it to a worker, which carries it out by the callback of that version; state is a model::NotificationState. A task
-- is there also for events of a run: the one that their context is about.
CREATE TABLE notification (
    id uuid PRIMARY KEY,
    dag_id text NOT NULL,
    run_key bigint NOT NULL,
    run_id text NOT NULL,
    version_id bigint NOT NULL,
    event smallint NOT NULL,
    position smallint NOT NULL,
    kind text NOT NULL,
    deadline smallint,
    task_idx int,
    task_id text,
    map_index int NOT NULL DEFAULT -1,
    try_number smallint NOT NULL DEFAULT 0,
    max_tries smallint NOT NULL DEFAULT 0,
    reason text,
    at timestamptz NOT NULL,
    state smallint NOT NULL DEFAULT 0,
    attempts smallint NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    ended_at timestamptz,
    detail text
);
CREATE INDEX notification_to_send ON notification (dag_id, next_attempt_at, id) WHERE state = 0;
CREATE INDEX notification_under_way ON notification (dag_id) WHERE state = 1;
CREATE INDEX notification_open_version ON notification (version_id) WHERE state IN (0, 1);
CREATE INDEX notification_by_time ON notification (at, id);
CREATE INDEX notification_of_dag ON notification (dag_id, at, id);
CREATE INDEX notification_of_run ON notification (run_key);
CREATE INDEX notification_ended ON notification (ended_at) WHERE ended_at IS NOT NULL;

-- By when a run has to have succeeded; it goes when the run has, and stays when it is missed.
CREATE TABLE deadline (
    id uuid PRIMARY KEY,
    run_key bigint NOT NULL,
    dag_id text NOT NULL,
    run_id text NOT NULL,
    version_id bigint NOT NULL,
    position smallint NOT NULL,
    name text,
    kinds text[] NOT NULL,
    at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    missed_at timestamptz
);
CREATE INDEX deadline_of_run ON deadline (run_key, position);
CREATE INDEX deadline_by_time ON deadline (at, id);
CREATE INDEX deadline_of_dag ON deadline (dag_id, at, id);
CREATE INDEX deadline_pending ON deadline (version_id) WHERE missed_at IS NULL;
