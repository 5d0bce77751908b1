-- How many rows each layer has, and what silver refused, for the quality report.
SELECT 'rows' AS kind, 'bronze.stock_trades' AS name, count(*) AS records FROM lake.bronze.stock_trades
UNION ALL
SELECT 'rows' AS kind, 'bronze.stock_trades_dlq' AS name, count(*) AS records FROM lake.bronze.stock_trades_dlq
UNION ALL
SELECT 'rows' AS kind, 'bronze.stock_ingest' AS name, count(*) AS records FROM lake.bronze.stock_ingest
UNION ALL
SELECT 'rows' AS kind, 'silver.stock_trades' AS name, count(*) AS records FROM lake.silver.stock_trades
UNION ALL
SELECT 'rows' AS kind, 'gold.stock_daily' AS name, count(*) AS records FROM lake.gold.stock_daily
UNION ALL
SELECT 'rows' AS kind, 'gold.stock_metrics' AS name, count(*) AS records FROM lake.gold.stock_metrics
UNION ALL
SELECT 'rejected' AS kind, reason AS name, CAST(sum(rejected) AS bigint) AS records FROM lake.silver.stock_rejects GROUP BY reason
