-- check: gold.unique_day: gold has each symbol and day once
-- What must hold of gold. Columns that are declared NOT NULL cannot hold one, so they are not asked.
SELECT 'gold.unique_day' AS check_name, concat(symbol, ' ', CAST(trade_date AS varchar), ' is there ', CAST(count(*) AS varchar), ' times') AS detail
FROM lake.gold.stock_daily
GROUP BY symbol, trade_date
HAVING count(*) > 1;

-- check: gold.accepted_range: open, close and vwap lie between low and high, and something was traded
-- The average may differ from its bounds by the last digits of a double.
SELECT 'gold.accepted_range' AS check_name, concat(symbol, ' ', CAST(trade_date AS varchar), ': a price lies outside of low and high, or a count is not above 0') AS detail
FROM lake.gold.stock_daily
WHERE NOT (
    low > 0 AND low <= open AND open <= high AND low <= close AND close <= high
    AND vwap >= low * 0.999999999E0 AND vwap <= high * 1.000000001E0
    AND volume > 0 AND trade_count > 0
);

-- check: gold.reconciles_with_silver: gold counts every trade of silver
-- Every trade of silver is counted in exactly one day, and gold has seen the newest batch.
SELECT
    'gold.reconciles_with_silver' AS check_name,
    concat('silver has ', CAST(s.trades AS varchar), ' trades up to batch ', CAST(s.batch AS varchar), ', gold counts ', CAST(g.trades AS varchar),
        ' up to batch ', CAST(g.batch AS varchar)) AS detail
FROM (SELECT count(*) AS trades, coalesce(max(batch), 0) AS batch FROM lake.silver.stock_trades) AS s
CROSS JOIN (SELECT coalesce(CAST(sum(trade_count) AS bigint), 0) AS trades, coalesce(max(silver_batch), 0) AS batch FROM lake.gold.stock_daily) AS g
WHERE s.trades <> g.trades OR s.batch <> g.batch;

-- check: gold.metrics_reconcile_with_daily: there are metrics of every day, made of its close
SELECT
    'gold.metrics_reconcile_with_daily' AS check_name,
    concat(coalesce(d.symbol, m.symbol), ' ', CAST(coalesce(d.trade_date, m.trade_date) AS varchar), ': the close of the day and of the metrics differ') AS detail
FROM lake.gold.stock_daily AS d
FULL JOIN lake.gold.stock_metrics AS m ON m.symbol = d.symbol AND m.trade_date = d.trade_date
WHERE (d.close IS DISTINCT FROM m.close);

-- check: gold.metrics_accepted_range: returns are above -1, volatilities not below 0, averages above 0
SELECT 'gold.metrics_accepted_range' AS check_name, concat(symbol, ' ', CAST(trade_date AS varchar), ': a return is not above -1, a volatility below 0, or an average not above 0') AS detail
FROM lake.gold.stock_metrics
WHERE NOT (
    coalesce(daily_return, 0E0) > -1
    AND coalesce(volatility_20d, 0E0) >= 0
    AND coalesce(moving_average_5d, 1E0) > 0
    AND coalesce(moving_average_20d, 1E0) > 0
);
