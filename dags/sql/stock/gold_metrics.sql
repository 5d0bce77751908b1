-- Per symbol and trading day: the return since the trading day before, the standard deviation of the last 20 returns, and the
-- averages of the last 5 and 20 closes. A figure is null until its window is full.
--
-- Everything here follows from the closes, which the rows keep: where the daily table has another close, the symbol is computed
-- from that day on, with the 20 days before it for the windows. With the DAG's parameter full_refresh all of it is.
-- Sums are of decimals, so that a window's value does not depend on where the computation started.

CREATE SCHEMA IF NOT EXISTS lake.gold;

CREATE TABLE IF NOT EXISTS lake.gold.stock_metrics (
    symbol VARCHAR NOT NULL,
    trade_date DATE NOT NULL,
    close DOUBLE NOT NULL,
    daily_return DOUBLE,
    volatility_20d DOUBLE,
    moving_average_5d DOUBLE,
    moving_average_20d DOUBLE
);

MERGE INTO lake.gold.stock_metrics AS t
USING (
    WITH days AS (
        SELECT
            coalesce(d.symbol, m.symbol) AS symbol,
            coalesce(d.trade_date, m.trade_date) AS trade_date,
            d.close,
            {{ params.full_refresh }} OR (d.close IS DISTINCT FROM m.close) AS is_new
        FROM lake.gold.stock_daily AS d
        FULL JOIN lake.gold.stock_metrics AS m ON m.symbol = d.symbol AND m.trade_date = d.trade_date
    ),
    starts AS (
        SELECT symbol, min(trade_date) AS first_date FROM days WHERE is_new GROUP BY symbol
    ),
    placed AS (
        SELECT
            d.symbol, d.trade_date, d.close, s.first_date,
            row_number() OVER (PARTITION BY d.symbol ORDER BY d.trade_date) AS place,
            sum(CASE WHEN d.trade_date < s.first_date THEN 1 ELSE 0 END) OVER (PARTITION BY d.symbol) AS before
        FROM days AS d
        JOIN starts AS s ON s.symbol = d.symbol
        WHERE d.close IS NOT NULL
    ),
    returns AS (
        SELECT
            symbol, trade_date, close, first_date, place,
            close / lag(close) OVER (PARTITION BY symbol ORDER BY trade_date) - 1 AS daily_return
        FROM placed
        -- 20 returns need 21 closes.
        WHERE place >= before - 20
    ),
    windows AS (
        SELECT
            symbol, trade_date, close, first_date, place, daily_return,
            sum(CAST(close AS decimal(21, 12))) OVER (PARTITION BY symbol ORDER BY trade_date ROWS BETWEEN 4 PRECEDING AND CURRENT ROW) AS closes_5,
            sum(CAST(close AS decimal(21, 12))) OVER (PARTITION BY symbol ORDER BY trade_date ROWS BETWEEN 19 PRECEDING AND CURRENT ROW) AS closes_20,
            CAST(sum(CAST(daily_return AS decimal(38, 24))) OVER (PARTITION BY symbol ORDER BY trade_date ROWS BETWEEN 19 PRECEDING AND CURRENT ROW) AS double) AS returns_20,
            CAST(sum(CAST(daily_return * daily_return AS decimal(38, 24))) OVER (PARTITION BY symbol ORDER BY trade_date ROWS BETWEEN 19 PRECEDING AND CURRENT ROW) AS double) AS squares_20
        FROM returns
    )
    SELECT
        symbol,
        trade_date,
        close,
        daily_return,
        CASE WHEN place > 20 THEN sqrt(greatest(squares_20 - returns_20 * returns_20 / 20, 0E0) / 19) END AS volatility_20d,
        CASE WHEN place >= 5 THEN CAST(closes_5 AS double) / 5 END AS moving_average_5d,
        CASE WHEN place >= 20 THEN CAST(closes_20 AS double) / 20 END AS moving_average_20d
    FROM windows
    WHERE trade_date >= first_date
    UNION ALL
    SELECT
        symbol,
        trade_date,
        CAST(NULL AS double) AS close,
        CAST(NULL AS double) AS daily_return,
        CAST(NULL AS double) AS volatility_20d,
        CAST(NULL AS double) AS moving_average_5d,
        CAST(NULL AS double) AS moving_average_20d
    FROM days
    WHERE close IS NULL
) AS s
ON t.symbol = s.symbol AND t.trade_date = s.trade_date
WHEN MATCHED AND s.close IS NULL THEN DELETE
WHEN MATCHED THEN UPDATE SET
    close = s.close,
    daily_return = s.daily_return,
    volatility_20d = s.volatility_20d,
    moving_average_5d = s.moving_average_5d,
    moving_average_20d = s.moving_average_20d
WHEN NOT MATCHED THEN INSERT (symbol, trade_date, close, daily_return, volatility_20d, moving_average_5d, moving_average_20d)
    VALUES (s.symbol, s.trade_date, s.close, s.daily_return, s.volatility_20d, s.moving_average_5d, s.moving_average_20d);
