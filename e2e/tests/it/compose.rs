//! `docker compose up` as the README says it, then the main pipeline from the browser, and its gold read through Trino.
//!
//! Runs where `WINDLASS_E2E_COMPOSE` is set: it takes the project's containers and volumes away first, and when it is done.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use windlass_e2e::{Browser, project, trino};

/// Where compose.yaml publishes the UI and Trino.
const UI: &str = "http://127.0.0.1:8083";
const TRINO: &str = "127.0.0.1:8080";
/// What the issue promises of the core services, in MiB.
const MEMORY_MAX_MIB: f64 = 6.0 * 1024.0;
/// A first start on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(300);
const GOLD: &str = "SELECT symbol, CAST(trade_date AS varchar), open, high, low, close, volume, trade_count \
                    FROM lake.gold.stock_daily ORDER BY symbol, trade_date";

fn compose(arguments: &[&str]) -> String {
    let mut command = Command::new("docker");
    command.arg("compose").args(arguments).current_dir(project());
    command.env("STOCK_SOURCE", "replay:/opt/windlass/dags/data/stocks/trades.csv.gz").env("STOCK_REPLAY_SPEED", "0");
    let output = command.output().expect("docker is there");
    assert!(output.status.success(), "docker compose {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The stack of compose.yaml; it is gone with its volumes when this is dropped.
struct Stack;

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", compose(&["ps", "--all"]));
            println!("{}", compose(&["logs", "--tail", "30"]));
        }
        compose(&["down", "--volumes"]);
    }
}

/// The memory of every container of the stack together, in MiB.
fn memory_mib() -> f64 {
    let containers = compose(&["ps", "--quiet"]);
    let mut stats = Command::new("docker");
    stats.args(["stats", "--no-stream", "--format", "{{.MemUsage}}"]).args(containers.split_whitespace());
    let output = String::from_utf8(stats.output().expect("docker is there").stdout).unwrap();
    output.lines().map(used_mib).sum()
}

/// `312.4MiB / 1GiB` in MiB.
fn used_mib(usage: &str) -> f64 {
    let used = usage.split(" / ").next().unwrap();
    let digits = used.trim_end_matches(char::is_alphabetic);
    let unit = match &used[digits.len()..] {
        "GiB" => 1024.0,
        "MiB" => 1.0,
        "KiB" | "kB" | "B" => 0.0,
        other => panic!("{other:?} is no unit of {usage:?}"),
    };
    digits.parse::<f64>().unwrap() * unit
}

/// A value as the expected file writes it.
fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

async fn gold() -> anyhow::Result<String> {
    let mut text = String::from("symbol,trade_date,open,high,low,close,volume,trade_count\n");
    for row in trino::rows(TRINO, "test", GOLD).await? {
        let cells: Vec<String> = row.as_array().unwrap().iter().map(cell).collect();
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    Ok(text)
}

/// Logs in, switches the DAG on, presses Play, and watches the run to its end.
async fn run_in_the_browser() {
    let browser = Browser::start().await.unwrap();
    browser.open(&format!("{UI}/dags")).await.unwrap();
    browser.write("[name=username]", "airflow").await.unwrap();
    browser.write("[name=password]", "airflow").await.unwrap();
    browser.click("form button").await.unwrap();
    browser.until_text("stock_data_pipeline", PATIENCE).await.unwrap();
    browser.click("form[action='/dags/stock_data_pipeline/pause'] button").await.unwrap();
    browser.until_text("every day at 00:00", PATIENCE).await.unwrap();
    browser.click("[aria-label='Trigger stock_data_pipeline']").await.unwrap();
    browser.open(&format!("{UI}/dags/stock_data_pipeline")).await.unwrap();
    browser.click("a[href*='/runs/manual__']").await.unwrap();
    browser.until_text("10 done", PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stack_comes_up_by_one_command_and_makes_exact_gold() {
    if std::env::var("WINDLASS_E2E_COMPOSE").is_err() {
        println!("skipped: WINDLASS_E2E_COMPOSE is not set");
        return;
    }
    compose(&["down", "--volumes", "--remove-orphans"]);
    let began = Instant::now();
    let _stack = Stack;
    compose(&["up", "--detach", "--no-build", "windlass"]);
    let health = format!("{UI}/api/v2/monitor/health");
    windlass_e2e::within("the UI", PATIENCE, async || {
        reqwest::get(&health).await.ok().filter(|answer| answer.status().is_success())
    })
    .await;
    println!("the UI is up after {:?}", began.elapsed());
    compose(&["up", "--detach", "--no-build", "--wait"]);
    println!("everything is healthy after {:?}", began.elapsed());
    run_in_the_browser().await;
    println!("gold is there after {:?}", began.elapsed());
    let expected = std::fs::read_to_string(project().join("dags/data/stocks/expected_daily.csv")).unwrap();
    assert_eq!(gold().await.unwrap(), expected);
    let memory = memory_mib();
    println!("the containers have {memory:.0} MiB");
    assert!(memory < MEMORY_MAX_MIB, "{memory} MiB");

    // What is down comes up again with what it had.
    compose(&["down"]);
    compose(&["up", "--detach", "--no-build", "--wait", "trino"]);
    // Trino answers a moment before it has found itself as its only node.
    let kept = windlass_e2e::within("gold after the restart", PATIENCE, async || gold().await.ok()).await;
    assert_eq!(kept, expected);
}
