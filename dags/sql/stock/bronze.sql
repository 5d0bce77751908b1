-- The ingest ledger: for each partition and day, which offsets arrived, how many rows and dead letters, and how many are missing.
-- An offset that is neither in the trades nor among the dead letters is a gap. Silver takes offsets up to the ledger's last one.
-- Only offsets past the ledger's own last one are counted and added, so a second run finds nothing to do;
-- with the DAG's parameter full_refresh everything is counted anew.

CREATE SCHEMA IF NOT EXISTS lake.bronze;

CREATE TABLE IF NOT EXISTS lake.bronze.stock_ingest (
    topic VARCHAR NOT NULL,
    kafka_partition INTEGER NOT NULL,
    day DATE NOT NULL,
    first_offset BIGINT NOT NULL,
    last_offset BIGINT NOT NULL,
    rows BIGINT NOT NULL,
    dead_letters BIGINT NOT NULL,
    gaps BIGINT NOT NULL
);

MERGE INTO lake.bronze.stock_ingest AS t
USING (
    WITH handled AS (
        SELECT kafka_partition, max(last_offset) AS last_offset
        FROM lake.bronze.stock_ingest
        WHERE topic = '{{ params.topic }}' AND NOT {{ params.full_refresh }}
        GROUP BY kafka_partition
    ),
    arrived AS (
        SELECT kafka_partition, kafka_offset, CAST(ingested_at AS date) AS day, 1 AS is_row
        FROM lake.bronze.stock_trades
        UNION ALL
        SELECT kafka_partition, kafka_offset, CAST(failed_at AS date) AS day, 0 AS is_row
        FROM lake.bronze.stock_trades_dlq
    ),
    news AS (
        SELECT
            a.kafka_partition,
            a.kafka_offset,
            a.day,
            a.is_row,
            -- The offset before this one; for the very first there is none, and so no gap.
            coalesce(
                lag(a.kafka_offset) OVER (PARTITION BY a.kafka_partition ORDER BY a.kafka_offset),
                h.last_offset,
                a.kafka_offset - 1
            ) AS previous_offset
        -- The small side comes first: the embedded engine keeps it in memory and streams the other one past it.
        FROM handled AS h
        RIGHT JOIN arrived AS a ON a.kafka_partition = h.kafka_partition
        WHERE h.last_offset IS NULL OR a.kafka_offset > h.last_offset
    )
    SELECT
        '{{ params.topic }}' AS topic,
        kafka_partition,
        day,
        min(kafka_offset) AS first_offset,
        max(kafka_offset) AS last_offset,
        CAST(sum(is_row) AS bigint) AS rows,
        CAST(sum(1 - is_row) AS bigint) AS dead_letters,
        -- A repeated offset is its own predecessor; it must not make up for a gap.
        CAST(sum(CASE WHEN kafka_offset > previous_offset THEN kafka_offset - previous_offset - 1 ELSE 0 END) AS bigint) AS gaps
    FROM news
    GROUP BY kafka_partition, day
) AS s
ON t.topic = s.topic AND t.kafka_partition = s.kafka_partition AND t.day = s.day
WHEN MATCHED AND {{ params.full_refresh }} THEN UPDATE SET
    first_offset = s.first_offset,
    last_offset = s.last_offset,
    rows = s.rows,
    dead_letters = s.dead_letters,
    gaps = s.gaps
WHEN MATCHED THEN UPDATE SET
    last_offset = s.last_offset,
    rows = t.rows + s.rows,
    dead_letters = t.dead_letters + s.dead_letters,
    gaps = t.gaps + s.gaps
WHEN NOT MATCHED THEN INSERT (topic, kafka_partition, day, first_offset, last_offset, rows, dead_letters, gaps)
    VALUES (s.topic, s.kafka_partition, s.day, s.first_offset, s.last_offset, s.rows, s.dead_letters, s.gaps);
