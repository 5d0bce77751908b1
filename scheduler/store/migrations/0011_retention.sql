SET LOCAL lock_timeout = '2s';

-- Wishes to delete what is older than an instant, one a kind; the leader carries them out in small steps, and then they go.
CREATE TABLE clean_request (
    kind text PRIMARY KEY,
    before timestamptz NOT NULL,
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now()
);

-- Whether a version still has runs.
CREATE INDEX dag_run_by_version ON dag_run (version_id);
