-- check: bronze.no_gaps: every offset is a trade or a dead letter
-- What must hold of bronze before silver is made of it. No row may come back.
SELECT
    'bronze.no_gaps' AS check_name,
    concat('partition ', CAST(kafka_partition AS varchar), ', day ', CAST(day AS varchar), ': ', CAST(gaps AS varchar),
        ' offsets up to ', CAST(last_offset AS varchar), ' are neither trades nor dead letters') AS detail
FROM lake.bronze.stock_ingest
WHERE gaps <> 0;

-- check: bronze.unique_offsets: bronze has each offset once
-- More records than offsets: some offset is there twice.
SELECT
    'bronze.unique_offsets' AS check_name,
    concat('partition ', CAST(kafka_partition AS varchar), ', day ', CAST(day AS varchar), ': ', CAST(rows + dead_letters AS varchar),
        ' records for the offsets ', CAST(first_offset AS varchar), ' to ', CAST(last_offset AS varchar)) AS detail
FROM lake.bronze.stock_ingest
WHERE rows + dead_letters > last_offset - first_offset + 1;

-- check: bronze.not_null: a trade has an id, a symbol, a time, a price and a size
SELECT
    'bronze.not_null' AS check_name,
    concat('partition ', CAST(kafka_partition AS varchar), ', offset ', CAST(kafka_offset AS varchar), ' has no symbol, price, size, ts or trade_id') AS detail
FROM lake.bronze.stock_trades
WHERE symbol IS NULL OR price IS NULL OR size IS NULL OR ts IS NULL OR trade_id IS NULL;

-- check: bronze.ledger_reconciles: the ledger counts what the table has
-- The ledger was written just before this check, so at most what arrived since may be missing in it, never the other way round.
SELECT
    'bronze.ledger_reconciles' AS check_name,
    concat('partition ', CAST(l.kafka_partition AS varchar), ': the ledger has ', CAST(l.records AS varchar), ' trades and the table ',
        CAST(coalesce(b.records, 0) AS varchar), ' up to offset ', CAST(l.last_offset AS varchar)) AS detail
FROM (
    SELECT kafka_partition, CAST(sum(rows) AS bigint) AS records, max(last_offset) AS last_offset
    FROM lake.bronze.stock_ingest
    GROUP BY kafka_partition
) AS l
LEFT JOIN (
    SELECT t.kafka_partition, count(*) AS records
    FROM (SELECT kafka_partition, max(last_offset) AS last_offset FROM lake.bronze.stock_ingest GROUP BY kafka_partition) AS e
    JOIN lake.bronze.stock_trades AS t ON t.kafka_partition = e.kafka_partition
    WHERE t.kafka_offset <= e.last_offset
    GROUP BY t.kafka_partition
) AS b ON b.kafka_partition = l.kafka_partition
WHERE l.records <> coalesce(b.records, 0);
