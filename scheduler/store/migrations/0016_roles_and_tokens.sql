SET LOCAL lock_timeout = '2s';

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

-- A session has none of these but where it comes from; an API token has a name, and the SHA-256 of its text.
ALTER TABLE token
    ADD COLUMN name text,
    ADD COLUMN hash bytea UNIQUE,
    -- The rights that it is limited to; all of its user's without.
    ADD COLUMN scope text[],
    ADD COLUMN address text,
    ADD COLUMN door text,
    ADD COLUMN last_used_at timestamptz;
CREATE INDEX token_by_user ON token (user_id);
