-- check: silver.unique_trade_id: silver has each trade once
-- What must hold of silver before gold is made of it. Columns that are declared NOT NULL cannot hold one, so they are not asked.
SELECT 'silver.unique_trade_id' AS check_name, concat('trade_id ', trade_id, ' is there ', CAST(count(*) AS varchar), ' times') AS detail
FROM lake.silver.stock_trades
GROUP BY trade_id
HAVING count(*) > 1;

-- check: silver.accepted_range: prices and sizes are above zero
SELECT 'silver.accepted_range' AS check_name, concat('trade_id ', trade_id, ' has a price or size that is not above 0') AS detail
FROM lake.silver.stock_trades
WHERE NOT (price > 0 AND price < 1E9 AND size > 0);

-- check: silver.reconciles_with_bronze: every record of the ledger is a trade of silver or was rejected
-- Every record of the ingest ledger is a row of silver or counted as rejected: silver is as fresh as the ledger and lost nothing.
SELECT
    'silver.reconciles_with_bronze' AS check_name,
    concat('partition ', CAST(kafka_partition AS varchar), ': bronze has ', CAST(sum(CASE WHEN layer = 'bronze' THEN records ELSE 0 END) AS varchar),
        ' trades, silver and its rejects ', CAST(sum(CASE WHEN layer = 'silver' THEN records ELSE 0 END) AS varchar)) AS detail
FROM (
    SELECT 'bronze' AS layer, kafka_partition, rows AS records FROM lake.bronze.stock_ingest
    UNION ALL
    SELECT 'silver' AS layer, kafka_partition, count(*) AS records FROM lake.silver.stock_trades GROUP BY kafka_partition
    UNION ALL
    SELECT 'silver' AS layer, kafka_partition, rejected AS records FROM lake.silver.stock_rejects
) AS counted
GROUP BY kafka_partition
HAVING sum(CASE WHEN layer = 'bronze' THEN records ELSE - records END) <> 0;

-- check: silver.rejects_are_counts: what was rejected is counted
SELECT 'silver.rejects_are_counts' AS check_name, concat('partition ', CAST(kafka_partition AS varchar), ', ', reason, ': ', CAST(rejected AS varchar)) AS detail
FROM lake.silver.stock_rejects
WHERE rejected < 0;
