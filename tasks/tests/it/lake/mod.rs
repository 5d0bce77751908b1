//! The lake on a real PostgreSQL and real files.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bronze;
mod commits;
mod deletes;
mod s3;
mod upkeep;

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use arrow::{
    array::{
        ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    },
    datatypes::{Int32Type, Int64Type},
};
use futures::TryStreamExt;
use iceberg::{
    spec::{PrimitiveType, Transform},
    table::Table,
};
use windlass_tasks::lake::{
    Lake, LakeSettings, S3Settings, Warehouse,
    bronze::BronzeTables,
    read::{Scan, scan},
    table_name,
    tables::{Column, TableSpec},
};

use crate::support::Database;

/// 2013-01-31 00:00 UTC, in microseconds.
const START: i64 = 1_359_590_400_000_000;
const DAY: i64 = 86_400_000_000;

/// A lake of its own.
struct TestLake {
    lake: Lake,
    settings: LakeSettings,
    folder: tempfile::TempDir,
    _database: Database,
}

impl TestLake {
    async fn new() -> Self {
        let database = Database::create().await;
        let folder = tempfile::tempdir().unwrap();
        let location = format!("file://{}", folder.path().display());
        let warehouse = Warehouse::parse(&location, S3Settings::default()).unwrap();
        let settings = LakeSettings { database_url: database.url.clone(), warehouse };
        let lake = Lake::connect(&settings).await.unwrap();
        Self { lake, settings, folder, _database: database }
    }

    /// The same lake, as another process sees it.
    async fn elsewhere(&self) -> Lake {
        Lake::connect(&self.settings).await.unwrap()
    }

    /// A table of numbers with a day each, partitioned by month.
    async fn numbers(&self, name: &str) -> Table {
        let columns =
            vec![Column::required("n", PrimitiveType::Long), Column::required("day", PrimitiveType::Timestamptz)];
        let spec = TableSpec::new(table_name(name).unwrap(), columns).partitioned_by("day", Transform::Month);
        self.lake.ensure_table(&spec).await.unwrap()
    }

    async fn table(&self, name: &str) -> Table {
        self.lake.table(&table_name(name).unwrap()).await.unwrap()
    }

    /// Paths below the warehouse that end like this.
    fn files(&self, ending: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.to_string_lossy().ends_with(ending) {
                    found.insert(path.display().to_string());
                }
            }
        }
        found
    }
}

/// Numbers, one a day from [`START`] on, with the columns in the wrong order.
fn numbers(range: Range<i64>) -> RecordBatch {
    let days: TimestampMicrosecondArray = range.clone().map(|n| Some(START + n * DAY)).collect();
    RecordBatch::try_from_iter([
        ("day", Arc::new(days.with_timezone("UTC")) as ArrayRef),
        ("n", Arc::new(Int64Array::from_iter_values(range))),
    ])
    .unwrap()
}

/// The numbers in a table, in order.
async fn stored(table: &Table) -> Vec<i64> {
    let batches: Vec<RecordBatch> =
        scan(table, &Scan::all().columns(["n"])).await.unwrap().try_collect().await.unwrap();
    let mut all: Vec<i64> =
        batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    all.sort_unstable();
    all
}

/// Trades of one partition; each ten of them are of another month.
fn trades(partition: i32, offsets: Range<i64>) -> RecordBatch {
    let text = |prefix: &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(offsets.clone().map(|offset| format!("{prefix}{offset}"))))
    };
    let times = |shift: i64| -> ArrayRef {
        let times = offsets.clone().map(|offset| START + offset / 10 * 31 * DAY + offset + shift);
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("+00:00"))
    };
    let count = offsets.clone().count();
    let columns: Vec<ArrayRef> = vec![
        text("S"),
        Arc::new(Float64Array::from_iter_values(offsets.clone().map(|offset| offset as f64 / 7.0))),
        Arc::new(Int64Array::from_iter_values(offsets.clone())),
        times(0),
        text(&format!("{partition}-")),
        text("test"),
        Arc::new(Int32Array::from_iter_values(std::iter::repeat_n(partition, count))),
        Arc::new(Int64Array::from_iter_values(offsets.clone())),
        times(5),
    ];
    RecordBatch::try_new(BronzeTables::trade_schema(), columns).unwrap()
}

/// (partition, offset) of each row, in order.
fn positions(batches: &[RecordBatch]) -> Vec<(i32, i64)> {
    let mut all: Vec<(i32, i64)> = batches
        .iter()
        .flat_map(|batch| {
            let partitions = batch.column_by_name("kafka_partition").unwrap().as_primitive::<Int32Type>();
            let offsets = batch.column_by_name("kafka_offset").unwrap().as_primitive::<Int64Type>();
            partitions.values().iter().copied().zip(offsets.values().iter().copied()).collect::<Vec<_>>()
        })
        .collect();
    all.sort_unstable();
    all
}
