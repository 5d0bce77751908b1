//! The bronze sink with its tables: every record of the topic once in each, whatever happens to the sink.

use crate::support::{Stack, TOPIC, eventually};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use bytes::{Bytes, BytesMut};
use chrono::Utc;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use replay::{StockSource, Trade};
use std::collections::BTreeSet;
use std::fs::File;
use std::time::Duration;
use url::Url;
use windlass_tasks::lake::{Lake, files, table_name};
use windlass_tasks::runtime::{Headers, NewRecord, TopicSpec};
use windlass_tasks::settings::TradeSource;
use windlass_tasks::stock::codec::{TRADE_SCHEMA, encode, value_subject};

const ROWS: usize = 6_000;

pub fn rows(count: usize) -> String {
    (0..count)
        .map(|n| {
            format!("2024-{:02}-02T15:00:00Z,{},1.5,{n},id-{n}\n", n % 3 + 1, ["AAPL", "GOOG", "MSFT", "IBM"][n % 4])
        })
        .collect()
}

/// The batches of local Parquet files.
fn read(paths: impl IntoIterator<Item = String>) -> Vec<RecordBatch> {
    let open = |path: String| {
        let file = File::open(path.trim_start_matches("file://")).unwrap();
        ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().map(Result::unwrap).collect::<Vec<_>>()
    };
    paths.into_iter().flat_map(open).collect()
}

async fn iceberg(lake: &Lake, table: &str) -> Vec<RecordBatch> {
    let listed = files::files(lake, &table_name(table).unwrap()).await.unwrap();
    read(listed.into_iter().map(|file| file.path))
}

async fn delta(stack: &Stack) -> Vec<RecordBatch> {
    let folder = stack.folder.path().join("lake/bronze_delta/stock_trades");
    let table = deltalake::open_table(Url::from_directory_path(folder).unwrap()).await.unwrap();
    read(table.get_file_uris().unwrap())
}

/// Partition and offset of every row, none of which may be there twice.
fn offsets(batches: &[RecordBatch]) -> BTreeSet<(i32, i64)> {
    let mut seen = BTreeSet::new();
    for batch in batches {
        let partitions = batch.column_by_name("kafka_partition").unwrap().as_primitive::<Int32Type>();
        let offsets = batch.column_by_name("kafka_offset").unwrap().as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let key = (partitions.value(row), offsets.value(row));
            assert!(seen.insert(key), "{key:?} is there twice");
        }
    }
    seen
}

/// What is in the tables, which must be the topic's records, each in one of them.
pub async fn assert_whole(stack: &Stack, lake: &Lake, dead_letters: usize) {
    let trades = offsets(&iceberg(lake, "bronze.stock_trades").await);
    let dead = offsets(&iceberg(lake, "bronze.stock_trades_dlq").await);
    assert_eq!(offsets(&delta(stack).await), trades, "both tables have the same rows");
    assert_eq!(dead.len(), dead_letters);
    let topic: BTreeSet<_> = stack.read_all().await.iter().map(|record| (record.partition, record.offset)).collect();
    assert_eq!(trades.union(&dead).copied().collect::<BTreeSet<_>>(), topic);
    assert!(trades.is_disjoint(&dead));
}

async fn inject(stack: &Stack, partition: i32, value: &[u8]) {
    let record = NewRecord {
        partition,
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::copy_from_slice(value)),
        headers: Headers::default(),
        time_ms: Utc::now().timestamp_millis(),
    };
    stack.log.produce(TOPIC, vec![record]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_with_malformed_messages_lands_whole_and_the_sink_is_ready_at_its_end() {
    let stack = Stack::start().await;
    let path = stack.file(&format!("{}2024-01-02T15:00:00Z,AAPL,free,1,bad\n", rows(ROWS)));
    stack.log.create_topic(&TopicSpec::new(TOPIC, 3)).await.unwrap();
    let id = stack.registry.client().register(&value_subject(TOPIC), TRADE_SCHEMA).await.unwrap();
    let mut negative = BytesMut::new();
    let trade = Trade { symbol: "A", price: -1.0, size: 1, ts_micros: 0, trade_id: "n" };
    encode(&mut negative, id, &trade, "test");
    for (partition, value) in [(0, &b"{}"[..]), (1, b"\0\0\0\x27\x0fxx"), (2, &negative)] {
        inject(&stack, partition, value).await;
    }
    let source = StockSource::Replay(path.clone());
    let sink = stack.sink(source, 1_000).await;
    assert!(!sink.worker.meter.is_ready());
    stack.replay(&path).ended().await.unwrap();
    eventually("the sink is ready", || async { sink.worker.meter.is_ready() }).await;
    let lake = stack.lake().await;
    assert_whole(&stack, &lake, 4).await;
    sink.stop().await.unwrap();
    let dead = iceberg(&lake, "bronze.stock_trades_dlq").await;
    let mut reasons: Vec<String> = Vec::new();
    for batch in &dead {
        let errors =
            arrow::compute::cast(batch.column_by_name("error").unwrap(), &arrow::datatypes::DataType::Utf8).unwrap();
        let lines = batch.column_by_name("source_line").unwrap().as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let line = lines.is_valid(row).then(|| lines.value(row));
            reasons.push(format!("{} {line:?}", errors.as_string::<i32>().value(row)));
        }
    }
    reasons.sort();
    assert_eq!(
        reasons,
        [
            "not Confluent Avro: the first byte is 0x7b, expected 0x00 None".to_owned(),
            "price is negative: -1 None".to_owned(),
            format!("price is not a number: `free` Some({})", ROWS + 2),
            "unknown schema id 9999: the schema registry does not have it None".to_owned(),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_killed_again_and_again_has_every_record_once() {
    let stack = Stack::start().await;
    let path = stack.file(&rows(ROWS));
    let source = StockSource::Replay(path.clone());
    stack.replay(&path).ended().await.unwrap();
    for millis in [60, 130, 220, 350] {
        let sink = stack.sink(source.clone(), 300).await;
        tokio::time::sleep(Duration::from_millis(millis)).await;
        sink.kill().await;
    }
    let sink = stack.sink(source, 1_000).await;
    eventually("the sink is ready", || async { sink.worker.meter.is_ready() }).await;
    sink.stop().await.unwrap();
    assert_whole(&stack, &stack.lake().await, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sinks_at_once_double_nothing() {
    let stack = Stack::start().await;
    let path = stack.file(&rows(ROWS));
    let source = StockSource::Replay(path.clone());
    let sinks = [stack.sink(source.clone(), 700).await, stack.sink(source, 500).await];
    stack.replay(&path).ended().await.unwrap();
    for sink in sinks {
        eventually("the sink is ready", || async { sink.worker.meter.is_ready() }).await;
        sink.stop().await.unwrap();
    }
    assert_whole(&stack, &stack.lake().await, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_sink_commits_what_it_has_and_the_next_goes_on() {
    let stack = Stack::start().await;
    let producer = stack.produce(TradeSource::Mock { rate: 500.0, seed: 1 });
    let sink = stack.sink(StockSource::Mock, 500_000).await;
    eventually("the first commit", || async { sink.worker.meter.is_ready() }).await;
    producer.stop().await.unwrap();
    sink.stop().await.unwrap();
    let sink = stack.sink(StockSource::Mock, 500_000).await;
    eventually("a caught-up sink is ready at once", || async { sink.worker.meter.is_ready() }).await;
    sink.stop().await.unwrap();
    assert_whole(&stack, &stack.lake().await, 0).await;
}
