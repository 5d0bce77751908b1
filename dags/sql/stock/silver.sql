-- Trades, typed and each once. Of the records with one trade_id the first by partition and offset counts; a record is taken
-- when its price and size are numbers above zero. Those that are not taken are counted by reason.
--
-- Rows know where they came from (kafka_partition, kafka_offset), so what has been handled is read from the table itself: records past
-- the last offset of each partition, up to the ingest ledger's. With the DAG's parameter full_refresh all records are taken
-- again and rows that bronze no longer has are removed; rows that stay the same are not touched.

CREATE SCHEMA IF NOT EXISTS lake.silver;

-- batch numbers the runs that changed something: gold finds the days that are new to it by it.
CREATE TABLE IF NOT EXISTS lake.silver.stock_trades (
    trade_id VARCHAR NOT NULL,
    symbol VARCHAR NOT NULL,
    ts TIMESTAMP(6) WITH TIME ZONE NOT NULL,
    price DOUBLE NOT NULL,
    size BIGINT NOT NULL,
    source VARCHAR,
    kafka_partition INTEGER NOT NULL,
    kafka_offset BIGINT NOT NULL,
    ingested_at TIMESTAMP(6) WITH TIME ZONE,
    batch BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS lake.silver.stock_rejects (
    kafka_partition INTEGER NOT NULL,
    reason VARCHAR NOT NULL,
    rejected BIGINT NOT NULL
);

MERGE INTO lake.silver.stock_trades AS t
USING (
    WITH handled AS (
        SELECT kafka_partition, max(kafka_offset) AS last_offset
        FROM lake.silver.stock_trades
        WHERE NOT {{ params.full_refresh }}
        GROUP BY kafka_partition
    ),
    arrived AS (
        SELECT kafka_partition, max(last_offset) AS last_offset
        FROM lake.bronze.stock_ingest
        GROUP BY kafka_partition
    ),
    due AS (
        SELECT a.kafka_partition, coalesce(h.last_offset, -1) AS after_offset, a.last_offset
        FROM arrived AS a
        LEFT JOIN handled AS h ON h.kafka_partition = a.kafka_partition
    ),
    good AS (
        SELECT
            b.trade_id, b.symbol, b.ts, b.price, b.size, b.source, b.kafka_partition, b.kafka_offset, b.ingested_at,
            row_number() OVER (PARTITION BY b.trade_id ORDER BY b.kafka_partition, b.kafka_offset) AS place
        -- The small side comes first, and the large one is streamed past it: so the embedded engine needs little memory.
        FROM due AS d
        RIGHT JOIN lake.bronze.stock_trades AS b ON b.kafka_partition = d.kafka_partition
        WHERE b.kafka_offset > coalesce(d.after_offset, b.kafka_offset) AND b.kafka_offset <= coalesce(d.last_offset, -1)
            AND b.trade_id IS NOT NULL AND b.symbol IS NOT NULL AND b.ts IS NOT NULL
            -- The upper bound refuses infinity, and NaN, which the engines order differently.
            AND b.price > 0 AND b.price < 1E9
            AND b.size > 0 AND b.size < 1000000000000
    ),
    gone AS (
        SELECT o.trade_id
        FROM lake.silver.stock_trades AS o
        LEFT JOIN good AS g ON g.trade_id = o.trade_id
        WHERE {{ params.full_refresh }} AND g.trade_id IS NULL
    ),
    next AS (
        SELECT coalesce(max(batch), 0) + 1 AS batch FROM lake.silver.stock_trades
    )
    SELECT g.trade_id, g.symbol, g.ts, g.price, g.size, g.source, g.kafka_partition, g.kafka_offset, g.ingested_at, n.batch
    FROM next AS n
    CROSS JOIN good AS g
    WHERE g.place = 1
    UNION ALL
    SELECT
        trade_id,
        CAST(NULL AS varchar) AS symbol,
        CAST(NULL AS timestamp(6) with time zone) AS ts,
        CAST(NULL AS double) AS price,
        CAST(NULL AS bigint) AS size,
        CAST(NULL AS varchar) AS source,
        CAST(NULL AS integer) AS kafka_partition,
        CAST(NULL AS bigint) AS kafka_offset,
        CAST(NULL AS timestamp(6) with time zone) AS ingested_at,
        CAST(NULL AS bigint) AS batch
    FROM gone
) AS s
ON t.trade_id = s.trade_id
WHEN MATCHED AND s.batch IS NULL THEN DELETE
-- An earlier record of a known trade takes its place, so that the order of runs does not matter.
WHEN MATCHED AND (
    s.kafka_partition < t.kafka_partition
    OR s.kafka_partition = t.kafka_partition AND s.kafka_offset < t.kafka_offset
    OR {{ params.full_refresh }} AND (s.kafka_partition <> t.kafka_partition OR s.kafka_offset <> t.kafka_offset)
) THEN UPDATE SET
    symbol = s.symbol,
    ts = s.ts,
    price = s.price,
    size = s.size,
    source = s.source,
    kafka_partition = s.kafka_partition,
    kafka_offset = s.kafka_offset,
    ingested_at = s.ingested_at,
    batch = s.batch
WHEN NOT MATCHED THEN INSERT (trade_id, symbol, ts, price, size, source, kafka_partition, kafka_offset, ingested_at, batch)
    VALUES (s.trade_id, s.symbol, s.ts, s.price, s.size, s.source, s.kafka_partition, s.kafka_offset, s.ingested_at, s.batch);

-- Counted from what both tables hold, so the numbers are right whichever way silver came about: every record of the ledger
-- is a row of silver or is counted here. Repeats are the good records that are no row.
MERGE INTO lake.silver.stock_rejects AS t
USING (
    WITH arrived AS (
        SELECT kafka_partition, max(last_offset) AS last_offset
        FROM lake.bronze.stock_ingest
        GROUP BY kafka_partition
    ),
    judged AS (
        SELECT
            b.kafka_partition,
            CASE
                WHEN b.trade_id IS NULL OR b.symbol IS NULL OR b.ts IS NULL THEN 'trade_id, symbol or ts is missing'
                WHEN b.price > 0 AND b.price < 1E9 THEN
                    CASE WHEN b.size > 0 AND b.size < 1000000000000 THEN 'trade_id is repeated' ELSE 'size is not a number above 0' END
                ELSE 'price is not a number above 0'
            END AS reason
        FROM arrived AS a
        RIGHT JOIN lake.bronze.stock_trades AS b ON b.kafka_partition = a.kafka_partition
        WHERE b.kafka_offset <= coalesce(a.last_offset, -1)
    ),
    counted AS (
        SELECT kafka_partition, reason, count(*) AS records FROM judged GROUP BY kafka_partition, reason
        UNION ALL
        SELECT kafka_partition, 'trade_id is repeated' AS reason, - count(*) AS records
        FROM lake.silver.stock_trades
        GROUP BY kafka_partition
        UNION ALL
        SELECT kafka_partition, reason, CAST(0 AS bigint) AS records FROM lake.silver.stock_rejects
    )
    SELECT kafka_partition, reason, CAST(sum(records) AS bigint) AS rejected
    FROM counted
    GROUP BY kafka_partition, reason
) AS s
ON t.kafka_partition = s.kafka_partition AND t.reason = s.reason
WHEN MATCHED AND s.rejected = 0 THEN DELETE
WHEN MATCHED AND t.rejected <> s.rejected THEN UPDATE SET rejected = s.rejected
WHEN NOT MATCHED AND s.rejected <> 0 THEN INSERT (kafka_partition, reason, rejected) VALUES (s.kafka_partition, s.reason, s.rejected);
