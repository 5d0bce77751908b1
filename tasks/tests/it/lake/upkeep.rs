//! Housekeeping beside writers and readers: nothing is lost or doubled, and what may still be read stays.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use futures::TryStreamExt;
use windlass_tasks::lake::{
    bronze::{BronzeTables, Marks, SinkBatch, TRADES},
    expire::{Retention, expire},
    read::{Scan, scan},
    sweep::{Pass, sweep},
    table_name,
    upkeep::{self, Place, Task},
};

use super::{TestLake, bronze::delta_positions, positions, trades};

const NO_TIME: Duration = Duration::ZERO;
const HOUR: Duration = Duration::from_secs(3_600);

fn one(offset: i64) -> SinkBatch {
    SinkBatch {
        next_offsets: Marks::from([(0, offset + 1)]),
        trades: vec![trades(0, offset..offset + 1)],
        dead_letters: Vec::new(),
    }
}

/// Everything that the DAG does, without any patience for readers.
fn tasks() -> [Task; 4] {
    [Task::Compact, Task::Expire(Retention { keep: 2, age: NO_TIME }), Task::Sweep(HOUR), Task::Vacuum(HOUR)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maintenance_beside_a_running_sink_loses_and_doubles_nothing() {
    const RECORDS: i64 = 60;
    let lake = TestLake::new().await;
    let busy = lake.elsewhere().await;
    let sink = tokio::spawn(async move {
        let mut tables = BronzeTables::open(&busy).await.unwrap();
        for offset in 0..RECORDS {
            tables.commit(&one(offset)).await.unwrap();
        }
    });
    let mut expired = 0;
    while !sink.is_finished() {
        for task in tasks() {
            for done in upkeep::run(&lake.lake, task, None, Pass::Real).await.unwrap() {
                assert_eq!(done.error, None, "{done:?}");
                expired += done.snapshots_expired;
            }
        }
    }
    sink.await.unwrap();
    for task in tasks() {
        upkeep::run(&lake.lake, task, None, Pass::Real).await.unwrap();
    }
    assert!(expired > 0);
    let expected: Vec<(i32, i64)> = (0..RECORDS).map(|offset| (0, offset)).collect();
    let table = lake.table(TRADES).await;
    let rows: Vec<_> = scan(&table, &Scan::all()).await.unwrap().try_collect().await.unwrap();
    assert_eq!(positions(&rows), expected);
    assert_eq!(delta_positions(&lake).await, expected);
    assert!(table.metadata().snapshots().count() <= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_within_the_retention_can_still_be_read_as_it_was() {
    let lake = TestLake::new().await;
    let name = table_name(TRADES).unwrap();
    let mut tables = BronzeTables::open(&lake.lake).await.unwrap();
    for offset in 0..10 {
        tables.commit(&one(offset)).await.unwrap();
    }
    let table = lake.table(TRADES).await;
    let current = table.metadata().current_snapshot_id().unwrap();
    upkeep::run(&lake.lake, Task::Compact, Some(&Place::Iceberg(name.clone())), Pass::Real).await.unwrap();
    // The snapshot before the compaction was replaced a moment ago.
    let recent = Retention { keep: 1, age: HOUR };
    assert_eq!(expire(&lake.lake, &name, recent, Pass::Real).await.unwrap(), 0);
    let later = Utc::now() + TimeDelta::days(1);
    sweep(&lake.lake, &name, later, HOUR, Pass::Real).await.unwrap();
    let then: Vec<_> =
        scan(&lake.table(TRADES).await, &Scan::all().snapshot(current)).await.unwrap().try_collect().await.unwrap();
    assert_eq!(positions(&then).len(), 10);
    // Once it is forgotten, its files are orphans; the rows are where they were.
    let strict = Retention { keep: 1, age: NO_TIME };
    assert_eq!(expire(&lake.lake, &name, strict, Pass::Dry).await.unwrap(), 10);
    assert_eq!(expire(&lake.lake, &name, strict, Pass::Real).await.unwrap(), 10);
    assert_eq!(expire(&lake.lake, &name, strict, Pass::Real).await.unwrap(), 0, "there is nothing left to forget");
    let swept = sweep(&lake.lake, &name, later, HOUR, Pass::Real).await.unwrap();
    assert!(swept.deleted >= 10 && swept.bytes > 0, "{swept:?}");
    assert!(scan(&lake.table(TRADES).await, &Scan::all().snapshot(current)).await.is_err());
    let now: Vec<_> = scan(&lake.table(TRADES).await, &Scan::all()).await.unwrap().try_collect().await.unwrap();
    assert_eq!(positions(&now).len(), 10);
    tables.commit(&one(10)).await.unwrap();
    let now: Vec<_> = scan(&lake.table(TRADES).await, &Scan::all()).await.unwrap().try_collect().await.unwrap();
    assert_eq!(positions(&now).len(), 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_says_what_would_be_done_and_changes_nothing() {
    let lake = TestLake::new().await;
    let mut tables = BronzeTables::open(&lake.lake).await.unwrap();
    for offset in 0..10 {
        tables.commit(&one(offset)).await.unwrap();
    }
    let files = lake.files("");
    for task in tasks() {
        let report = upkeep::run(&lake.lake, task, None, Pass::Dry).await.unwrap();
        assert!(report.iter().all(|done| done.error.is_none()), "{report:?}");
        let of_trades = report.iter().find(|done| done.table == TRADES);
        match task {
            Task::Compact => {
                assert!(of_trades.unwrap().files_after < of_trades.unwrap().files_before, "{report:?}");
                assert!(report.iter().any(|done| done.table == "bronze_delta/stock_trades"), "{report:?}");
            }
            Task::Expire(_) => assert_eq!(of_trades.unwrap().snapshots_expired, 8),
            Task::Sweep(_) | Task::Vacuum(_) => assert!(report.iter().all(|done| done.bytes_freed == 0)),
        }
    }
    assert_eq!(lake.files(""), files);
    let missing = Place::parse("gold.nothing").unwrap();
    assert!(upkeep::run(&lake.lake, Task::Compact, Some(&missing), Pass::Dry).await.is_err());
}
