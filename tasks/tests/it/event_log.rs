//! What holds for every event log, tried on the embedded one and, where `KAFKA_BOOTSTRAP_SERVERS_TEST` names a cluster, on
//! Kafka; and what holds for the embedded one alone.

use crate::support::{Database, PATIENCE, kafka_settings, read_all};
use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use std::sync::Arc;
use std::time::{Duration, Instant};
use windlass_tasks::runtime::embedded::EmbeddedLog;
use windlass_tasks::runtime::kafka::KafkaLog;
use windlass_tasks::runtime::{Creation, EventLog, FetchRequest, Headers, LogError, NewRecord, Offsets, TopicSpec};

fn kafka() -> Option<KafkaLog> {
    kafka_settings().map(|settings| KafkaLog::new(&settings).unwrap())
}

fn topic() -> String {
    format!("test-{}", uuid::Uuid::new_v4().simple())
}

fn record(partition: i32, value: &str) -> NewRecord {
    NewRecord {
        partition,
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: Headers::new([("line", value.as_bytes())]),
        time_ms: Utc::now().timestamp_millis(),
    }
}

async fn keeps_what_it_acknowledged_in_order(log: &dyn EventLog) {
    let topic = topic();
    let spec = TopicSpec::new(&topic, 3);
    assert_eq!(log.create_topic(&spec).await.unwrap(), Creation::Created);
    assert_eq!(log.create_topic(&spec).await.unwrap(), Creation::Existed);
    assert!(log.topics().await.unwrap().contains(&topic));
    for batch in 0..5 {
        let records = (0..300).map(|n| record(n % 3, &format!("{:05}", batch * 300 + n))).collect();
        let ends = log.produce(&topic, records).await.unwrap();
        let expected = i64::from(batch + 1) * 100;
        assert_eq!(ends, Offsets::from([(0, expected), (1, expected), (2, expected)]));
    }
    let all = read_all(log, &topic).await;
    assert_eq!(all.len(), 1500);
    for (record, n) in all.iter().zip(0..) {
        assert_eq!((record.partition, record.offset), (n / 100 / 5, i64::from(n % 500)));
        let value = format!("{:05}", (n % 500) * 3 + n / 500);
        assert_eq!(record.value.as_deref(), Some(value.as_bytes()));
        assert_eq!((record.key.as_deref(), record.headers.text("line")), (Some(&b"key"[..]), Some(value.as_str())));
    }
}

async fn gives_a_part_from_any_offset_and_empty_values(log: &dyn EventLog) {
    let topic = topic();
    log.create_topic(&TopicSpec::new(&topic, 1)).await.unwrap();
    let bare = NewRecord { key: None, value: None, headers: Headers::default(), ..record(0, "") };
    log.produce(&topic, vec![record(0, "a"), bare, record(0, "c")]).await.unwrap();
    let positions = Offsets::from([(0, 1)]);
    let request = FetchRequest { topic: &topic, positions: &positions, bytes_max: 1 << 20, wait_max: PATIENCE };
    let records = log.fetch(request).await.unwrap();
    assert_eq!(records[0].offset, 1);
    assert_eq!((&records[0].key, &records[0].value, records[0].headers.is_empty()), (&None, &None, true));
}

async fn wakes_a_waiting_reader(log: Arc<dyn EventLog>) {
    let topic = topic();
    log.create_topic(&TopicSpec::new(&topic, 1)).await.unwrap();
    let reader = tokio::spawn({
        let (log, topic) = (log.clone(), topic.clone());
        async move {
            let positions = Offsets::from([(0, 0)]);
            let request = FetchRequest { topic: &topic, positions: &positions, bytes_max: 1024, wait_max: PATIENCE };
            log.fetch(request).await.unwrap()
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!reader.is_finished());
    log.produce(&topic, vec![record(0, "now")]).await.unwrap();
    let read = tokio::time::timeout(PATIENCE, reader).await.unwrap().unwrap();
    assert_eq!(read[0].value.as_deref(), Some(&b"now"[..]));
}

async fn says_what_it_does_not_have(log: &dyn EventLog) {
    assert!(matches!(log.describe("no-such-topic").await, Err(LogError::UnknownTopic(_))));
    let bad = TopicSpec::new("with space", 1);
    assert!(matches!(log.create_topic(&bad).await, Err(LogError::InvalidTopic { .. })));
    let topic = topic();
    log.create_topic(&TopicSpec::new(&topic, 1)).await.unwrap();
    let large = NewRecord { value: Some(vec![0; 2 << 20].into()), ..record(0, "") };
    assert!(matches!(log.produce(&topic, vec![large]).await, Err(LogError::RecordTooLarge(_))));
}

async fn does_what_every_log_does(log: Arc<dyn EventLog>) {
    keeps_what_it_acknowledged_in_order(&*log).await;
    gives_a_part_from_any_offset_and_empty_values(&*log).await;
    wakes_a_waiting_reader(log.clone()).await;
    says_what_it_does_not_have(&*log).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_log_does_what_every_log_does() {
    let database = Database::create().await;
    does_what_every_log_does(database.log()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_does_what_every_log_does_where_there_is_one() {
    if let Some(log) = kafka() {
        does_what_every_log_does(Arc::new(log)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_is_woken_by_a_producer_that_ends_at_once() {
    let database = Database::create().await;
    let reader = database.log();
    reader.create_topic(&TopicSpec::new("t", 1)).await.unwrap();
    let mut woken = 0;
    for round in 0..5_i64 {
        let positions = Offsets::from([(0, round)]);
        let request = FetchRequest { topic: "t", positions: &positions, bytes_max: 1024, wait_max: PATIENCE };
        let fetched = async {
            let records = reader.fetch(request).await.unwrap();
            (records.len(), Instant::now())
        };
        let produced = async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            let writer = database.log();
            writer.produce("t", vec![record(0, "x")]).await.unwrap();
            writer.close().await.unwrap();
            Instant::now()
        };
        let ((records, read_at), produced_at) = tokio::join!(fetched, produced);
        assert_eq!(records, 1);
        // Who only looks does so a second after it began to wait.
        woken += usize::from(read_at.saturating_duration_since(produced_at) < Duration::from_millis(400));
    }
    // The first round may come before the reader listens.
    assert!(woken >= 4, "woken {woken} times in 5");
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_at_once_leave_no_gap_and_no_reader_sees_one() {
    let database = Database::create().await;
    let log = database.log();
    log.create_topic(&TopicSpec::new("t", 2)).await.unwrap();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let log = database.log();
            tokio::spawn(async move {
                for n in 0..50 {
                    let records = (0..10).map(|r| record((r + writer) % 2, &n.to_string())).collect();
                    log.produce("t", records).await.unwrap();
                }
            })
        })
        .collect();
    let mut positions = Offsets::from([(0, 0), (1, 0)]);
    while positions.values().sum::<i64>() < 2_000 {
        let request =
            FetchRequest { topic: "t", positions: &positions.clone(), bytes_max: 1 << 16, wait_max: PATIENCE };
        for record in log.fetch(request).await.unwrap() {
            let position = positions.get_mut(&record.partition).unwrap();
            assert_eq!(record.offset, *position, "a reader saw offsets out of order");
            *position += 1;
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(log.describe("t").await.unwrap().end_offsets(), Offsets::from([(0, 1_000), (1, 1_000)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_drops_whole_tables_and_moves_the_start() {
    let database = Database::create().await;
    let log = EmbeddedLog::new(database.pool.clone());
    let retention = Duration::from_secs(3600);
    log.create_topic(&TopicSpec { name: "t".to_owned(), partitions: 2, retention }).await.unwrap();
    log.produce("t", vec![record(0, "a"), record(0, "b")]).await.unwrap();
    assert_eq!(log.enforce_retention("t", Utc::now()).await.unwrap(), 0);
    let later = Utc::now() + TimeDelta::hours(3);
    assert_eq!(log.enforce_retention("t", later).await.unwrap(), 1);
    let description = log.describe("t").await.unwrap();
    assert_eq!(description.start_offsets(), Offsets::from([(0, 2), (1, 0)]));
    // The slice of now was dropped under the log's feet; it makes it again.
    assert_eq!(log.produce("t", vec![record(0, "c")]).await.unwrap(), Offsets::from([(0, 3)]));
    assert_eq!(read_all(&log, "t").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_stored_once_compressed_and_found_by_the_index() {
    let database = Database::create().await;
    let log = database.log();
    log.create_topic(&TopicSpec::new("t", 1)).await.unwrap();
    let value = "abc".repeat(1_000);
    log.produce("t", (0..2_000).map(|_| record(0, &value)).collect()).await.unwrap();
    let storage: String = sqlx::query_scalar(
        "SELECT attstorage::text FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid
         WHERE relname LIKE 'log_batch_t%_s%' AND relkind = 'r' AND attname = 'records'",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap();
    assert_eq!(storage, "e", "the records are stored uncompressed by PostgreSQL, out of line");
    let (batches, stored): (i64, i64) = sqlx::query_as("SELECT count(*), sum(length(records))::bigint FROM log_batch")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert!(batches >= 6 && stored < 1 << 20, "{batches} batches, {stored} bytes");
    let plan: Vec<String> = sqlx::query_scalar(
        "EXPLAIN SELECT records FROM log_batch WHERE topic_id = 1 AND partition = 0 AND last_offset >= 5 ORDER BY last_offset LIMIT 8",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    assert!(plan.iter().any(|line| line.contains("Index Scan")), "{plan:#?}");
    assert!(!plan.iter().any(|line| line.contains("Sort")), "{plan:#?}");
}
