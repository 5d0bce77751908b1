//! The main pipeline, from one command to gold.

use std::time::Duration;

use windlass_e2e::{Standalone, StandaloneBuilder, copy_dags, eventually, project};

use crate::trades::{GOLD, message, produce, run_dag};

fn replay() -> StandaloneBuilder {
    let file = project().join("dags/data/stocks/trades.csv.gz");
    StandaloneBuilder::new().env("STOCK_SOURCE", format!("replay:{}", file.display())).env("STOCK_REPLAY_SPEED", "0")
}

fn expected() -> String {
    std::fs::read_to_string(project().join("dags/data/stocks/expected_daily.csv")).unwrap()
}

/// The one place that shows whether anything was written: each table with its snapshot.
fn snapshots(standalone: &Standalone) -> String {
    standalone.windlass(&["lake", "tables", "--format", "csv"])
}

async fn latest_schema(registry: &str) -> (u32, serde_json::Value) {
    let url = format!("{registry}/subjects/stock_trades-value/versions/latest");
    let latest: serde_json::Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    let schema = serde_json::from_str(latest["schema"].as_str().unwrap()).unwrap();
    (u32::try_from(latest["id"].as_u64().unwrap()).unwrap(), schema)
}

async fn register(registry: &str, subject: &str, schema: &serde_json::Value) -> u32 {
    let answer = reqwest::Client::new()
        .post(format!("{registry}/subjects/{subject}/versions"))
        .json(&serde_json::json!({ "schema": schema.to_string() }))
        .send()
        .await
        .unwrap();
    let answer: serde_json::Value = answer.json().await.unwrap();
    u32::try_from(answer["id"].as_u64().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_replay_gives_exactly_the_expected_gold_whatever_else_is_in_the_topic() {
    let mut standalone = replay().start();
    let said = run_dag(&standalone);
    let layers = ["submit_stream_job", "bronze", "bronze_checks", "silver", "silver_checks", "gold", "gold_checks"];
    for task in layers.into_iter().chain(["count_rows", "publish_quality_report", "all_layers_are_good"]) {
        assert!(said.contains(task), "no progress line for {task}:\n{said}");
    }
    assert_eq!(standalone.query(GOLD), expected());

    // A second trigger starts no second stream, and with nothing new changes nothing.
    let sinks = standalone.processes_of("bronze-sink");
    assert_eq!(sinks.len(), 1, "{sinks:?}");
    let before = snapshots(&standalone);
    run_dag(&standalone);
    assert_eq!(standalone.processes_of("bronze-sink")[0].pid, sinks[0].pid);
    assert!(standalone.processes_of("stock-producer").is_empty(), "the same file is not replayed again");
    assert_eq!(snapshots(&standalone), before);

    inject_bad_messages(&mut standalone).await;
    run_dag(&standalone);
    assert_eq!(standalone.query(GOLD), expected());

    // A new trade arrives in gold.
    let (schema, _) = latest_schema(&standalone.registry_url()).await;
    produce(&mut standalone, "TSLA", &message(schema, "TSLA", 250.5, 10, 1_700_000_000_000_000, "TSLA-1"));
    eventually("the new trade is in bronze", Duration::from_secs(60), || {
        (standalone.value("SELECT count(*) FROM bronze.stock_trades WHERE symbol = 'TSLA'") == "1").then_some(())
    });
    run_dag(&standalone);
    assert_eq!(
        standalone.query("SELECT trade_date, open, volume FROM gold.stock_daily WHERE symbol = 'TSLA'"),
        "trade_date,open,volume\n2023-11-14,250.5,10\n"
    );
    standalone.stop();
    assert!(standalone.processes().is_empty(), "left over: {:?}", standalone.processes());
}

async fn inject_bad_messages(standalone: &mut Standalone) {
    let registry = standalone.registry_url();
    let (schema, definition) = latest_schema(&registry).await;
    let mut poorer = definition;
    poorer["fields"].as_array_mut().unwrap().retain(|field| field["name"] != "price");
    let missing_field = register(&registry, "poorer-value", &poorer).await;
    let day = 951_921_000_000_000;
    let bad: [(&str, Vec<u8>); 6] = [
        ("not Avro", b"hello, this is no Avro".to_vec()),
        ("unknown schema", message(0x00ff_ffff, "AAPL", 1.0, 1, day, "bad-1")),
        ("missing field", message(missing_field, "AAPL", 1.0, 1, day, "bad-2")),
        ("NaN", message(schema, "AAPL", f64::NAN, 1, day, "bad-3")),
        ("negative price", message(schema, "AAPL", -1.0, 1, day, "bad-4")),
        ("cut short", message(schema, "AAPL", 1.0, 1, day, "bad-5")[..12].to_vec()),
    ];
    let letters: usize = standalone.value("SELECT count(*) FROM bronze.stock_trades_dlq").parse().unwrap();
    for (_, value) in &bad {
        produce(standalone, "AAPL", value);
    }
    // A duplicate of a trade that is there, word for word.
    produce(standalone, "AAPL", &message(schema, "AAPL", 118.56, 2_404_025, day, "AAPL-20000301-0"));
    eventually("the dead letters are stored", Duration::from_secs(60), || {
        let now: usize = standalone.value("SELECT count(*) FROM bronze.stock_trades_dlq").parse().unwrap();
        (now == letters + bad.len()).then_some(())
    });
    let reasons = standalone.query("SELECT error FROM bronze.stock_trades_dlq");
    assert!(reasons.lines().skip(1).all(|reason| !reason.trim_matches('"').is_empty()), "{reasons}");
}

#[test]
fn the_default_run_needs_no_setting_and_brings_new_trades_each_time() {
    let mut standalone = StandaloneBuilder::new().env("STOCK_SINK_MAX_SECONDS", "1").start();
    run_dag(&standalone);
    let first: u64 = standalone.value("SELECT sum(trade_count) FROM gold.stock_daily").parse().unwrap();
    assert!(first > 0);
    eventually("more trades reach bronze", Duration::from_secs(60), || {
        let now: u64 = standalone.value("SELECT count(*) FROM bronze.stock_trades").parse().unwrap();
        (now > first + 50).then_some(())
    });
    run_dag(&standalone);
    let second: u64 = standalone.value("SELECT sum(trade_count) FROM gold.stock_daily").parse().unwrap();
    assert!(second > first, "{second} after {first}");
    standalone.stop();
    // Nothing runs, and the lake can still be asked.
    assert_eq!(standalone.value("SELECT sum(trade_count) FROM lake.gold.stock_daily"), second.to_string());
    assert!(standalone.processes().is_empty(), "left over: {:?}", standalone.processes());
}

#[test]
fn a_layer_that_fails_fails_the_run_and_the_report_says_what_has_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let dags = copy_dags(folder.path());
    let dag = dags.join("stock_data_pipeline.yaml");
    let text = std::fs::read_to_string(&dag).unwrap();
    assert!(text.contains("retries: 2"));
    std::fs::write(&dag, text.replace("retries: 2", "retries: 0")).unwrap();
    std::fs::write(dags.join("sql/stock/bronze.sql"), "SELECT no_such_column FROM lake.bronze.stock_trades").unwrap();
    let mut standalone = replay().env("WINDLASS_DAGS_FOLDER", dags.display().to_string()).start();
    let _said = standalone.windlass(&["dags", "unpause", "stock_data_pipeline"]);
    let ended = standalone.try_windlass(&["dags", "trigger", "stock_data_pipeline", "--wait", "--run-id", "bad"]);
    assert!(!ended.status.success(), "{ended:?}");
    let log = standalone.windlass(&["tasks", "logs", "stock_data_pipeline", "bad", "publish_quality_report"]);
    for line in ["FAILED  bronze_checks: the task left no result", "Rows could not be counted", "3 of 3 checks failed"]
    {
        assert!(log.contains(line), "no line {line:?}:\n{log}");
    }
    standalone.stop();
}
