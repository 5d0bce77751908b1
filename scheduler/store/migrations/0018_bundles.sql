SET LOCAL lock_timeout = '2s';

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

ALTER TABLE dag ADD COLUMN bundle_name text NOT NULL DEFAULT 'dags-folder';
ALTER TABLE dag_version
    ADD COLUMN bundle_name text NOT NULL DEFAULT 'dags-folder',
    -- The revision that brought the version; none for the DAG folder, which has no revisions.
    ADD COLUMN bundle_version text;

-- Files of two bundles may have the same name. The previous version goes on as it did: it knows the DAG folder only.
ALTER TABLE import_error
    ADD COLUMN bundle_name text NOT NULL DEFAULT 'dags-folder',
    DROP CONSTRAINT import_error_pkey,
    ADD PRIMARY KEY (bundle_name, file, position);
