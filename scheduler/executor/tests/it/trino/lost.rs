//! A worker dies while its query runs on a real Trino: the attempt is dropped where it stands, and the next try begins.

use model::{EndKind, Operator, TryNumber};
use serde_json::json;

use super::{
    logged,
    real::{ENDLESS, id_in, runtime},
    sql, with_trino,
};
use crate::rig::Rig;

/// Runs until the query is under way, then drops everything as a dead process does. The query's id.
async fn lose(rig: &Rig, script: &str) -> String {
    let under_way = async {
        let id = id_in(&logged(rig, " on Trino: ").await);
        logged(rig, "RUNNING: ").await;
        id
    };
    tokio::select! {
        ran = rig.run(Operator::Sql(sql(script))) => panic!("it was to be lost: {}", ran.text()),
        id = under_way => id,
    }
}

/// A statement that takes some seconds and leaves one row.
fn some_seconds(table: &str) -> String {
    format!("CREATE TABLE {table} AS SELECT count(*) AS n FROM tpch.sf1.lineitem WHERE sqrt(linenumber + orderkey) > 0")
}

fn new_table() -> String {
    format!("memory.default.lost_{}", uuid::Uuid::new_v4().simple())
}

#[tokio::test]
async fn a_restarted_worker_goes_on_with_the_running_query() {
    let Some(mut rig) = with_trino() else { return };
    let table = new_table();
    let script = format!("SELECT 1; {}; INSERT INTO {table} SELECT 0", some_seconds(&table));
    let under_way = async {
        // The statement is the second one; its progress line is the first of all.
        logged(&rig, "RUNNING: ").await;
    };
    tokio::select! {
        ran = rig.run(Operator::Sql(sql(&script))) => panic!("it was to be lost: {}", ran.text()),
        () = under_way => {}
    }
    rig.try_number = TryNumber::FIRST.next();
    let ran = rig.run(Operator::Sql(sql(&script))).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    let said = ran.lines("sys").join("\n");
    assert!(said.contains("statement 2 of 3; going on with it") && !said.contains("Statement 1 of 3"), "{said}");
    let starts = format!("SELECT count(*) AS n FROM system.runtime.queries WHERE query LIKE 'CREATE TABLE {table} %'");
    assert_eq!(runtime(&rig, &starts).await, json!([{"n": 1}]), "started twice: {said}");
    let rows = format!("SELECT n FROM {table} ORDER BY n");
    assert_eq!(runtime(&rig, &rows).await, json!([{"n": 0}, {"n": 6_001_215}]));
    assert_eq!(std::fs::read_dir(rig.dir.path().join("state/trino")).unwrap().count(), 0, "the note is left");
}

#[tokio::test]
async fn a_worker_elsewhere_ends_the_running_query_before_it_starts_its_own() {
    let Some(mut rig) = with_trino() else { return };
    let lost = lose(&rig, ENDLESS).await;
    // Another machine does not have the note.
    std::fs::remove_dir_all(rig.dir.path().join("state")).unwrap();
    rig.try_number = TryNumber::FIRST.next();
    let ran = rig.run(Operator::Sql(sql("SELECT 1"))).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    assert!(
        ran.text().contains(&format!("Query {lost} of an earlier try still runs; ending it first")),
        "{}",
        ran.text()
    );
    let state = format!("SELECT state FROM system.runtime.queries WHERE query_id = '{lost}'");
    assert_eq!(runtime(&rig, &state).await, json!([{"state": "FAILED"}]));
}

#[tokio::test]
async fn other_statements_than_the_lost_trys_start_anew_and_its_query_is_ended() {
    let Some(mut rig) = with_trino() else { return };
    let lost = lose(&rig, ENDLESS).await;
    rig.try_number = TryNumber::FIRST.next();
    let ran = rig.run(Operator::Sql(sql("SELECT 2"))).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    assert!(ran.text().contains("its statements were others than now"), "{}", ran.text());
    let state = format!("SELECT state FROM system.runtime.queries WHERE query_id = '{lost}'");
    assert_eq!(runtime(&rig, &state).await, json!([{"state": "FAILED"}]));
}
