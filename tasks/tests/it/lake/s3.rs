//! The lake on a real S3 service: what the file system gives for nothing, a bucket has to give as well.
//!
//! Runs where `WINDLASS_TEST_S3` names a bucket (`s3://bucket`, reached as the `AWS_` variables say).

use std::{collections::BTreeSet, ops::Range, sync::Arc, time::Duration};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use deltalake::{
    DeltaTable, DeltaTableConfig,
    logstore::{StorageConfig, default_logstore},
};
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, aws::AmazonS3Builder, path::Path, prefix::PrefixStore};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use url::Url;
use uuid::Uuid;
use windlass_tasks::{
    lake::{
        Lake, LakeSettings, S3Settings, Warehouse,
        bronze::{BronzeTables, Marks, SinkBatch, TRADES},
        read::{Scan, scan},
        swap::{Change, Commit},
        sweep::{Pass, sweep},
        table_name,
        upkeep::{self, Place, Task},
        write::TableWriter,
    },
    sql::{SqlEngine, parse},
};

use super::{START, TestLake, numbers, positions, stored, trades};
use crate::support::Database;

/// A bucket, and a prefix in it that nobody else uses.
struct Bucket {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    location: String,
    access: S3Settings,
}

impl Bucket {
    /// The one of the environment; none, and a line that says so, when it names none.
    fn of_environment() -> Option<Self> {
        let Some(bucket) = std::env::var("WINDLASS_TEST_S3").ok().filter(|bucket| !bucket.is_empty()) else {
            println!("skipped: WINDLASS_TEST_S3 names no bucket");
            return None;
        };
        let text = |name| std::env::var(name).ok();
        let access = S3Settings {
            endpoint: text("AWS_ENDPOINT_URL"),
            region: text("AWS_REGION"),
            access_key_id: text("AWS_ACCESS_KEY_ID"),
            secret_access_key: text("AWS_SECRET_ACCESS_KEY"),
        };
        let location = format!("{bucket}/{}", Uuid::new_v4());
        let url = Url::parse(&location).unwrap();
        let store = AmazonS3Builder::new()
            .with_bucket_name(url.host_str().unwrap())
            .with_region("us-east-1")
            .with_endpoint(access.endpoint.as_ref().unwrap())
            .with_allow_http(true)
            .with_access_key_id(access.access_key_id.as_ref().unwrap())
            .with_secret_access_key(access.secret_access_key.as_ref().unwrap());
        let prefix = Path::from_url_path(url.path()).unwrap();
        Some(Self { store: Arc::new(store.build().unwrap()), prefix, location, access })
    }

    async fn lake(&self) -> TestLake {
        let database = Database::create().await;
        let warehouse = Warehouse::parse(&self.location, self.access.clone()).unwrap();
        let settings = LakeSettings { database_url: database.url.clone(), warehouse };
        let lake = Lake::connect(&settings).await.unwrap();
        TestLake { lake, settings, folder: tempfile::tempdir().unwrap(), _database: database }
    }

    /// The last names of all objects below a part of the prefix.
    async fn names(&self, part: &str) -> BTreeSet<String> {
        let prefix = Path::from(format!("{}/{part}", self.prefix));
        let objects: Vec<_> = self.store.list(Some(&prefix)).try_collect().await.unwrap();
        objects.iter().map(|object| object.location.filename().unwrap().to_owned()).collect()
    }

    /// (partition, offset) of each row of the Delta table, as deltalake finds them by the log.
    async fn delta_positions(&self) -> Vec<(i32, i64)> {
        let url = Url::parse(&format!("{}/bronze_delta/stock_trades", self.location)).unwrap();
        let root = Path::from_url_path(url.path()).unwrap();
        let below = Arc::new(PrefixStore::new(Arc::clone(&self.store), root));
        let log = default_logstore(below, Arc::clone(&self.store), &url, &StorageConfig::default());
        let mut table = DeltaTable::new(log, DeltaTableConfig::default());
        table.load().await.unwrap();
        let mut rows = Vec::new();
        for file in table.get_file_uris().unwrap() {
            let path = Path::from_url_path(Url::parse(&file).unwrap().path()).unwrap();
            let bytes: Bytes = self.store.get(&path).await.unwrap().bytes().await.unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
            rows.extend(reader.map(Result::unwrap));
        }
        positions(&rows)
    }
}

fn batch(partition: i32, offsets: Range<i64>) -> SinkBatch {
    SinkBatch {
        next_offsets: Marks::from([(partition, offsets.end)]),
        trades: vec![trades(partition, offsets)],
        dead_letters: Vec::new(),
    }
}

fn all(partitions: i32, offsets: Range<i64>) -> Vec<(i32, i64)> {
    (0..partitions).flat_map(|partition| offsets.clone().map(move |offset| (partition, offset))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_race_for_each_entry_of_the_delta_log_and_none_is_lost() {
    let Some(bucket) = Bucket::of_environment() else { return };
    let lake = bucket.lake().await;
    BronzeTables::open(&lake.lake).await.unwrap();
    let writers = (0..2).map(|partition| {
        let settings = lake.settings.clone();
        tokio::spawn(async move {
            let other = Lake::connect(&settings).await.unwrap();
            let mut tables = BronzeTables::open(&other).await.unwrap();
            for start in (0..100).step_by(10) {
                tables.commit(&batch(partition, start..start + 10)).await.unwrap();
            }
        })
    });
    futures::future::try_join_all(writers).await.unwrap();
    assert_eq!(bucket.delta_positions().await, all(2, 0..100));
    let table = lake.table(TRADES).await;
    let rows: Vec<RecordBatch> = scan(&table, &Scan::all()).await.unwrap().try_collect().await.unwrap();
    assert_eq!(positions(&rows), all(2, 0..100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_merges_and_compaction_at_once_lose_and_double_nothing() {
    const WRITERS: i64 = 3;
    const APPENDS: i64 = 8;
    let Some(bucket) = Bucket::of_environment() else { return };
    let lake = bucket.lake().await;
    lake.numbers("silver.numbers").await;
    let appending = (0..WRITERS).map(|writer| {
        let settings = lake.settings.clone();
        tokio::spawn(async move {
            let other = Lake::connect(&settings).await.unwrap();
            for turn in 0..APPENDS {
                let first = (writer * APPENDS + turn) * 10;
                append(&other, first..first + 10).await;
            }
        })
    });
    let merging = tokio::spawn(merge_all(lake.elsewhere().await, 1000..1020));
    let compacting = tokio::spawn(compact(lake.elsewhere().await));
    futures::future::try_join_all(appending).await.unwrap();
    merging.await.unwrap();
    compacting.await.unwrap();
    let expected: Vec<i64> = (0..WRITERS * APPENDS * 10).chain(1000..1020).collect();
    assert_eq!(stored(&lake.table("silver.numbers").await).await, expected);
}

/// Adds numbers upon whatever the table is by then.
async fn append(lake: &Lake, range: Range<i64>) {
    let table = lake.table(&table_name("silver.numbers").unwrap()).await.unwrap();
    let mut writer = TableWriter::new(&table).unwrap();
    writer.write(&numbers(range)).await.unwrap();
    let change = Change::append(&table, writer.close().await.unwrap());
    Commit::new(lake).change(change).publish().await.unwrap();
}

/// Merges each number twice: the second time finds it there.
async fn merge_all(lake: Lake, range: Range<i64>) {
    let engine = SqlEngine::new(lake).unwrap();
    for number in range.clone().chain(range) {
        let merge = format!(
            "MERGE INTO lake.silver.numbers AS t USING (SELECT CAST({number} AS BIGINT) AS n, \
             CAST('2013-02-10 00:00:00 UTC' AS TIMESTAMP(6) WITH TIME ZONE) AS day) AS s ON t.n = s.n \
             WHEN NOT MATCHED THEN INSERT (n, day) VALUES (s.n, s.day)"
        );
        engine.run(&parse(&merge).unwrap()[0]).await.unwrap();
    }
}

async fn compact(lake: Lake) {
    let place = Place::parse("silver.numbers").unwrap();
    for _ in 0..5 {
        // One that others overtake again and again gives up, and has changed nothing: its report says so.
        let _report = upkeep::run(&lake, Task::Compact, Some(&place), Pass::Real).await.unwrap();
    }
}

/// So many rows of random numbers that a file is uploaded in several parts.
fn many(rows: i64) -> RecordBatch {
    let mut state = 1_i64;
    let values = (0..rows).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state
    });
    let n: Int64Array = values.map(Some).collect();
    let days = TimestampMicrosecondArray::from_iter_values((0..rows).map(|row| START + row)).with_timezone("UTC");
    RecordBatch::try_from_iter([("n", Arc::new(n) as ArrayRef), ("day", Arc::new(days) as ArrayRef)]).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_several_parts_comes_whole_and_what_a_dead_writer_has_left_is_swept() {
    const ROWS: i64 = 2_000_000;
    let Some(bucket) = Bucket::of_environment() else { return };
    let lake = bucket.lake().await;
    let table = lake.numbers("silver.numbers").await;
    let rows = many(ROWS);
    // A writer that is dropped in the middle of an upload, and one that dies before its commit.
    let mut dead = TableWriter::new(&table).unwrap();
    dead.write(&rows).await.unwrap();
    drop(dead);
    let mut uncommitted = TableWriter::new(&table).unwrap();
    uncommitted.write(&numbers(0..3)).await.unwrap();
    assert!(!uncommitted.close().await.unwrap().is_empty());

    let mut writer = TableWriter::new(&table).unwrap();
    writer.write(&rows).await.unwrap();
    let files = writer.close().await.unwrap();
    assert!(files.iter().any(|file| file.file_size_in_bytes() > 10 << 20), "{files:?}");
    Commit::new(&lake.lake).change(Change::append(&table, files)).publish().await.unwrap();
    let before = bucket.names("silver/numbers/data").await;

    let name = table_name("silver.numbers").unwrap();
    let later = Utc::now() + TimeDelta::seconds(5);
    let swept = sweep(&lake.lake, &name, later, Duration::ZERO, Pass::Real).await.unwrap();
    let table = lake.table("silver.numbers").await;
    let named: BTreeSet<String> = windlass_tasks::lake::files::files(&lake.lake, &name)
        .await
        .unwrap()
        .iter()
        .map(|file| file.path.rsplit('/').next().unwrap().to_owned())
        .collect();
    assert_eq!(bucket.names("silver/numbers/data").await, named);
    assert!(swept.deleted > 0 && before.len() > named.len(), "{swept:?}");
    assert_eq!(stored(&table).await.len() as i64, ROWS);
}
