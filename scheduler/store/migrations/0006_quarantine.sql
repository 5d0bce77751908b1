SET LOCAL lock_timeout = '2s';

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
