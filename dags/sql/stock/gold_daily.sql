-- One row a symbol and UTC day. Open and close are the first and last trade by ts, then trade_id.
--
-- A day is computed when silver holds another number of trades, or a newer batch, than the row says: late trades of old days
-- included, days whose trades are gone removed, nothing else touched. With the DAG's parameter full_refresh every day is computed.
-- The lake's timestamps carry the zone UTC on both engines, so CAST(ts AS date) is the UTC date.

CREATE SCHEMA IF NOT EXISTS lake.gold;

CREATE TABLE IF NOT EXISTS lake.gold.stock_daily (
    symbol VARCHAR NOT NULL,
    trade_date DATE NOT NULL,
    open DOUBLE NOT NULL,
    high DOUBLE NOT NULL,
    low DOUBLE NOT NULL,
    close DOUBLE NOT NULL,
    volume BIGINT NOT NULL,
    vwap DOUBLE NOT NULL,
    trade_count BIGINT NOT NULL,
    silver_batch BIGINT NOT NULL
);

MERGE INTO lake.gold.stock_daily AS t
USING (
    WITH days AS (
        SELECT symbol, CAST(ts AS date) AS trade_date, count(*) AS trade_count, max(batch) AS silver_batch
        FROM lake.silver.stock_trades
        GROUP BY symbol, CAST(ts AS date)
    ),
    touched AS (
        SELECT
            coalesce(d.symbol, g.symbol) AS symbol,
            coalesce(d.trade_date, g.trade_date) AS trade_date,
            coalesce(d.trade_count, 0) AS trade_count,
            d.silver_batch
        FROM days AS d
        FULL JOIN lake.gold.stock_daily AS g ON g.symbol = d.symbol AND g.trade_date = d.trade_date
        WHERE {{ params.full_refresh }}
            OR (d.trade_count IS DISTINCT FROM g.trade_count)
            OR (d.silver_batch IS DISTINCT FROM g.silver_batch)
    ),
    trades AS (
        SELECT
            d.symbol, d.trade_date, d.trade_count, d.silver_batch, x.price, x.size,
            row_number() OVER (PARTITION BY d.symbol, d.trade_date ORDER BY x.ts, x.trade_id) AS place,
            -- A window function that looks one row ahead needs no second sort.
            lead(x.trade_id) OVER (PARTITION BY d.symbol, d.trade_date ORDER BY x.ts, x.trade_id) AS next_trade
        FROM touched AS d
        LEFT JOIN lake.silver.stock_trades AS x ON x.symbol = d.symbol AND CAST(x.ts AS date) = d.trade_date
    )
    SELECT
        symbol,
        trade_date,
        max(CASE WHEN place = 1 THEN price END) AS open,
        max(price) AS high,
        min(price) AS low,
        max(CASE WHEN next_trade IS NULL THEN price END) AS close,
        CAST(sum(size) AS bigint) AS volume,
        -- Sums of decimals do not depend on the order of the rows.
        CAST(sum(CAST(price AS decimal(21, 12)) * CAST(size AS decimal(17, 0))) AS double) / CAST(sum(size) AS double) AS vwap,
        max(trade_count) AS trade_count,
        max(silver_batch) AS silver_batch
    FROM trades
    GROUP BY symbol, trade_date
) AS s
ON t.symbol = s.symbol AND t.trade_date = s.trade_date
WHEN MATCHED AND s.trade_count = 0 THEN DELETE
WHEN MATCHED THEN UPDATE SET
    open = s.open,
    high = s.high,
    low = s.low,
    close = s.close,
    volume = s.volume,
    vwap = s.vwap,
    trade_count = s.trade_count,
    silver_batch = s.silver_batch
WHEN NOT MATCHED THEN INSERT (symbol, trade_date, open, high, low, close, volume, vwap, trade_count, silver_batch)
    VALUES (s.symbol, s.trade_date, s.open, s.high, s.low, s.close, s.volume, s.vwap, s.trade_count, s.silver_batch);
