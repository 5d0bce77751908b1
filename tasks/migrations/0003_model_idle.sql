-- Statements that changed nothing, and the snapshots of the tables that they found: upon the same ones they change nothing again.
CREATE TABLE model_idle (
    table_name text NOT NULL,
    -- SHA-256 of the statement and of the engine's version.
    statement bytea NOT NULL,
    snapshots jsonb NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (table_name, statement)
);
