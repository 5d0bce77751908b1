//! Scripts as the scheduler runs them, and the checks that ship.

use serde_json::{Value, json};
use windlass_tasks::sql::job::{self, Request, Verdict};

use super::models::{Refresh, run_models};
use super::{Arrival, TestSql, Topic, Trade, shipped};

async fn job(sql: &TestSql, request: Value) -> (Verdict, Vec<Value>) {
    let request: Request = serde_json::from_value(request).unwrap();
    let mut out = Vec::new();
    let verdict = job::run(&sql.engine, &request, &mut out).await.unwrap();
    let events = String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (verdict, events)
}

/// Runs the shipped checks of a layer; answers the names of those that found something.
async fn check(sql: &TestSql, layer: &str) -> Vec<String> {
    let text = std::fs::read_to_string(shipped(&format!("sql/stock/checks/{layer}.sql"))).unwrap();
    let (verdict, events) = job(sql, json!({"mode": "check", "scripts": [{"name": layer, "sql": text}]})).await;
    let found: Vec<String> = events
        .iter()
        .filter(|event| event["event"] == "rows")
        .map(|event| {
            assert_eq!(event["columns"], json!(["check_name", "detail"]));
            event["rows"][0][0].as_str().unwrap().to_owned()
        })
        .collect();
    let errors: Vec<_> = events.iter().filter(|event| event["event"] == "error").collect();
    assert_eq!(verdict == Verdict::Failed, !found.is_empty(), "{errors:?}");
    if let Some(first) = found.first() {
        let message = errors[0]["message"].as_str().unwrap();
        assert!(message.contains(&format!("none may come back: check_name={first}, detail=")), "{message}");
    }
    found
}

#[tokio::test]
async fn the_shipped_checks_pass_on_good_data_and_name_what_is_wrong() {
    let sql = TestSql::new().await;
    let mut topic = Topic::open(&sql.lake).await;
    let trade = |n: i64| Arrival::Trade(Trade::new(&format!("T{n}"), n * 50_000, 10.0 + n as f64));
    topic.arrive(0, (0..60).map(trade).chain([Arrival::DeadLetter, trade(3)]).collect()).await;
    run_models(&sql, Refresh::New).await;
    for layer in ["bronze", "silver", "gold"] {
        assert_eq!(check(&sql, layer).await, Vec::<String>::new());
    }

    topic.arrive(0, vec![Arrival::Nothing, trade(61), trade(62)]).await;
    let text = std::fs::read_to_string(shipped("sql/stock/bronze.sql")).unwrap();
    let text = text.replace("{{ params.topic }}", "stock_trades");
    sql.run(&text.replace("{{ params.full_refresh }}", "false")).await.unwrap();
    assert_eq!(check(&sql, "bronze").await, ["bronze.no_gaps"]);
    assert_eq!(check(&sql, "silver").await, ["silver.reconciles_with_bronze"]);
    sql.run("INSERT INTO silver.stock_trades SELECT trade_id, symbol, ts, -price, size, source, kafka_partition, kafka_offset, ingested_at, batch + 1 FROM silver.stock_trades WHERE trade_id = 'T7'").await.unwrap();
    assert_eq!(
        check(&sql, "silver").await,
        ["silver.unique_trade_id", "silver.accepted_range", "silver.reconciles_with_bronze"]
    );
    sql.run("INSERT INTO gold.stock_daily SELECT symbol, trade_date, open, low, high, close, volume, vwap, trade_count, silver_batch FROM gold.stock_daily LIMIT 1").await.unwrap();
    let found = check(&sql, "gold").await;
    assert_eq!(found, ["gold.unique_day", "gold.accepted_range", "gold.reconciles_with_silver"]);
}

#[tokio::test]
async fn a_job_tells_each_statement_its_rows_and_where_it_failed() {
    let sql = TestSql::new().await;
    let script = "CREATE SCHEMA IF NOT EXISTS lake.work;\nCREATE TABLE IF NOT EXISTS work.t (id BIGINT);\nINSERT INTO work.t SELECT 1 UNION ALL SELECT 2;\nSELECT id FROM work.t ORDER BY id;\nSELECT wrong\nFROM work.t";
    let (verdict, events) =
        job(&sql, json!({"mode": "execute", "output": "rows", "scripts": [{"name": "a.sql", "sql": script}]})).await;
    assert_eq!(verdict, Verdict::Failed);
    assert_eq!(
        events[0],
        json!({"event": "statement", "script": "a.sql", "index": 1, "of": 5, "sql": "CREATE SCHEMA IF NOT EXISTS lake.work"})
    );
    assert_eq!((&events[5]["event"], &events[5]["rows"]), (&json!("done"), &json!(2)));
    assert_eq!(events[7], json!({"event": "rows", "columns": ["id"], "rows": [[1], [2]]}));
    let error = events.last().unwrap();
    assert_eq!((&error["script"], &error["line"], &error["column"]), (&json!("a.sql"), &json!(5), &json!(8)));
}

#[tokio::test]
async fn nothing_runs_when_a_later_script_is_wrong_or_a_check_would_change_something() {
    let sql = TestSql::new().await;
    let scripts = json!([{"name": "a.sql", "sql": "CREATE SCHEMA IF NOT EXISTS lake.work; CREATE TABLE IF NOT EXISTS work.t (id BIGINT)"}, {"name": "b.sql", "sql": "SELEKT 1"}]);
    let (verdict, events) = job(&sql, json!({"mode": "execute", "scripts": scripts})).await;
    assert_eq!((verdict, events.len(), &events[0]["script"]), (Verdict::Failed, 1, &json!("b.sql")));
    let scripts = json!([{"name": "c.sql", "sql": "SELECT 1;\nINSERT INTO work.t SELECT 1"}]);
    let (verdict, events) = job(&sql, json!({"mode": "check", "scripts": scripts})).await;
    assert_eq!((verdict, &events[0]["line"]), (Verdict::Failed, &json!(2)));
    assert!(sql.lake.table_names().await.unwrap().is_empty());
}
