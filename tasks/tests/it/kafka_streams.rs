//! The stream on a real Kafka: brokers that are killed, stopped and started, partitions that come, sinks at once. What the
//! source gave is in bronze once, whatever happens. Without `KAFKA_BOOTSTRAP_SERVERS_TEST` there is nothing to test.
//!
//! What ends the broker is ignored unless asked for, since it disturbs every other test; it needs the broker that `e2e/stack`
//! has started, in `STACK_DIR`.

use crate::sink::{assert_whole, rows};
use crate::support::{PATIENCE, Stack, eventually, kafka_settings, reporting_worker, worker};
use bytes::Bytes;
use chrono::Utc;
use replay::StockSource;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, PipeReader};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use windlass_tasks::runtime::kafka::{Administrator, Cluster, TopicChange, TopicWish};
use windlass_tasks::runtime::{Headers, NewRecord, TopicSpec};
use windlass_tasks::settings::{ReplaySpeed, TradeSource};

/// A replay of twenty seconds, two hundred trades in each.
fn twenty_seconds() -> (usize, String) {
    let rows = (0..4_000)
        .map(|n| format!("2024-01-02T15:00:{:02}.{:03}Z,AAPL,1.5,{n},id-{n}\n", n / 200, n % 200 * 5))
        .collect();
    (4_000, rows)
}

/// The broker that `e2e/stack` runs.
struct Broker;

impl Broker {
    fn pid() -> String {
        let dir = std::env::var("STACK_DIR").map_or_else(|_| root().join(".stack"), PathBuf::from);
        std::fs::read_to_string(dir.join("data/kafka/pid")).unwrap().trim().to_owned()
    }

    fn signal(signal: &str) {
        assert!(Command::new("kill").args([signal, &Self::pid()]).status().unwrap().success());
    }

    async fn start() {
        let started =
            tokio::task::spawn_blocking(|| Command::new(root().join("e2e/stack")).args(["up", "kafka"]).output());
        let output = started.await.unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// What a worker reports, as it comes.
#[derive(Clone, Default)]
struct Reports(Arc<Mutex<Vec<String>>>);

impl Reports {
    fn follow(reader: PipeReader) -> Self {
        let reports = Self::default();
        let kept = reports.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                if line.contains("\"error\"") && !line.contains("\"progress\"") {
                    kept.0.lock().unwrap().push(line);
                }
            }
        });
        reports
    }

    fn say(&self, part: &str) -> bool {
        self.0.lock().unwrap().iter().any(|line| line.contains(part))
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it kills and stops the broker"]
async fn a_broker_killed_and_stopped_during_the_stream_loses_and_doubles_nothing() {
    let settings = kafka_settings().expect("KAFKA_BOOTSTRAP_SERVERS_TEST names the stack's broker");
    let stack = Stack::on_kafka(&settings).await;
    let (count, rows) = twenty_seconds();
    let path = stack.file(&rows);
    let (producing, producers_pipe) = reporting_worker();
    let (sinking, sinks_pipe) = reporting_worker();
    let [producer_says, sink_says] = [producers_pipe, sinks_pipe].map(Reports::follow);
    let speed = ReplaySpeed::Factor(1.0);
    let producer = stack.produce_by(producing, TradeSource::Replay { path: path.clone(), speed });
    let sink = stack.sink_by(sinking, StockSource::Replay(path), 500).await;
    let committed = || sink.worker.meter.progress().committed.values().sum::<i64>();
    eventually("the first commit", || async { committed() > 0 }).await;

    Broker::signal("-KILL");
    eventually("the producer says that it waits", || async { producer_says.say("waits for the event log") }).await;
    eventually("the sink says that it waits", || async { sink_says.say("waits for the event log") }).await;
    let before = committed();
    Broker::start().await;
    let up = Instant::now();
    eventually("commits go on", || async { committed() > before }).await;
    let recovery = up.elapsed();
    println!("went on {recovery:?} after the broker was up again");
    assert!(recovery < Duration::from_secs(15), "{recovery:?}");
    eventually("the sink says that it goes on", || async { sink_says.say("answers again after") }).await;

    Broker::signal("-STOP");
    tokio::time::sleep(Duration::from_secs(8)).await;
    Broker::signal("-CONT");

    producer.ended().await.unwrap();
    eventually("the sink is ready", || async { sink.worker.meter.is_ready() }).await;
    sink.stop().await.unwrap();
    assert_whole(&stack, &stack.lake().await, 0).await;
    let records = stack.read_all().await;
    let lines: BTreeSet<_> = records.iter().map(|record| record.headers.text("line").unwrap().to_owned()).collect();
    assert_eq!((records.len(), lines.len()), (count, count), "each line of the source is in the topic once");
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_partitions_that_are_added_during_the_stream_are_read() {
    let Some(settings) = kafka_settings() else { return };
    let stack = Stack::on_kafka(&settings).await;
    stack.log.create_topic(&TopicSpec::new(&stack.topic, 3)).await.unwrap();
    let sink = stack.sink(StockSource::Mock, 100).await;
    let inject = async |partition, value: &'static [u8]| {
        let record = NewRecord {
            partition,
            key: None,
            value: Some(Bytes::from_static(value)),
            headers: Headers::default(),
            time_ms: Utc::now().timestamp_millis(),
        };
        stack.log.produce(&stack.topic, vec![record]).await.unwrap();
    };
    inject(0, b"no trade").await;
    eventually("the first commit", || async { sink.worker.meter.progress().committed.contains_key(&0) }).await;
    let admin = Administrator::new(&Cluster::new(settings)).unwrap();
    let wish = TopicWish { partitions: Some(5), ..TopicWish::default() };
    let changes = admin.ensure(&stack.topic, Some(3), &wish).await.unwrap();
    assert_eq!(changes, [TopicChange::Partitions { from: 3, to: 5 }]);
    eventually("the partitions show", || async {
        stack.log.describe(&stack.topic).await.unwrap().partitions.len() == 5
    })
    .await;
    inject(4, b"no trade either").await;
    eventually("the new one is read", || async { sink.worker.meter.progress().committed.contains_key(&4) }).await;
    sink.stop().await.unwrap();
    assert_whole(&stack, &stack.lake().await, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sinks_at_once_double_nothing_on_kafka() {
    let Some(settings) = kafka_settings() else { return };
    let stack = Stack::on_kafka(&settings).await;
    let path = stack.file(&rows(3_000));
    let source = StockSource::Replay(path.clone());
    let other = Stack { log: Arc::new(windlass_tasks::runtime::kafka::KafkaLog::new(&settings).unwrap()), ..stack };
    let first = other.sink_by(worker(), source.clone(), 300).await;
    let stack = Stack { log: Arc::new(windlass_tasks::runtime::kafka::KafkaLog::new(&settings).unwrap()), ..other };
    let second = stack.sink_by(worker(), source, 200).await;
    let replayed = tokio::time::timeout(PATIENCE, stack.replay(&path).ended()).await.unwrap();
    replayed.unwrap();
    for sink in [first, second] {
        eventually("the sink is ready", || async { sink.worker.meter.is_ready() }).await;
        sink.stop().await.unwrap();
    }
    assert_whole(&stack, &stack.lake().await, 0).await;
}
