//! The same DAG on Trino and on the embedded engine, over tables on an object store that both write and read.
//!
//! Runs where there is a [`Stack`] with a Trino.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use windlass_e2e::{Standalone, StandaloneBuilder, processes, program, project};

use crate::{
    stack::Stack,
    trades::{GOLD, run_dag},
};

/// Makes `conn_id: lake` Trino; without it, it is the embedded engine.
const CONNECTION: &str = "AIRFLOW_CONN_LAKE";

/// How long something may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How the first model's statement begins.
const LEDGER: &str = "MERGE INTO lake.bronze.stock_ingest";

/// What the models make, each with the order of its rows. Bronze itself is written by the stream.
const MADE: &[(&str, &str)] = &[
    ("bronze.stock_ingest", "topic, kafka_partition, day"),
    ("silver.stock_trades", "trade_id"),
    ("silver.stock_rejects", "kafka_partition, reason"),
    ("gold.stock_daily", "symbol, trade_date"),
    ("gold.stock_metrics", "symbol, trade_date"),
];
/// Columns that are compared at a relative difference of [`NEAR`]: their last digit depends on the order of additions.
const NEAR_COLUMNS: &[&str] = &["vwap", "volatility_20d"];
const NEAR: f64 = 1e-9;

/// Everything that the models made, as the embedded engine reads it.
fn made(standalone: &Standalone) -> BTreeMap<&'static str, String> {
    let rows = |(table, order): &(&'static str, &str)| {
        (*table, standalone.query(&format!("SELECT * FROM {table} ORDER BY {order}")))
    };
    MADE.iter().map(rows).collect()
}

fn assert_same(left: &BTreeMap<&str, String>, right: &BTreeMap<&str, String>) {
    for (table, text) in left {
        let (left, right) = (records(text), records(&right[table]));
        assert_eq!(left.len(), right.len(), "rows of {table}");
        let header = &left[0];
        for (row, (one, other)) in left.iter().zip(&right).enumerate() {
            for (column, (one, other)) in one.iter().zip(other).enumerate() {
                let near = NEAR_COLUMNS.contains(&header[column].as_str());
                assert!(
                    one == other || near && is_near(one, other),
                    "{table} row {row} {}: {one} {other}",
                    header[column]
                );
            }
        }
    }
}

fn records(text: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}

fn is_near(one: &str, other: &str) -> bool {
    match (one.parse::<f64>(), other.parse::<f64>()) {
        (Ok(one), Ok(other)) => (one - other).abs() <= NEAR * one.abs().max(other.abs()),
        (Ok(_) | Err(_), _) => false,
    }
}

fn restart_on(standalone: &mut Standalone, connection: &str) {
    standalone.stop();
    standalone.settings().set(CONNECTION, connection);
    standalone.start_again();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_models_give_equal_rows_on_trino_and_on_the_embedded_engine() {
    let Some(stack) = Stack::of_environment().await else { return };
    stack.empty();
    let before = stack.started(LEDGER).await;
    let expected = std::fs::read_to_string(project().join("dags/data/stocks/expected_daily.csv")).unwrap();
    let mut standalone = stack.builder().start();
    run_dag(&standalone);
    assert_eq!(standalone.query(GOLD), expected);
    let embedded = made(&standalone);

    // Trino reads what the embedded engine and the stream wrote.
    for table in embedded.keys().chain(&["bronze.stock_trades"]) {
        let count = format!("SELECT count(*) FROM lake.{table}");
        assert_eq!(stack.trino(&count).await[0][0].to_string(), standalone.value(&count), "{table}");
    }

    // The same bronze again, now on Trino.
    for (table, _) in MADE {
        stack.trino(&format!("DROP TABLE lake.{table}")).await;
    }
    restart_on(&mut standalone, &stack.trino);
    run_dag(&standalone);
    assert_eq!(standalone.query(GOLD), expected);
    assert_eq!(stack.started(LEDGER).await, before + 1, "it did not run on Trino");
    assert_same(&embedded, &made(&standalone));

    // With nothing new, neither changes anything, nor does making everything anew.
    let on_trino = made(&standalone);
    run_dag(&standalone);
    assert_eq!(made(&standalone), on_trino);
    let full = ["dags", "trigger", "stock_data_pipeline", "--conf", r#"{"full_refresh": true}"#, "--wait"];
    let _said = standalone.windlass(&full);
    assert_eq!(made(&standalone), on_trino);
    rows_gone_and_back(&stack, &mut standalone, &on_trino).await;
    standalone.stop();
}

/// Trino deletes by position; the embedded engine sees it, makes the rows again, and Trino reads them.
async fn rows_gone_and_back(stack: &Stack, standalone: &mut Standalone, before: &BTreeMap<&str, String>) {
    let days = "SELECT count(*), sum(volume) FROM lake.gold.stock_daily";
    let all = stack.trino(days).await;
    stack.trino("DELETE FROM lake.gold.stock_daily WHERE symbol = 'AAPL' AND day_of_month(trade_date) < 15").await;
    stack.trino("UPDATE lake.gold.stock_daily SET trade_count = trade_count + 1 WHERE symbol = 'MSFT'").await;
    assert_ne!(stack.trino(days).await, all);
    // The embedded engine by its name, as if the connection were not set.
    restart_on(standalone, "lake://");
    run_dag(standalone);
    assert_same(before, &made(standalone));
    assert_eq!(stack.trino(days).await, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_is_followed_by_one_that_goes_on_with_its_query() {
    let Some(stack) = Stack::of_environment().await else { return };
    let dags = tempfile::tempdir().unwrap();
    let table = format!("memory.default.killed_{}", std::process::id());
    let dag = format!(
        "dag_id: long_query\nschedule: null\nstart_date: 2026-01-01\ntasks:\n  - task_id: build\n    operator: sql\n    \
         conn_id: trino\n    sql: CREATE TABLE {table} AS SELECT count(*) AS n FROM tpch.sf1.lineitem WHERE sqrt(orderkey) > 0\n"
    );
    std::fs::write(dags.path().join("long_query.yaml"), dag).unwrap();
    let mut standalone = StandaloneBuilder::new()
        .env("WINDLASS_DAGS_FOLDER", dags.path().to_string_lossy())
        .env("AIRFLOW_CONN_TRINO", &stack.trino)
        .start();
    let _said = standalone.windlass(&["dags", "unpause", "long_query"]);
    let mut trigger = standalone.settings().command(&program("windlass"));
    let mut run = trigger.args(["dags", "trigger", "long_query", "--wait"]).spawn().unwrap();
    let beginning = format!("CREATE TABLE {table} ");
    let running =
        format!("SELECT count(*) FROM system.runtime.queries WHERE query LIKE '{beginning}%' AND state = 'RUNNING'");
    let began = Instant::now();
    while stack.trino(&running).await[0][0] == 0 {
        assert!(began.elapsed() < PATIENCE, "{}", standalone.log_tail());
    }
    for worker in standalone.processes_of("windlass worker") {
        processes::kill_now(&worker);
    }
    assert!(run.wait().unwrap().success(), "{}", standalone.log_tail());
    assert_eq!(stack.started(&beginning).await, 1, "the statement was started twice");
    assert_eq!(stack.trino(&format!("SELECT n FROM {table}")).await[0][0], 6_001_215);
    stack.trino(&format!("DROP TABLE {table}")).await;
    standalone.stop();
}
