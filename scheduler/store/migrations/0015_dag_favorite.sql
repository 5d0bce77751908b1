SET LOCAL lock_timeout = '2s';

-- DAGs that users have marked for themselves.
CREATE TABLE dag_favorite (
    user_id bigint NOT NULL REFERENCES user_account ON DELETE CASCADE,
    dag_id text NOT NULL REFERENCES dag ON DELETE CASCADE,
    marked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, dag_id)
);
CREATE INDEX dag_favorite_by_dag ON dag_favorite (dag_id);
