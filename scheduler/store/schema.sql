-- What the migrations make, for reading. A test holds the two against each other.
-- Everything that Windlass keeps. Run keys, task numbers and states mean the same for ever: they are never reused.

-- Raises inside a query: the last SELECT of a turn refuses with it, and nothing of the turn stays.
CREATE FUNCTION refuse(why text) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', why USING ERRCODE = 'WL001';
END
$$;

-- Who leads. Its one row is the only authority. The epoch is the key, so that a fence of a rare write (FOR KEY SHARE)
-- holds back a takeover and nothing else. The backend is stored for the next leader, who terminates it.
CREATE TABLE leader (
    epoch bigint PRIMARY KEY,
    turn bigint NOT NULL,
    turn_at timestamptz NOT NULL,
    holder text NOT NULL,
    endpoint text NOT NULL,
    backend_pid int,
    backend_start timestamptz,
    took_over_at timestamptz NOT NULL,
    format int NOT NULL,
    only_one boolean NOT NULL DEFAULT true UNIQUE CHECK (only_one)
) WITH (fillfactor = 10);
INSERT INTO leader (epoch, turn, turn_at, holder, endpoint, took_over_at, format)
VALUES (0, 0, '-infinity', '', '', now(), 1);

-- Raised each second by the leader. Apart from `leader`, so that it never waits for a turn.
CREATE TABLE leader_lease (
    seq bigint NOT NULL,
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one)
) WITH (fillfactor = 10);
INSERT INTO leader_lease (seq) VALUES (0);

-- Commands on their way to the leader. A row is deleted by the turn that applies it.
CREATE TABLE inbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    command json NOT NULL,
    sent_by text NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT now(),
    deliveries smallint NOT NULL DEFAULT 0,
    dead_because text,
    -- The epoch that has taken a command to decide it: while that epoch is in force, the command can not be withdrawn.
    delivered_epoch bigint,
    -- Commands that come in floods (new runs) wait behind those that are few and that somebody waits for.
    is_bulk boolean NOT NULL DEFAULT false
);
-- A command has the number of its line in the audit log. Only api processes of 0.1.0 take one from this sequence: far beyond.
SELECT setval(pg_get_serial_sequence('inbox', 'id'), 1::bigint << 52);

-- Answers to commands, kept for a minute.
CREATE TABLE inbox_answer (
    command_id bigint PRIMARY KEY,
    status text NOT NULL,
    body json NOT NULL,
    answered_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    who text NOT NULL,
    action text NOT NULL,
    dag_id text,
    run_id text,
    details json NOT NULL,
    -- From where, and by which door: ui, api, cli.
    address text,
    door text,
    -- What came of it: 'asked' until a command is answered, then the answer's word, or 'withdrawn'.
    outcome text,
    -- The API token that somebody has acted by; none for a session, the command line, or a part of Windlass.
    api_token uuid
);
CREATE INDEX audit_log_by_dag ON audit_log (dag_id, at);
CREATE INDEX audit_log_of_dag ON audit_log (dag_id, id);
CREATE INDEX audit_log_by_action ON audit_log (action, id);
CREATE INDEX audit_log_by_who ON audit_log (who, id);
CREATE INDEX audit_log_of_run ON audit_log (run_id, id) WHERE run_id IS NOT NULL;
CREATE INDEX audit_log_by_time ON audit_log (at, id);

-- A command has the number of its line in the audit log. Whoever answers it, the line says how, in the same transaction.
CREATE FUNCTION note_outcome() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE audit_log SET outcome = NEW.status WHERE id = NEW.command_id AND outcome = 'asked';
    RETURN NULL;
END
$$;
CREATE TRIGGER inbox_answer_note_outcome AFTER INSERT ON inbox_answer FOR EACH ROW EXECUTE FUNCTION note_outcome();

CREATE TABLE dag (
    dag_id text PRIMARY KEY,
    current_version bigint NOT NULL,
    fileloc text NOT NULL,
    description text,
    tags text[] NOT NULL DEFAULT '{}',
    owners text[] NOT NULL DEFAULT '{}',
    is_paused boolean NOT NULL,
    is_stale boolean NOT NULL DEFAULT false,
    next_logical_date timestamptz,
    next_interval_start timestamptz,
    next_interval_end timestamptz,
    next_run_after timestamptz,
    last_interval_start timestamptz,
    last_interval_end timestamptz,
    failed_in_a_row int NOT NULL DEFAULT 0,
    -- Whether no further run of it starts, while those that are running go on.
    is_draining boolean NOT NULL DEFAULT false,
    -- When the last run of its schedule was due that was not made because another was active; none once one is made.
    passed_over_at timestamptz,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_parsed_at timestamptz NOT NULL DEFAULT now(),
    bundle_name text NOT NULL DEFAULT 'dags-folder',
    -- What pages call it; its id without.
    display_name text
);

-- One parsed form of a DAG. `compiled` is json, not jsonb: it keeps the order of keys and takes any text.
CREATE TABLE dag_version (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dag_id text NOT NULL,
    number int NOT NULL,
    content_hash text NOT NULL,
    canonical_yaml text NOT NULL,
    compiled json NOT NULL,
    fileloc text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    source_sha256 bytea,
    bundle_name text NOT NULL DEFAULT 'dags-folder',
    -- The revision that brought the version; none for the DAG folder, which has no revisions.
    bundle_version text,
    UNIQUE (dag_id, content_hash),
    UNIQUE (dag_id, number)
);

-- The number of each task that a DAG has, or once had.
CREATE TABLE dag_task (
    dag_id text NOT NULL,
    task_id text NOT NULL,
    task_idx int NOT NULL,
    PRIMARY KEY (dag_id, task_id),
    UNIQUE (dag_id, task_idx)
);

-- Files of DAG versions by the SHA-256 of their bytes.
CREATE TABLE blob (
    sha256 bytea PRIMARY KEY,
    bytes bytea NOT NULL
);

-- Bundles of DAG files beside the DAG folder, which is the bundle `dags-folder` and has no row: those that the leader fetches from
-- git, and those that people push. What a bundle holds is a revision; which one is in force is one column of one row.
CREATE TABLE bundle (
    name text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('git', 'pushed')),
    -- False for one that the settings do not name any more: its DAGs are those of a file that is gone.
    is_active boolean NOT NULL DEFAULT true,
    current_revision bigint,
    current_since timestamptz,
    -- The revision that a person has rolled back from: it does not come into force again by itself.
    passed_over text,
    -- What of its settings others than the leader need; no secret is among it.
    settings json NOT NULL DEFAULT '{}',
    poll_asked_at timestamptz,
    polled_at timestamptz,
    poll_failures int NOT NULL DEFAULT 0,
    poll_error text
);

-- What a bundle held at some time: a commit of git, or what somebody pushed. It never changes.
CREATE TABLE bundle_revision (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bundle_name text NOT NULL REFERENCES bundle ON DELETE CASCADE,
    -- The commit, or the SHA-256 of names and contents.
    revision text NOT NULL,
    author text,
    message text,
    authored_at timestamptz,
    made_at timestamptz NOT NULL DEFAULT now(),
    made_by text NOT NULL,
    address text,
    door text,
    file_count int NOT NULL,
    byte_count bigint NOT NULL,
    UNIQUE (bundle_name, revision)
);

-- The files of a revision; their bytes are in `blob`, once however many revisions have them. One that can not be taken has a reason
-- instead.
CREATE TABLE bundle_file (
    revision_id bigint NOT NULL REFERENCES bundle_revision ON DELETE CASCADE,
    name text NOT NULL,
    sha256 bytea,
    byte_count bigint NOT NULL,
    problem text,
    PRIMARY KEY (revision_id, name),
    CONSTRAINT bundle_file_content_or_problem CHECK ((sha256 IS NULL) <> (problem IS NULL))
);

-- The leader takes keys in batches, so that a turn needs no answer before it names its runs.
CREATE SEQUENCE run_key AS bigint INCREMENT BY 1000;

-- No foreign keys here or below: one writer keeps them consistent, and each would cost a row lock an insert.
CREATE TABLE dag_run (
    id bigint PRIMARY KEY,
    dag_id text NOT NULL,
    run_id text NOT NULL,
    run_type smallint NOT NULL,
    triggered_by smallint NOT NULL,
    version_id bigint NOT NULL,
    state smallint NOT NULL,
    logical_date timestamptz,
    interval_start timestamptz,
    interval_end timestamptz,
    run_after timestamptz NOT NULL,
    queued_at timestamptz NOT NULL,
    started_at timestamptz,
    ended_at timestamptz,
    conf json NOT NULL,
    note text,
    clear_number int NOT NULL DEFAULT 0,
    has_leftovers boolean NOT NULL DEFAULT false,
    triggering_user text,
    -- The backfill whose limits it goes by, and its place there.
    backfill_id bigint,
    backfill_ordinal int,
    backfill_first boolean,
    UNIQUE (dag_id, run_id),
    UNIQUE (dag_id, logical_date)
);
-- What a new leader loads: runs that have not ended (states 0 and 1), and those with an attempt that outlived its state.
CREATE INDEX dag_run_to_load ON dag_run (id) WHERE state IN (0, 1) OR has_leftovers;
-- Whether a version still has runs.
CREATE INDEX dag_run_by_version ON dag_run (version_id);
-- What lists of runs walk along. They change with a run, not with its task instances.
CREATE INDEX dag_run_newest ON dag_run (run_after, id);
CREATE INDEX dag_run_of_dag_newest ON dag_run (dag_id, run_after, id);
CREATE INDEX dag_run_of_dag ON dag_run (dag_id, id);
CREATE INDEX dag_run_failed ON dag_run (run_after, id) WHERE state = 3;
CREATE INDEX dag_run_of_dag_failed ON dag_run (dag_id, run_after, id) WHERE state = 3;
-- Runs that no schedule made are the fewer, as a rule.
CREATE INDEX dag_run_by_type ON dag_run (run_type, run_after, id) WHERE run_type <> 0;
CREATE INDEX dag_run_of_dag_by_type ON dag_run (dag_id, run_type, run_after, id) WHERE run_type <> 0;
CREATE INDEX dag_run_by_logical_date ON dag_run (logical_date, id);
CREATE INDEX dag_run_by_start ON dag_run (started_at, id);
CREATE INDEX dag_run_last_logical_date ON dag_run (logical_date DESC NULLS LAST, id DESC);
CREATE INDEX dag_run_last_start ON dag_run (started_at DESC NULLS LAST, id DESC);
CREATE INDEX dag_run_last_end ON dag_run (ended_at DESC NULLS LAST, id DESC);
CREATE INDEX dag_run_by_change ON dag_run ((coalesce(ended_at, started_at, queued_at)), id);

-- Runs that were deleted, until what belongs to them is gone, too: a turn stays short, however much that is.
CREATE TABLE dropped_run (
    run_id bigint PRIMARY KEY
);

-- The hot table: one INSERT and one HOT UPDATE an instance. No other index, ever, and none on a column that a turn updates.
CREATE TABLE task_instance (
    run_id bigint NOT NULL,
    task_idx int NOT NULL,
    map_index int NOT NULL,
    try_number smallint NOT NULL,
    state smallint NOT NULL,
    attempt uuid,
    live boolean NOT NULL,
    worker_id int,
    queued_at timestamptz,
    started_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (run_id, task_idx, map_index)
) WITH (fillfactor = 50);

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

-- What is seldom not the default.
CREATE TABLE task_instance_extra (
    run_id bigint NOT NULL,
    task_idx int NOT NULL,
    map_index int NOT NULL,
    max_tries smallint,
    infrastructure_losses smallint NOT NULL DEFAULT 0,
    wake_at timestamptz,
    exit_code int,
    reason text,
    note text,
    skips int[],
    map_length int,
    lost_at timestamptz,
    rendered_map_index text,
    -- Of a sensor that looks again later: since when it has looked, in this try, and how often it was put off.
    first_poke_at timestamptz,
    reschedules int NOT NULL DEFAULT 0,
    -- How often, one after the other, an attempt was taken back because its worker did not begin it.
    requeues smallint NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, task_idx, map_index)
);

-- Tries that were superseded. Not unique by number: a try whose worker was lost is repeated under its number.
CREATE TABLE task_try (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id bigint NOT NULL,
    task_idx int NOT NULL,
    map_index int NOT NULL,
    try_number smallint NOT NULL,
    state smallint NOT NULL,
    attempt uuid,
    worker_id int,
    queued_at timestamptz,
    started_at timestamptz,
    ended_at timestamptz,
    reason text,
    exit_code int
);
CREATE INDEX task_try_by_instance ON task_try (run_id, task_idx, map_index, try_number);

-- Insert-only, for searches across runs.
CREATE TABLE task_failure (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id bigint NOT NULL,
    task_idx int NOT NULL,
    map_index int NOT NULL,
    try_number smallint NOT NULL,
    failed_at timestamptz NOT NULL,
    reason text NOT NULL
);
CREATE INDEX task_failure_by_date ON task_failure (failed_at);

-- Questions that tasks have put to people, one a try, and their answers. The newest try's is the one that can be answered, as long
-- as its instance awaits input (state 13).
CREATE TABLE hitl_detail (
    run_id bigint NOT NULL,
    task_idx int NOT NULL,
    map_index int NOT NULL,
    try_number smallint NOT NULL,
    created_at timestamptz NOT NULL,
    subject text NOT NULL,
    body text,
    options text[] NOT NULL,
    defaults text[] NOT NULL,
    multiple boolean NOT NULL,
    params json NOT NULL,
    assigned_users json NOT NULL,
    responded_at timestamptz,
    -- Nobody when the time was over and the defaults counted.
    responded_by_id text,
    responded_by_name text,
    chosen_options text[],
    params_input json,
    PRIMARY KEY (run_id, task_idx, map_index, try_number)
);
CREATE INDEX hitl_detail_newest ON hitl_detail (created_at);
CREATE INDEX hitl_detail_unanswered ON hitl_detail (created_at) WHERE responded_at IS NULL;

CREATE TABLE xcom (
    run_id bigint NOT NULL,
    task_idx int NOT NULL,
    map_index int NOT NULL,
    key text NOT NULL,
    value json NOT NULL,
    PRIMARY KEY (run_id, task_idx, map_index, key)
);

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

-- No slots means no limit.
CREATE TABLE pool (
    name text PRIMARY KEY,
    slots int,
    description text NOT NULL DEFAULT '',
    include_deferred boolean NOT NULL DEFAULT false,
    -- How many attempts of it may start in a span of time, such as 10/1m, and when the last ones did that this counts.
    rate_limit text,
    recent_starts timestamptz[] NOT NULL DEFAULT '{}'
);
INSERT INTO pool (name, slots, description) VALUES ('default_pool', 128, 'Default pool');

-- Values are sealed with a key that is not in the database.
CREATE TABLE variable (
    key text PRIMARY KEY,
    value_sealed bytea NOT NULL,
    description text
);

CREATE TABLE connection (
    conn_id text PRIMARY KEY,
    conn_type text NOT NULL,
    host text,
    schema text,
    login text,
    port int,
    password_sealed bytea,
    extra_sealed bytea,
    description text
);

-- Assets are told apart by name and uri; a single word is both.
CREATE TABLE asset (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    uri text NOT NULL,
    asset_group text NOT NULL DEFAULT 'asset',
    extra json,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    -- Whether only a schedule has named it, by one word: a task that writes an asset of this name or uri makes it that one.
    is_guess boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX asset_by_name ON asset (name, uri);
CREATE INDEX asset_by_uri ON asset (uri, id);

-- What is kept of an asset under keys, from run to run.
CREATE TABLE asset_state_store (
    asset_id bigint NOT NULL REFERENCES asset ON DELETE CASCADE,
    key text NOT NULL,
    value json NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (asset_id, key)
);

-- Events are numbered by the leader, in the order in which they happened. What they say of their source outlives its run.
CREATE TABLE asset_event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asset_id bigint NOT NULL,
    at timestamptz NOT NULL,
    run_id bigint,
    task_idx int,
    map_index int,
    extra json,
    source_dag_id text,
    source_run_id text,
    source_task_id text,
    source_map_index int NOT NULL DEFAULT -1,
    aliases text[]
);
CREATE INDEX asset_event_by_asset ON asset_event (asset_id, at);
CREATE INDEX asset_event_of_asset ON asset_event (asset_id, id);
CREATE INDEX asset_event_by_source ON asset_event (source_dag_id, id);
CREATE INDEX asset_event_by_time ON asset_event (at, id);

CREATE TABLE asset_alias (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    alias_group text NOT NULL DEFAULT 'asset'
);
-- The assets that have changed through an alias.
CREATE TABLE asset_alias_asset (
    alias text NOT NULL,
    asset_id bigint NOT NULL,
    PRIMARY KEY (alias, asset_id)
);
CREATE INDEX asset_alias_asset_by_asset ON asset_alias_asset (asset_id);

-- What the current version of each DAG says of assets: kind 0 its schedule, 1 an outlet, 2 an inlet of a task. Without a uri
-- the name may be either. An alias has only a name.
CREATE TABLE asset_reference (
    dag_id text NOT NULL,
    kind smallint NOT NULL,
    task_id text NOT NULL DEFAULT '',
    is_alias boolean NOT NULL,
    name text NOT NULL,
    uri text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX asset_reference_of_dag ON asset_reference (dag_id, kind, task_id, is_alias, name, coalesce(uri, ''));
CREATE INDEX asset_reference_by_name ON asset_reference (name, is_alias);

-- What has changed for a DAG since its last run by assets: an entry an asset, whatever many events there were.
CREATE TABLE asset_queue (
    dag_id text NOT NULL,
    asset_id bigint NOT NULL,
    first_event bigint NOT NULL,
    last_event bigint NOT NULL,
    created_at timestamptz NOT NULL,
    newest_at timestamptz NOT NULL,
    aliases text[],
    PRIMARY KEY (dag_id, asset_id)
);
CREATE INDEX asset_queue_by_asset ON asset_queue (asset_id, dag_id);

-- The events of an asset that a run has taken up: those of this asset from the first to the last. Those of one DAG do not overlap.
CREATE TABLE dag_run_asset (
    run_id bigint NOT NULL,
    asset_id bigint NOT NULL,
    dag_id text NOT NULL,
    first_event bigint NOT NULL,
    last_event bigint NOT NULL,
    PRIMARY KEY (run_id, asset_id)
);
CREATE INDEX dag_run_asset_by_event ON dag_run_asset (asset_id, dag_id, last_event);

-- A backfill's whole state: what was asked for, and how far it is. Its number is that of the command that asked for it.
CREATE TABLE backfill (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dag_id text NOT NULL,
    from_date timestamptz NOT NULL,
    to_date timestamptz NOT NULL,
    max_active_runs int NOT NULL,
    conf json NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz,
    run_order smallint NOT NULL DEFAULT 0,
    reprocess_behavior smallint NOT NULL DEFAULT 0,
    on_latest_version boolean NOT NULL DEFAULT true,
    is_paused boolean NOT NULL DEFAULT false,
    triggering_user text,
    updated_at timestamptz NOT NULL DEFAULT now(),
    cursor_start timestamptz,
    cursor_end timestamptz,
    dates_seen int NOT NULL DEFAULT 0,
    runs_made int NOT NULL DEFAULT 0,
    is_planned boolean NOT NULL DEFAULT false,
    is_dropped boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX backfill_active ON backfill (dag_id) WHERE completed_at IS NULL;
CREATE INDEX backfill_by_dag ON backfill (dag_id, id);
CREATE INDEX backfill_to_sweep ON backfill (id) WHERE is_dropped;

-- What came of each date that a backfill has looked at: a run, or why there is none (0 in flight, 1 already exists).
CREATE TABLE backfill_dag_run (
    backfill_id bigint NOT NULL,
    sort_ordinal int NOT NULL,
    logical_date timestamptz NOT NULL,
    dag_run_id bigint,
    exception_reason smallint,
    PRIMARY KEY (backfill_id, sort_ordinal)
);
CREATE INDEX backfill_dag_run_by_run ON backfill_dag_run (dag_run_id) WHERE dag_run_id IS NOT NULL;

-- Desired state and news of each replica of each service.
CREATE TABLE service (
    dag_id text NOT NULL,
    name text NOT NULL,
    replica int NOT NULL,
    spec json NOT NULL,
    spec_hash text NOT NULL,
    is_wanted boolean NOT NULL,
    state smallint NOT NULL,
    instance uuid,
    worker_id int,
    deaths int NOT NULL,
    restarts int NOT NULL,
    not_before timestamptz,
    started_at timestamptz,
    changed_at timestamptz NOT NULL,
    progress json NOT NULL,
    progress_seq bigint NOT NULL,
    progress_stored_at timestamptz,
    last_error text,
    PRIMARY KEY (dag_id, name, replica)
);

CREATE TABLE worker (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    identity uuid NOT NULL UNIQUE,
    name text NOT NULL,
    slots int NOT NULL,
    queues text[] NOT NULL,
    capabilities text[] NOT NULL,
    joined_at timestamptz NOT NULL DEFAULT now(),
    lost_at timestamptz
);

-- What a worker was called at which time: a try shows the name that its worker had then, whatever it is called now. It is noted
-- whichever version registers the worker.
CREATE TABLE worker_name (
    worker_id int NOT NULL REFERENCES worker ON DELETE CASCADE,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL DEFAULT 'infinity',
    name text NOT NULL,
    PRIMARY KEY (worker_id, since)
);
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

CREATE TABLE user_account (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    username text NOT NULL UNIQUE,
    password_hash text NOT NULL,
    role smallint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Users whom an identity provider vouches for: its issuer, and its own name for them.
    provider text,
    provider_subject text,
    CONSTRAINT user_account_provider_whole CHECK ((provider IS NULL) = (provider_subject IS NULL)),
    CONSTRAINT user_account_provider_key UNIQUE (provider, provider_subject)
);

-- Sessions and API tokens by their `jti`; a row that is gone or revoked makes its token void. A session has no name; an API token
-- has the SHA-256 of its text.
CREATE TABLE token (
    jti uuid PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES user_account ON DELETE CASCADE,
    issued_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    name text,
    hash bytea UNIQUE,
    -- The rights that it is limited to; all of its user's without.
    scope text[],
    address text,
    door text,
    last_used_at timestamptz
);
CREATE INDEX token_by_expiry ON token (expires_at);
CREATE INDEX token_by_user ON token (user_id);

-- Roles that an installation makes beside Airflow's: rights over everything, and permissions on some DAGs.
CREATE TABLE role (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    rights text[] NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE role_dag_permission (
    role_id bigint NOT NULL REFERENCES role ON DELETE CASCADE,
    -- 0: the DAG of this id; 1: each DAG with this tag.
    kind smallint NOT NULL,
    target text NOT NULL,
    may_edit boolean NOT NULL,
    PRIMARY KEY (role_id, kind, target)
);

CREATE TABLE user_role (
    user_id bigint NOT NULL REFERENCES user_account ON DELETE CASCADE,
    role_id bigint NOT NULL REFERENCES role ON DELETE CASCADE,
    PRIMARY KEY (user_id, role_id)
);
CREATE INDEX user_role_by_role ON user_role (role_id);

-- A user with the names of its own roles.
CREATE VIEW user_with_roles AS
SELECT u.id, u.username, u.role, u.password_hash, u.provider,
       ARRAY(SELECT r.name FROM user_role ur JOIN role r ON r.id = ur.role_id WHERE ur.user_id = u.id
             ORDER BY r.name) AS own_roles
FROM user_account u;

-- DAGs that users have marked for themselves.
CREATE TABLE dag_favorite (
    user_id bigint NOT NULL REFERENCES user_account ON DELETE CASCADE,
    dag_id text NOT NULL REFERENCES dag ON DELETE CASCADE,
    marked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, dag_id)
);
CREATE INDEX dag_favorite_by_dag ON dag_favorite (dag_id);

CREATE TABLE import_error (
    file text NOT NULL,
    position int NOT NULL,
    message text NOT NULL,
    line int,
    col int,
    field text,
    suggestion text,
    found_at timestamptz NOT NULL DEFAULT now(),
    excerpt text,
    bundle_name text NOT NULL DEFAULT 'dags-folder',
    PRIMARY KEY (bundle_name, file, position)
);

-- What the processes of one cluster share, sealed with the key that is not in the database.
CREATE TABLE cluster_secret (
    name text PRIMARY KEY,
    sealed bytea NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now()
);

-- Tokens by which workers join. One that was revoked stays, so that its holder is told what happened to it.
CREATE TABLE join_token (
    id text PRIMARY KEY,
    sealed bytea NOT NULL,
    -- SHA-256 of what a worker shows to api processes, which have no use for the token itself.
    lookup_hash bytea NOT NULL UNIQUE,
    made_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
-- At most one is in use.
CREATE UNIQUE INDEX join_token_in_use ON join_token ((true)) WHERE revoked_at IS NULL;

-- What a worker's join token has bought: the certificate by which it is known from its next connection on. Until it is used it
-- may be bought again.
CREATE TABLE worker_certificate (
    identity uuid PRIMARY KEY,
    fingerprint bytea NOT NULL,
    -- For a person who looks for what a token has bought that got into wrong hands.
    token_id text NOT NULL,
    -- One that is not used within a month is forgotten.
    issued_at timestamptz NOT NULL DEFAULT now(),
    used_at timestamptz,
    revoked_at timestamptz
);

-- What the leader could not take in, by kind and key: counted while it is tried again, and held after that until a person
-- releases it. Commands that were put aside stay in `inbox` with their reason.
CREATE TABLE quarantine (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    key text NOT NULL,
    reason text NOT NULL,
    -- What it brought, so that a release can bring it again.
    content json,
    failures int NOT NULL DEFAULT 1,
    first_at timestamptz NOT NULL DEFAULT now(),
    last_at timestamptz NOT NULL DEFAULT now(),
    held_at timestamptz,
    released_at timestamptz,
    UNIQUE (kind, key)
);

-- Wishes to delete what is older than an instant, one a kind; the leader carries them out in small steps, and then they go.
CREATE TABLE clean_request (
    kind text PRIMARY KEY,
    before timestamptz NOT NULL,
    -- For a person who wonders at a wish that does not come to its end.
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now()
);
