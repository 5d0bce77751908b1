//! The event log of a Kafka cluster, through librdkafka.
//!
//! Partitions are assigned by the caller, and positions are the caller's: no offset is ever committed to Kafka, since the
//! sinks commit theirs with the data. The producer is idempotent, so that its own retries neither double nor reorder. While
//! the brokers are away, nothing fails: reading gives nothing, producing waits, and [`EventLog::trouble`] says why.

mod admin;
mod client;
mod group;
mod trouble;

pub use admin::{Administrator, TopicChange, TopicWish};
pub(crate) use client::is_passing;
pub use client::{Cluster, Said};
pub use group::{KafkaGroup, committed};

use super::event_log::{
    Creation, EventLog, FetchRequest, LogError, Offsets, PartitionDescription, RECORD_BYTES_MAX, TopicDescription,
    TopicSpec, check_spec,
};
use super::record::{Headers, NewRecord, Record};
use crate::settings::KafkaSettings;
use async_trait::async_trait;
use bytes::Bytes;
use client::{ANSWER_TIMEOUT, is_led, partitions};
use futures::FutureExt;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::time::timeout;
use trouble::Listener;

/// How long a record of a stream may be on its way before producing fails: a cluster that is upgraded is away for minutes.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(300);
/// A broker acknowledges in milliseconds; one that takes longer than this is worth a word.
const SLOW_AFTER: Duration = Duration::from_secs(3);
/// How long the end waits for what is still on its way.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);
/// How long to wait for room in the client's queue before trying again.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);
/// How long to wait before asking again for a topic that was just created.
const TOPIC_PAUSE: Duration = Duration::from_millis(20);
/// What the client reads ahead of us, in KiB: bounded memory, yet enough to keep a sink busy.
const READ_AHEAD_KIB: &str = "32768";

/// Kafka as an event log.
pub struct KafkaLog {
    cluster: Cluster,
    admin: Administrator,
    producer: FutureProducer<Listener>,
    consumer: Arc<StreamConsumer<Listener>>,
    /// Where the consumer stands; nothing when it has to be assigned anew.
    reading: Mutex<Option<Reading>>,
}

/// Whether the producer's idea of a topic's partitions is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Partitions {
    AsRemembered,
    Asked,
}

#[derive(Debug, PartialEq, Eq)]
struct Reading {
    topic: String,
    next: Offsets,
}

impl KafkaLog {
    /// Makes the clients; they connect by themselves when needed.
    ///
    /// # Errors
    /// When librdkafka refuses a setting.
    pub fn new(settings: &KafkaSettings) -> Result<Self, LogError> {
        Self::with_delivery_timeout(settings, DELIVERY_TIMEOUT)
    }

    /// The same, producing no longer than so long at one record.
    ///
    /// # Errors
    /// When librdkafka refuses a setting.
    pub fn with_delivery_timeout(settings: &KafkaSettings, timeout: Duration) -> Result<Self, LogError> {
        let cluster = Cluster::new(settings.clone());
        let mut producing = cluster.config();
        producing
            .set("enable.idempotence", "true")
            .set("compression.type", "zstd")
            .set("linger.ms", "5")
            .set("message.timeout.ms", timeout.as_millis().to_string());
        let mut consuming = cluster.config();
        consuming
            // Assigned by hand, the group is only a name.
            .set("group.id", "windlass")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", READ_AHEAD_KIB);
        let producer = producing.create_with_context(cluster.listener());
        let consumer = consuming.create_with_context(cluster.listener());
        Ok(Self {
            admin: Administrator::new(&cluster)?,
            producer: producer.map_err(cluster.failed("making the producer"))?,
            consumer: Arc::new(consumer.map_err(cluster.failed("making the consumer"))?),
            reading: Mutex::new(None),
            cluster,
        })
    }

    /// Who makes, changes and deletes its topics.
    #[must_use]
    pub const fn admin(&self) -> &Administrator {
        &self.admin
    }

    /// Asks the cluster something that librdkafka only does blocking.
    async fn ask<T: Send + 'static>(
        &self,
        doing: &'static str,
        question: impl FnOnce(&StreamConsumer<Listener>) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, LogError> {
        let consumer = self.consumer.clone();
        let answer = tokio::task::spawn_blocking(move || question(&consumer)).await;
        match answer.expect("a question to Kafka does not panic, and nobody cancels it") {
            Ok(answer) => {
                self.cluster.complaints().clear();
                Ok(answer)
            }
            Err(cause) => {
                let failed = self.cluster.failed(doing)(cause);
                if failed.is_passing() && self.trouble().is_none() {
                    self.cluster.complaints().note(&failed.to_string());
                }
                Err(failed)
            }
        }
    }

    /// Waits until the brokers show a topic: its creation is answered by the controller, and they learn of it a moment
    /// later.
    async fn await_topic(&self, name: &str) -> Result<(), LogError> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let asked = name.to_owned();
            if self.ask("waiting for a new topic", move |consumer| is_led(consumer, &asked)).await? {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(LogError::UnknownTopic(name.to_owned()));
            }
            tokio::time::sleep(TOPIC_PAUSE).await;
        }
    }

    fn assign(&self, request: &FetchRequest<'_>) -> Result<(), LogError> {
        let mut list = TopicPartitionList::new();
        for (&partition, &offset) in request.positions {
            list.add_partition_offset(request.topic, partition, Offset::Offset(offset))
                .map_err(self.cluster.failed("choosing where to read"))?;
        }
        self.consumer.assign(&list).map_err(self.cluster.failed("choosing where to read"))
    }

    async fn receive(&self, request: &FetchRequest<'_>) -> Result<Vec<Record>, LogError> {
        let Ok(first) = timeout(request.wait_max, self.consumer.recv()).await else { return Ok(Vec::new()) };
        let mut next = Some(first);
        let (mut records, mut bytes) = (Vec::new(), 0);
        while let Some(message) = next.take() {
            match message {
                Ok(message) => {
                    let record = record_of(&message);
                    bytes += record.size();
                    records.push(record);
                }
                // The client connects again by itself; where it stands is not lost.
                Err(error) if is_passing(&error) => break,
                Err(error) => return Err(self.cluster.failed("reading records")(error)),
            }
            if bytes < request.bytes_max {
                next = self.consumer.recv().now_or_never();
            }
        }
        if !records.is_empty() {
            self.cluster.complaints().clear();
        }
        Ok(records)
    }

    /// Waits for the brokers' acknowledgement, and says when they take long.
    async fn settled(&self, deliveries: Vec<DeliveryFuture>) -> Result<Offsets, LogError> {
        let mut ends = Offsets::new();
        for mut delivery in deliveries {
            let delivered = loop {
                match timeout(SLOW_AFTER, &mut delivery).await {
                    Ok(delivered) => break delivered.expect("the producer outlives its deliveries"),
                    Err(_) if self.cluster.complaints().fresh().is_none() => {
                        self.cluster.complaints().note("the brokers have not acknowledged records for some seconds");
                    }
                    Err(_) => {}
                }
            };
            let at = delivered.map_err(|(error, _)| self.cluster.failed("producing records")(error))?;
            let end = ends.entry(at.partition).or_insert(0);
            *end = (*end).max(at.offset + 1);
        }
        self.cluster.complaints().clear();
        Ok(ends)
    }

    async fn enqueue(&self, topic: &str, record: &NewRecord) -> Result<DeliveryFuture, LogError> {
        let mut known = Partitions::AsRemembered;
        loop {
            match self.producer.send_result(future_record(topic, record)) {
                Ok(delivery) => return Ok(delivery),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    tokio::time::sleep(QUEUE_FULL_PAUSE).await;
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::UnknownPartition), _))
                    if known == Partitions::AsRemembered =>
                {
                    self.learn_partitions(topic).await?;
                    known = Partitions::Asked;
                }
                Err((error, _)) => return Err(self.cluster.failed("producing records")(error)),
            }
        }
    }

    /// Lets the producer ask for the partitions of a topic, which may be more than it remembers.
    async fn learn_partitions(&self, topic: &str) -> Result<(), LogError> {
        let (producer, topic) = (self.producer.clone(), topic.to_owned());
        let asked = tokio::task::spawn_blocking(move || {
            producer.client().fetch_metadata(Some(&topic), ANSWER_TIMEOUT).map(drop)
        });
        let asked = asked.await.expect("a question to Kafka does not panic, and nobody cancels it");
        asked.map_err(self.cluster.failed("looking for new partitions"))
    }
}

#[async_trait]
impl EventLog for KafkaLog {
    async fn create_topic(&self, spec: &TopicSpec) -> Result<Creation, LogError> {
        check_spec(spec)?;
        let creation = self.admin.create(spec).await?;
        self.await_topic(&spec.name).await?;
        Ok(creation)
    }

    async fn topics(&self) -> Result<Vec<String>, LogError> {
        self.ask("listing topics", |consumer| {
            let metadata = consumer.fetch_metadata(None, ANSWER_TIMEOUT)?;
            let mut names: Vec<String> = metadata.topics().iter().map(|topic| topic.name().to_owned()).collect();
            names.sort();
            Ok(names)
        })
        .await
    }

    async fn describe(&self, topic: &str) -> Result<TopicDescription, LogError> {
        let name = topic.to_owned();
        let known = self.ask("describing a topic", move |consumer| describe_topic(consumer, &name)).await?;
        known.ok_or_else(|| LogError::UnknownTopic(topic.to_owned()))
    }

    /// Brokers do not say what is on its way; what a killed producer had sent arrives within a moment of its end, long
    /// before the next one has started.
    async fn describe_settled(&self, topic: &str) -> Result<TopicDescription, LogError> {
        self.describe(topic).await
    }

    async fn produce(&self, topic: &str, records: Vec<NewRecord>) -> Result<Offsets, LogError> {
        if let Some(large) = records.iter().find(|record| record.size() > RECORD_BYTES_MAX) {
            return Err(LogError::RecordTooLarge(large.size()));
        }
        let mut deliveries = Vec::with_capacity(records.len());
        for record in &records {
            deliveries.push(self.enqueue(topic, record).await?);
        }
        self.settled(deliveries).await
    }

    async fn fetch(&self, request: FetchRequest<'_>) -> Result<Vec<Record>, LogError> {
        let mut reading = self.reading.lock().await;
        let wanted = Reading { topic: request.topic.to_owned(), next: request.positions.clone() };
        // Taken out, so that a caller who gives up in between leaves nothing that claims to stand anywhere.
        if reading.take().as_ref() != Some(&wanted) {
            self.assign(&request)?;
        }
        let records = self.receive(&request).await?;
        let mut stands = wanted;
        for record in &records {
            stands.next.insert(record.partition, record.offset + 1);
        }
        *reading = Some(stands);
        Ok(records)
    }

    async fn close(&self) -> Result<(), LogError> {
        let producer = self.producer.clone();
        let flushed = tokio::task::spawn_blocking(move || producer.flush(FLUSH_TIMEOUT)).await;
        let flushed = flushed.expect("flushing does not panic, and nobody cancels it");
        flushed.map_err(self.cluster.failed("flushing the producer"))
    }

    fn trouble(&self) -> Option<String> {
        self.cluster.complaints().fresh()
    }
}

fn describe_topic(consumer: &StreamConsumer<Listener>, name: &str) -> Result<Option<TopicDescription>, KafkaError> {
    let numbers = partitions(consumer, name)?;
    if numbers.is_empty() {
        return Ok(None);
    }
    let mut partitions = Vec::with_capacity(numbers.len());
    for partition in numbers {
        let (start, end) = consumer.fetch_watermarks(name, partition, ANSWER_TIMEOUT)?;
        partitions.push(PartitionDescription { partition, start, end });
    }
    Ok(Some(TopicDescription { name: name.to_owned(), partitions, retention: None }))
}

fn future_record<'a>(topic: &'a str, record: &'a NewRecord) -> FutureRecord<'a, [u8], [u8]> {
    let mut message = FutureRecord::to(topic).partition(record.partition).timestamp(record.time_ms);
    message.key = record.key.as_deref();
    message.payload = record.value.as_deref();
    if !record.headers.is_empty() {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        message = message.headers(headers);
    }
    message
}

pub(super) fn record_of(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map_or_else(Headers::default, |headers| {
        Headers::new(headers.iter().map(|header| (header.key, header.value.unwrap_or_default())))
    });
    Record {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers,
        time_ms: message.timestamp().to_millis().unwrap_or_default(),
    }
}
