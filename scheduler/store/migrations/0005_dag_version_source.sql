SET LOCAL lock_timeout = '2s';

-- The SHA-256 of the file that defines a DAG, a row of blob: what people wrote, not only what it means. Versions that were
-- stored before have none.
ALTER TABLE dag_version ADD COLUMN source_sha256 bytea;
