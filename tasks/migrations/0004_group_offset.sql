-- Where consumer groups stand on the embedded log, as Kafka keeps it for its own.
CREATE TABLE group_offset (
    group_id text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    -- Who committed, and where that reader had begun.
    note text NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (group_id, topic, partition)
);
