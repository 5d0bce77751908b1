SET LOCAL lock_timeout = '2s';

-- Assets are told apart by name and uri, as in Airflow; a single word is both. Until now nothing has written these tables.
ALTER TABLE asset
    ADD COLUMN asset_group text NOT NULL DEFAULT 'asset',
    ADD COLUMN extra json,
    ADD COLUMN created_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now(),
    -- Whether only a schedule has named it, by one word: a task that writes an asset of this name or uri makes it that one.
    ADD COLUMN is_guess boolean NOT NULL DEFAULT false;
UPDATE asset SET uri = name WHERE uri IS NULL;
ALTER TABLE asset ALTER COLUMN uri SET NOT NULL, DROP CONSTRAINT asset_name_key;
CREATE UNIQUE INDEX asset_by_name ON asset (name, uri);
CREATE INDEX asset_by_uri ON asset (uri, id);

-- Events are numbered by the leader, in the order in which they happened. What they say of their source outlives its run.
ALTER TABLE asset_event
    ADD COLUMN source_dag_id text,
    ADD COLUMN source_run_id text,
    ADD COLUMN source_task_id text,
    ADD COLUMN source_map_index int NOT NULL DEFAULT -1,
    ADD COLUMN aliases text[];
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
