SET LOCAL lock_timeout = '2s';

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
