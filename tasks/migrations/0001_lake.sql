-- The lake database: the Iceberg catalogue, watermarks, the embedded event log and the schema registry.

-- Iceberg's SQL catalogue, schema V1, column for column as Trino's and pyiceberg's JDBC catalogues read it.
CREATE TABLE IF NOT EXISTS iceberg_tables (
    catalog_name varchar(255) NOT NULL,
    table_namespace varchar(255) NOT NULL,
    table_name varchar(255) NOT NULL,
    metadata_location varchar(1000),
    previous_metadata_location varchar(1000),
    iceberg_type varchar(5),
    PRIMARY KEY (catalog_name, table_namespace, table_name)
);

CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
    catalog_name varchar(255) NOT NULL,
    namespace varchar(255) NOT NULL,
    property_key varchar(255) NOT NULL,
    property_value varchar(1000),
    PRIMARY KEY (catalog_name, namespace, property_key)
);

-- How far a table has taken a topic in: the offset that it wants next. Raised in the transaction that swaps the table.
CREATE TABLE watermark (
    table_name text NOT NULL,
    topic text NOT NULL,
    partition int NOT NULL,
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (table_name, topic, partition)
);

-- Finite sources: where the topic stood when a source was first seen, and its ends once everything of it was produced.
CREATE TABLE stream_completion (
    topic text NOT NULL,
    source_id text NOT NULL,
    start_offsets jsonb NOT NULL,
    end_offsets jsonb,
    completed_at timestamptz,
    PRIMARY KEY (topic, source_id),
    CHECK ((end_offsets IS NULL) = (completed_at IS NULL))
);

CREATE TABLE topic (
    topic_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name ~ '^[a-zA-Z0-9._-]{1,249}$'),
    partitions int NOT NULL CHECK (partitions BETWEEN 1 AND 1024),
    retention_ms bigint NOT NULL CHECK (retention_ms > 0),
    slice_ms bigint NOT NULL CHECK (slice_ms > 0),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The row's lock orders producers: offsets are dense, and become visible in their order.
CREATE TABLE topic_partition (
    topic_id int NOT NULL REFERENCES topic,
    partition int NOT NULL,
    start_offset bigint NOT NULL DEFAULT 0,
    next_offset bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (topic_id, partition),
    CHECK (start_offset BETWEEN 0 AND next_offset)
) WITH (fillfactor = 50);

-- Record batches. A table partition a topic and, below it, one a time slice; retention drops slices.
-- The key starts with what is constant within a slice's reading, so that its index gives batches in the order of offsets.
CREATE TABLE log_batch (
    topic_id int NOT NULL,
    slice bigint NOT NULL,
    partition int NOT NULL,
    last_offset bigint NOT NULL,
    record_count int NOT NULL CHECK (record_count > 0),
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    raw_bytes int NOT NULL,
    records bytea NOT NULL,
    PRIMARY KEY (partition, last_offset, topic_id, slice)
) PARTITION BY LIST (topic_id);
-- The records are compressed already.
ALTER TABLE log_batch ALTER COLUMN records SET STORAGE EXTERNAL;

CREATE TABLE registry_schema (
    schema_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schema_type text NOT NULL,
    -- SHA-256 of the canonical form: equal schemas have one id, whatever their spacing.
    fingerprint bytea NOT NULL UNIQUE,
    schema text NOT NULL
);

CREATE TABLE registry_version (
    subject text NOT NULL,
    version int NOT NULL,
    schema_id int NOT NULL REFERENCES registry_schema,
    deleted boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (subject, version)
);
CREATE UNIQUE INDEX registry_version_live ON registry_version (subject, schema_id) WHERE NOT deleted;
CREATE INDEX registry_version_schema ON registry_version (schema_id);

-- The level of all subjects is the row of the empty subject.
CREATE TABLE registry_config (
    subject text PRIMARY KEY,
    compatibility text NOT NULL
);
INSERT INTO registry_config VALUES ('', 'BACKWARD');
