//! The stock pipeline's models, from bronze to gold.

use std::io::Read as _;

use windlass_tasks::lake::{files, table_name};

use super::{Arrival, TestSql, Topic, Trade, shipped};

const MODELS: [&str; 4] = ["bronze", "silver", "gold_daily", "gold_metrics"];
const DAILY: &str = "SELECT symbol, trade_date, open, high, low, close, volume, trade_count FROM gold.stock_daily ORDER BY symbol, trade_date";
const PARTITIONS: i32 = 3;

/// Whether a run starts from all of bronze.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Refresh {
    New,
    Full,
}

/// Runs all models; answers the rows that each changing statement changed.
pub(super) async fn run_models(sql: &TestSql, refresh: Refresh) -> Vec<u64> {
    let mut changed = Vec::new();
    for model in MODELS {
        let text = std::fs::read_to_string(shipped(&format!("sql/stock/{model}.sql"))).unwrap();
        let text = text.replace("{{ params.topic }}", "stock_trades");
        let text = text.replace("{{ params.full_refresh }}", if refresh == Refresh::Full { "true" } else { "false" });
        changed.extend(sql.run(&text).await.unwrap_or_else(|error| panic!("{model}.sql: {error}")));
    }
    changed
}

/// The trades that the repository ships, in the order of the file.
fn shipped_trades() -> Vec<Trade> {
    let mut text = String::new();
    let file = std::fs::File::open(shipped("data/stocks/trades.csv.gz")).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let trade = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let [ts, symbol, price, size, trade_id] = fields[..] else { panic!("not a trade: {line}") };
        Trade {
            symbol: symbol.to_owned(),
            price: price.parse().unwrap(),
            size: size.parse().unwrap(),
            ts: ts.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp_micros(),
            trade_id: trade_id.to_owned(),
        }
    };
    text.lines().skip(1).map(trade).collect()
}

async fn arrive(topic: &mut Topic, trades: &[Trade]) {
    for partition in 0..PARTITIONS {
        let of_partition = |trade: &&Trade| i32::from(trade.symbol.as_bytes()[0]) % PARTITIONS == partition;
        let arrivals = trades.iter().filter(of_partition).cloned().map(Arrival::Trade).collect();
        topic.arrive(partition, arrivals).await;
    }
}

fn expected_daily() -> Vec<String> {
    let text = std::fs::read_to_string(shipped("data/stocks/expected_daily.csv")).unwrap();
    text.lines().skip(1).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_shipped_trades_give_exactly_the_expected_days_in_two_runs_as_in_one() {
    let sql = TestSql::new().await;
    let mut topic = Topic::open(&sql.lake).await;
    let trades = shipped_trades();
    let (before, after) = trades.split_at(trades.len() / 2 + 1);
    arrive(&mut topic, before).await;
    run_models(&sql, Refresh::New).await;
    arrive(&mut topic, after).await;
    arrive(&mut topic, &before[..100]).await;
    run_models(&sql, Refresh::New).await;
    assert_eq!(sql.rows(DAILY).await, expected_daily());
    assert_eq!(
        sql.rows("SELECT sum(rejected) FROM silver.stock_rejects WHERE reason = 'trade_id is repeated'").await,
        ["100"]
    );
    assert_eq!(run_models(&sql, Refresh::New).await, [0; 5], "nothing new changes nothing");
    assert_eq!(run_models(&sql, Refresh::Full).await, [0; 5], "neither does computing everything anew");
}

#[tokio::test]
async fn metrics_follow_from_the_closes_whatever_the_runs_were() {
    let sql = TestSql::new().await;
    let mut topic = Topic::open(&sql.lake).await;
    let day = |n: i64| Trade::new(&format!("T{n}"), n * 86_400, 100.0 + (n * n % 17) as f64);
    topic.arrive(0, (0..30).map(day).map(Arrival::Trade).collect()).await;
    run_models(&sql, Refresh::New).await;
    // An old day gets a later close, and new days follow.
    let late = Trade::new("late", 12 * 86_400 + 60, 250.0);
    topic.arrive(0, std::iter::once(late).chain((30..35).map(day)).map(Arrival::Trade).collect()).await;
    assert_eq!(run_models(&sql, Refresh::New).await, [1, 6, 0, 6, 21], "days that no window reaches stay as they are");

    let mut closes: Vec<f64> = (0..35).map(|n| day(n).price).collect();
    closes[12] = 250.0;
    let found = sql.rows("SELECT daily_return, volatility_20d, moving_average_5d, moving_average_20d FROM gold.stock_metrics ORDER BY trade_date").await;
    for (at, line) in found.iter().enumerate() {
        let wanted = metrics(&closes[..=at]);
        for (found, wanted) in line.split(',').zip(wanted) {
            match wanted {
                Some(wanted) => assert!(
                    (found.parse::<f64>().unwrap() - wanted).abs() <= 1e-9 * wanted.abs(),
                    "day {at}: {found} {wanted}"
                ),
                None => assert_eq!(found, "", "day {at}"),
            }
        }
    }
    assert_eq!(run_models(&sql, Refresh::Full).await, [0; 5]);
}

/// The metrics of the last of these closes, computed the plain way.
fn metrics(closes: &[f64]) -> [Option<f64>; 4] {
    let returns: Vec<f64> = closes.windows(2).map(|pair| pair[1] / pair[0] - 1.0).collect();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let last = |values: &[f64], count: usize| (values.len() >= count).then(|| values[values.len() - count..].to_vec());
    let deviation = |values: Vec<f64>| {
        let mean = mean(&values);
        (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
    };
    [
        returns.last().copied(),
        last(&returns, 20).map(deviation),
        last(closes, 5).map(|closes| mean(&closes)),
        last(closes, 20).map(|closes| mean(&closes)),
    ]
}

#[tokio::test]
async fn bad_records_are_counted_by_reason_and_gaps_are_found() {
    let sql = TestSql::new().await;
    let mut topic = Topic::open(&sql.lake).await;
    let good = |id: &str| Arrival::Trade(Trade::new(id, 1, 5.0));
    let bad = [f64::NAN, f64::INFINITY, 0.0, -1.0].map(|price| Arrival::Trade(Trade::new("bad", 2, price)));
    let mut arrivals = vec![good("a"), Arrival::DeadLetter, Arrival::Nothing, good("b"), good("a")];
    arrivals.extend(bad);
    arrivals.push(Arrival::Trade(Trade::new("c", 3, 5.0).sized(0)));
    topic.arrive(1, arrivals).await;
    run_models(&sql, Refresh::New).await;
    let ledger = sql
        .rows(
            "SELECT kafka_partition, day, first_offset, last_offset, rows, dead_letters, gaps FROM bronze.stock_ingest",
        )
        .await;
    assert_eq!(ledger, ["1,2026-03-02,0,9,8,1,1"]);
    let rejects = sql.rows("SELECT reason, rejected FROM silver.stock_rejects ORDER BY reason").await;
    assert_eq!(
        rejects,
        ["price is not a number above 0,4", "size is not a number above 0,1", "trade_id is repeated,1"]
    );
    assert_eq!(sql.rows("SELECT trade_id FROM silver.stock_trades ORDER BY trade_id").await, ["a", "b"]);

    topic.arrive(1, vec![good("b"), Arrival::Nothing, Arrival::DeadLetter]).await;
    run_models(&sql, Refresh::New).await;
    let ledger = sql.rows("SELECT last_offset, rows, dead_letters, gaps FROM bronze.stock_ingest").await;
    assert_eq!(ledger, ["12,9,2,2"]);
    assert_eq!(
        sql.rows("SELECT rejected FROM silver.stock_rejects WHERE reason = 'trade_id is repeated'").await,
        ["2"]
    );
}

#[tokio::test]
async fn the_first_record_by_partition_and_offset_counts_in_whatever_order_they_arrive() {
    let sql = TestSql::new().await;
    let mut topic = Topic::open(&sql.lake).await;
    topic.arrive(2, vec![Arrival::Trade(Trade::new("x", 86_400, 7.0)), Arrival::Trade(Trade::new("y", 1, 9.0))]).await;
    run_models(&sql, Refresh::New).await;
    topic.arrive(0, vec![Arrival::Trade(Trade::new("x", 2, 8.0))]).await;
    run_models(&sql, Refresh::New).await;
    let daily = "SELECT trade_date, open, close, trade_count FROM gold.stock_daily ORDER BY trade_date";
    assert_eq!(sql.rows(daily).await, ["2026-03-02,9.0,8.0,2"], "the day that lost its only trade is gone");
    assert_eq!(sql.rows("SELECT trade_date, close FROM gold.stock_metrics").await, ["2026-03-02,8.0"]);
    assert_eq!(sql.rows("SELECT kafka_partition, rejected FROM silver.stock_rejects").await, ["2,1"]);
    assert_eq!(run_models(&sql, Refresh::Full).await, [0; 5]);
}

#[tokio::test]
async fn models_that_found_nothing_new_read_nothing_until_something_arrives() {
    let sql = TestSql::new().await;
    let mut topic = Topic::open(&sql.lake).await;
    let trade = |n: i64| Arrival::Trade(Trade::new(&format!("T{n}"), n * 50_000, 10.0 + n as f64));
    topic.arrive(0, (0..60).map(trade).collect()).await;
    run_models(&sql, Refresh::New).await;
    let nothing = run_models(&sql, Refresh::New).await;
    assert!(nothing.iter().all(|rows| *rows == 0), "{nothing:?}");
    // Bronze cannot even be read now, and nobody notices.
    let bronze = table_name("bronze.stock_trades").unwrap();
    let files = files::files(&sql.lake, &bronze).await.unwrap();
    let hidden = |path: &str| path.trim_start_matches("file://").to_owned();
    for file in &files {
        std::fs::rename(hidden(&file.path), hidden(&file.path) + ".hidden").unwrap();
    }
    assert_eq!(run_models(&sql, Refresh::New).await, nothing);
    for file in &files {
        std::fs::rename(hidden(&file.path) + ".hidden", hidden(&file.path)).unwrap();
    }
    topic.arrive(0, vec![trade(61)]).await;
    assert!(run_models(&sql, Refresh::New).await.iter().any(|rows| *rows > 0));
    assert_eq!(sql.rows("SELECT count(*) FROM silver.stock_trades").await, ["61"]);
}
