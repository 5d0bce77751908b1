//! The bronze tables: exactly once, whoever writes and whatever dies.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use deltalake::DeltaTableBuilder;
use futures::TryStreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use url::Url;
use windlass_tasks::lake::{
    LakeError,
    bronze::{BronzeTables, CommitReport, DEAD_LETTERS, Marks, SinkBatch, TRADES, Watermarks},
    files,
    read::{Scan, scan},
    table_name,
};

use super::{START, TestLake, positions, trades};

fn batch(partition: i32, offsets: Range<i64>) -> SinkBatch {
    SinkBatch {
        next_offsets: Marks::from([(partition, offsets.end)]),
        trades: vec![trades(partition, offsets)],
        dead_letters: Vec::new(),
    }
}

fn dead_letter(offset: i64) -> RecordBatch {
    let text = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    RecordBatch::try_from_iter_with_nullable([
        ("error", text("not Avro"), false),
        ("topic", text("stock_trades"), false),
        ("kafka_partition", Arc::new(Int32Array::from(vec![0])) as ArrayRef, false),
        ("kafka_offset", Arc::new(Int64Array::from(vec![offset])) as ArrayRef, false),
        ("failed_at", Arc::new(TimestampMicrosecondArray::from(vec![START]).with_timezone("UTC")) as ArrayRef, false),
    ])
    .unwrap()
}

async fn iceberg_positions(lake: &TestLake, table: &str) -> Vec<(i32, i64)> {
    let table = lake.table(table).await;
    positions(&scan(&table, &Scan::all()).await.unwrap().try_collect::<Vec<_>>().await.unwrap())
}

async fn delta_files(lake: &TestLake) -> Vec<String> {
    let url = Url::from_directory_path(lake.folder.path().join("bronze_delta/stock_trades")).unwrap();
    let table = DeltaTableBuilder::from_url(url).unwrap().load().await.unwrap();
    table.get_file_uris().unwrap().collect()
}

pub async fn delta_positions(lake: &TestLake) -> Vec<(i32, i64)> {
    let mut rows = Vec::new();
    for file in delta_files(lake).await {
        let path = file.trim_start_matches("file://");
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
        rows.extend(reader.build().unwrap().map(Result::unwrap));
    }
    positions(&rows)
}

fn all(partition: i32, offsets: Range<i64>) -> Vec<(i32, i64)> {
    offsets.map(|offset| (partition, offset)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_sinks_at_once_write_each_record_once() {
    let lake = TestLake::new().await;
    let sinks = (0..3).map(|sink| {
        let lake = lake.lake.clone();
        tokio::spawn(async move {
            let mut tables = BronzeTables::open(&lake).await.unwrap();
            // They read the same records, cut into batches of different sizes.
            let size = 7 + sink * 4;
            for start in (0..120).step_by(size) {
                let end = (start + size as i64).min(120);
                tables.commit(&batch(0, start..end)).await.unwrap();
            }
        })
    });
    futures::future::try_join_all(sinks).await.unwrap();
    assert_eq!(iceberg_positions(&lake, TRADES).await, all(0, 0..120));
    assert_eq!(delta_positions(&lake).await, all(0, 0..120));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_sink_finds_how_far_it_got_and_repeats_nothing() {
    let lake = TestLake::new().await;
    let mut tables = BronzeTables::open(&lake.lake).await.unwrap();
    let mut first = batch(0, 0..10);
    first.trades.push(trades(3, 0..5));
    first.next_offsets.insert(3, 5);
    tables.commit(&first).await.unwrap();

    let mut tables = BronzeTables::open(&lake.elsewhere().await).await.unwrap();
    let marks = Marks::from([(0, 10), (3, 5)]);
    assert_eq!(tables.watermarks().await.unwrap(), Watermarks { iceberg: marks.clone(), delta: marks });
    assert_eq!(tables.commit(&first).await.unwrap(), CommitReport::default());
    let next = tables.commit(&batch(0, 5..12)).await.unwrap();
    assert_eq!((next.iceberg_rows, next.delta_rows), (2, 2));
    let expected = [all(0, 0..12), all(3, 0..5)].concat();
    assert_eq!(iceberg_positions(&lake, TRADES).await, expected);
    assert_eq!(delta_positions(&lake).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_killed_at_any_moment_loses_and_doubles_nothing() {
    let lake = TestLake::new().await;
    BronzeTables::open(&lake.lake).await.unwrap();
    let mut micros = 200;
    loop {
        let other = lake.elsewhere().await;
        let sink = tokio::spawn(async move {
            let mut tables = BronzeTables::open(&other).await.unwrap();
            loop {
                let marks = tables.watermarks().await.unwrap();
                let at = |marks: &Marks| marks.get(&0).copied().unwrap_or(0);
                let start = at(&marks.iceberg).min(at(&marks.delta));
                if start >= 100 {
                    break;
                }
                tables.commit(&batch(0, start..(start + 20).min(100))).await.unwrap();
            }
        });
        // Each life is longer than the last one, so that every step of a commit is hit by some and the last one ends.
        if tokio::time::timeout(std::time::Duration::from_micros(micros), sink_done(&sink)).await.is_ok() {
            sink.await.unwrap();
            break;
        }
        sink.abort();
        let _ = sink.await;
        micros = micros * 3 / 2;
    }
    assert_eq!(iceberg_positions(&lake, TRADES).await, all(0, 0..100));
    assert_eq!(delta_positions(&lake).await, all(0, 0..100));
}

async fn sink_done(sink: &tokio::task::JoinHandle<()>) {
    while !sink.is_finished() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_committed_with_the_watermark() {
    let lake = TestLake::new().await;
    let mut tables = BronzeTables::open(&lake.lake).await.unwrap();
    let mixed = SinkBatch {
        trades: vec![trades(0, 0..3)],
        dead_letters: vec![dead_letter(3)],
        next_offsets: Marks::from([(0, 4)]),
    };
    assert_eq!(tables.commit(&mixed).await.unwrap().dead_letters, 1);
    assert_eq!(tables.commit(&mixed).await.unwrap().dead_letters, 0);
    let only_dead =
        SinkBatch { dead_letters: vec![dead_letter(4)], next_offsets: Marks::from([(0, 5)]), ..SinkBatch::default() };
    tables.commit(&only_dead).await.unwrap();
    let nothing = SinkBatch { next_offsets: Marks::from([(0, 7)]), ..SinkBatch::default() };
    tables.commit(&nothing).await.unwrap();
    assert_eq!(iceberg_positions(&lake, DEAD_LETTERS).await, all(0, 3..5));
    assert_eq!(iceberg_positions(&lake, TRADES).await, all(0, 0..3));
    let marks = Marks::from([(0, 7)]);
    assert_eq!(tables.watermarks().await.unwrap(), Watermarks { iceberg: marks.clone(), delta: marks });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_keeps_every_row_and_both_watermarks() {
    let lake = TestLake::new().await;
    let mut tables = BronzeTables::open(&lake.lake).await.unwrap();
    for start in 0..12 {
        // All of one month, so that it gets twelve files.
        let mut one = batch(0, start..start + 1);
        one.trades = vec![trades(0, start..start + 1)];
        tables.commit(&one).await.unwrap();
    }
    let before = tables.watermarks().await.unwrap();
    let report = tables.compact().await.unwrap();
    assert!(report.iceberg.files_before >= 10 && report.delta.files_before >= 10, "{report:?}");
    assert_eq!(iceberg_positions(&lake, TRADES).await, all(0, 0..12));
    assert_eq!(delta_positions(&lake).await, all(0, 0..12));
    let name = table_name(TRADES).unwrap();
    let listed = files::files(&lake.lake, &name).await.unwrap();
    let months: BTreeSet<_> = listed.iter().map(|file| file.partition.clone()).collect();
    assert!(listed.len() <= months.len() * 8, "{listed:?}");
    let table = files::tables(&lake.lake).await.unwrap().into_iter().find(|row| row.table == TRADES).unwrap();
    assert_eq!((table.rows, table.files), (12, listed.len() as u64));
    assert_eq!(tables.watermarks().await.unwrap(), before);
    let after = tables.commit(&batch(0, 10..14)).await.unwrap();
    assert_eq!((after.iceberg_rows, after.delta_rows), (2, 2));
    assert_eq!(delta_positions(&lake).await, all(0, 0..14));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_goes_on_beside_a_sink_that_never_pauses() {
    let lake = TestLake::new().await;
    let mut tables = BronzeTables::open(&lake.lake).await.unwrap();
    for start in 0..10 {
        tables.commit(&batch(0, start..start + 1)).await.unwrap();
    }
    let busy = lake.lake.clone();
    let sink = tokio::spawn(async move {
        let mut tables = BronzeTables::open(&busy).await.unwrap();
        for start in 10..40 {
            tables.commit(&batch(0, start..start + 1)).await.unwrap();
        }
    });
    let report = tables.compact().await.unwrap();
    sink.await.unwrap();
    assert!(report.iceberg.files_before > 8 && report.delta.files_before > 8, "{report:?}");
    assert_eq!(iceberg_positions(&lake, TRADES).await, all(0, 0..40));
    assert_eq!(delta_positions(&lake).await, all(0, 0..40));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_the_offsets_do_not_cover_are_refused() {
    let lake = TestLake::new().await;
    let mut tables = BronzeTables::open(&lake.lake).await.unwrap();
    let mut wrong = batch(0, 0..5);
    wrong.next_offsets = Marks::from([(0, 3)]);
    assert!(matches!(tables.commit(&wrong).await, Err(LakeError::BadBatch(_))));
    assert_eq!(tables.watermarks().await.unwrap(), Watermarks::default());
}
