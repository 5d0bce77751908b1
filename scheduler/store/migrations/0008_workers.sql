SET LOCAL lock_timeout = '2s';

-- When the last loss of a worker that counted happened: losses close to it have the same cause, and count with it.
ALTER TABLE task_instance_extra ADD COLUMN lost_at timestamptz;

-- What a worker's join token has bought: the certificate by which it is known from its next connection on. Until it is used it
-- may be bought again.
CREATE TABLE worker_certificate (
    identity uuid PRIMARY KEY,
    fingerprint bytea NOT NULL,
    token_id text NOT NULL,
    issued_at timestamptz NOT NULL DEFAULT now(),
    used_at timestamptz,
    revoked_at timestamptz
);
