//! The stock producer against the embedded log: what is in the topic after kills, repeats and bad rows.

use crate::support::{Stack, TOPIC, eventually};
use bytes::Bytes;
use std::collections::BTreeMap;
use windlass_tasks::pg::stream;
use windlass_tasks::runtime::{Headers, NewRecord, Record, partition_of};
use windlass_tasks::settings::TradeSource;
use windlass_tasks::stock::source_id;

const ROWS: usize = 40_000;

fn rows(count: usize) -> String {
    let symbols = ["AAPL", "GOOG", "MSFT", "IBM"];
    (0..count)
        .map(|n| {
            format!(
                "2024-01-02T15:{:02}:{:02}Z,{},{}.5,{n},id-{n}\n",
                n / 60 % 60,
                n % 60,
                symbols[n * 7 % 4],
                n % 90 + 1
            )
        })
        .collect()
}

fn line(record: &Record) -> Option<u64> {
    record.headers.text("line")?.parse().ok()
}

/// Every line from 2 on once, and in the order of the file within each partition.
fn assert_each_line_once(records: &[Record], rows: usize) {
    let mut last: BTreeMap<i32, u64> = BTreeMap::new();
    for record in records.iter().filter(|record| record.headers.text("source").is_some()) {
        let line = line(record).unwrap();
        let before = last.insert(record.partition, line).unwrap_or(0);
        assert!(line > before, "line {line} follows {before} in partition {}", record.partition);
    }
    let mut lines: Vec<u64> = records.iter().filter_map(line).collect();
    lines.sort_unstable();
    assert_eq!(lines, (2..2 + rows as u64).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_killed_again_and_again_produces_each_line_once() {
    let stack = Stack::start().await;
    let path = stack.file(&rows(ROWS));
    for kill in 1..=4 {
        let producer = stack.replay(&path);
        let wanted = kill * ROWS as u64 / 8;
        eventually("some records", || async {
            stack
                .log
                .describe(TOPIC)
                .await
                .is_ok_and(|topic| topic.end_offsets().values().sum::<i64>().unsigned_abs() >= wanted)
        })
        .await;
        producer.kill().await;
        // A stranger's record at the end hides the producer's own.
        let stranger = NewRecord {
            partition: (kill % 3) as i32,
            key: None,
            value: Some(Bytes::from_static(b"stranger")),
            headers: Headers::default(),
            time_ms: 0,
        };
        stack.log.produce(TOPIC, vec![stranger]).await.unwrap();
    }
    stack.replay(&path).ended().await.unwrap();
    let records = stack.read_all().await;
    assert_eq!(records.len(), ROWS + 4);
    assert_each_line_once(&records, ROWS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completed_source_is_not_produced_again_wherever_it_lies() {
    let stack = Stack::start().await;
    let path = stack.file(&rows(100));
    stack.replay(&path).ended().await.unwrap();
    let moved = path.with_file_name("moved.csv");
    std::fs::rename(&path, &moved).unwrap();
    stack.replay(&moved).ended().await.unwrap();
    assert_eq!(stack.read_all().await.len(), 100);
    let id = source_id(&moved).await.unwrap();
    let noted = stream::progress(&stack.database.pool, TOPIC, &id).await.unwrap().unwrap();
    assert_eq!(noted.end_offsets.unwrap(), stack.log.describe(TOPIC).await.unwrap().end_offsets());
    // Another file is another source.
    let other = stack.file(&rows(50));
    stack.replay(&other).ended().await.unwrap();
    assert_eq!(stack.read_all().await.len(), 150);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_row_goes_raw_with_its_line_and_reason() {
    let stack = Stack::start().await;
    let good = "2024-01-02T15:00:00Z,AAPL,1.5,2,a\n";
    let path = stack.file(&format!("{good}2024-01-02T15:00:00Z,AAPL,free,2,b\n{good}"));
    stack.replay(&path).ended().await.unwrap();
    let records = stack.read_all().await;
    let bad: Vec<&Record> = records.iter().filter(|record| record.headers.get("error").is_some()).collect();
    assert_eq!(bad.len(), 1);
    assert_eq!(bad[0].value.as_deref(), Some(&b"2024-01-02T15:00:00Z,AAPL,free,2,b"[..]));
    assert_eq!((line(bad[0]), bad[0].headers.text("error")), (Some(3), Some("price is not a number: `free`")));
    assert_eq!(records.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mock_source_makes_trades_keyed_by_symbol_until_it_is_stopped() {
    let stack = Stack::start().await;
    let producer = stack.produce(TradeSource::Mock { rate: 500.0, seed: 1 });
    eventually("a hundred trades", || async { producer.worker.meter.progress().records >= 100 }).await;
    assert!(producer.worker.meter.is_ready());
    producer.stop().await.unwrap();
    for record in stack.read_all().await {
        assert_eq!(record.partition, partition_of(record.key.as_deref().unwrap(), 3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_ends_early_fails_the_producer_and_completes_nothing() {
    let stack = Stack::start().await;
    let path = stack.folder.path().join("cut.csv.gz");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, format!("{}\n{}", replay::HEADER, rows(20_000)).as_bytes()).unwrap();
    let whole = encoder.finish().unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let message = format!("{:#}", stack.replay(&path).ended().await.unwrap_err());
    assert!(message.contains("cut.csv.gz, at line"), "{message}");
    let id = source_id(&path).await.unwrap();
    let noted = stream::progress(&stack.database.pool, TOPIC, &id).await.unwrap().unwrap();
    assert_eq!(noted.end_offsets, None);
}
