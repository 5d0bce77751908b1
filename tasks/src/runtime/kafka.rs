//! The event log of a Kafka cluster, through librdkafka.
//!
//! Partitions are assigned by the caller, and positions are the caller's: no offset is ever committed to Kafka, since the
//! sinks commit theirs with the data. The producer is idempotent, so that its own retries neither double nor reorder.

use super::event_log::{
    Creation, EventLog, FetchRequest, LogError, Offsets, PartitionDescription, RECORD_BYTES_MAX, TopicDescription,
    TopicSpec, check_spec,
};
use super::record::{Headers, NewRecord, Record};
use crate::settings::KafkaSettings;
use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message, OwnedHeaders};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long a broker may take to answer a question about topics.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a record may be on its way before producing fails.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long to wait for room in the client's queue before trying again.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);
/// How long to wait before asking again for a topic that was just created.
const TOPIC_PAUSE: Duration = Duration::from_millis(20);
/// What the client reads ahead of us, in KiB: bounded memory, yet enough to keep a sink busy.
const READ_AHEAD_KIB: &str = "32768";

/// Kafka as an event log.
pub struct KafkaLog {
    admin: AdminClient<DefaultClientContext>,
    producer: FutureProducer,
    consumer: Arc<StreamConsumer>,
    /// Where the consumer stands; nothing when it has to be assigned anew.
    reading: Mutex<Option<Reading>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Reading {
    topic: String,
    next: Offsets,
}

fn kafka(doing: &'static str) -> impl FnOnce(KafkaError) -> LogError {
    move |cause| LogError::Kafka { doing, cause }
}

impl KafkaLog {
    /// Makes the clients; they connect by themselves when needed.
    ///
    /// # Errors
    /// When librdkafka refuses a setting.
    pub fn new(settings: &KafkaSettings) -> Result<Self, LogError> {
        let mut base = ClientConfig::new();
        base.set("bootstrap.servers", &settings.bootstrap_servers);
        for (name, value) in &settings.properties {
            base.set(name, value);
        }
        let mut producing = base.clone();
        producing
            .set("enable.idempotence", "true")
            .set("compression.type", "zstd")
            .set("linger.ms", "5")
            .set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string());
        let mut consuming = base.clone();
        consuming
            // Assigned by hand, the group is only a name.
            .set("group.id", "windlass")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", READ_AHEAD_KIB);
        Ok(Self {
            admin: base.create().map_err(kafka("making the admin client"))?,
            producer: producing.create().map_err(kafka("making the producer"))?,
            consumer: Arc::new(consuming.create().map_err(kafka("making the consumer"))?),
            reading: Mutex::new(None),
        })
    }

    /// Asks the cluster something that librdkafka only does blocking.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&StreamConsumer) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let consumer = self.consumer.clone();
        let answer = tokio::task::spawn_blocking(move || question(&consumer)).await;
        answer.expect("a question to Kafka does not panic, and nobody cancels it")
    }

    /// Waits until the brokers show a topic: its creation is answered by the controller, and they learn of it a moment
    /// later.
    async fn await_topic(&self, name: &str) -> Result<(), LogError> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let asked = name.to_owned();
            if self.ask(move |consumer| is_led(consumer, &asked)).await? {
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
                .map_err(kafka("choosing where to read"))?;
        }
        self.consumer.assign(&list).map_err(kafka("choosing where to read"))
    }

    async fn receive(&self, request: &FetchRequest<'_>) -> Result<Vec<Record>, LogError> {
        let Ok(first) = timeout(request.wait_max, self.consumer.recv()).await else { return Ok(Vec::new()) };
        let mut records = vec![record_of(&first.map_err(kafka("reading records"))?)];
        let mut bytes = records[0].size();
        while bytes < request.bytes_max {
            match self.consumer.recv().now_or_never() {
                Some(message) => {
                    let record = record_of(&message.map_err(kafka("reading records"))?);
                    bytes += record.size();
                    records.push(record);
                }
                None => break,
            }
        }
        Ok(records)
    }

    async fn enqueue(&self, topic: &str, record: &NewRecord) -> Result<DeliveryFuture, LogError> {
        loop {
            match self.producer.send_result(future_record(topic, record)) {
                Ok(delivery) => return Ok(delivery),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    tokio::time::sleep(QUEUE_FULL_PAUSE).await;
                }
                Err((error, _)) => return Err(kafka("producing records")(error)),
            }
        }
    }
}

#[async_trait]
impl EventLog for KafkaLog {
    async fn create_topic(&self, spec: &TopicSpec) -> Result<Creation, LogError> {
        check_spec(spec)?;
        let retention = spec.retention.as_millis().to_string();
        // The cluster's own replication factor.
        let topic =
            NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(-1)).set("retention.ms", &retention);
        let options = AdminOptions::new().operation_timeout(Some(ANSWER_TIMEOUT)).request_timeout(Some(ANSWER_TIMEOUT));
        let results = self.admin.create_topics([&topic], &options).await.map_err(kafka("creating a topic"))?;
        let creation = match results.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Creation::Existed,
            Some(Err((_, code))) => return Err(kafka("creating a topic")(KafkaError::AdminOp(code))),
            Some(Ok(_)) | None => Creation::Created,
        };
        self.await_topic(&spec.name).await?;
        Ok(creation)
    }

    async fn topics(&self) -> Result<Vec<String>, LogError> {
        self.ask(|consumer| {
            let metadata = consumer.fetch_metadata(None, ANSWER_TIMEOUT).map_err(kafka("listing topics"))?;
            let mut names: Vec<String> = metadata.topics().iter().map(|topic| topic.name().to_owned()).collect();
            names.sort();
            Ok(names)
        })
        .await
    }

    async fn describe(&self, topic: &str) -> Result<TopicDescription, LogError> {
        let name = topic.to_owned();
        self.ask(move |consumer| describe_topic(consumer, name)).await
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
        let mut ends = Offsets::new();
        for delivery in deliveries {
            let delivered = delivery.await.expect("the producer outlives its deliveries");
            let at = delivered.map_err(|(error, _)| kafka("producing records")(error))?;
            let end = ends.entry(at.partition).or_insert(0);
            *end = (*end).max(at.offset + 1);
        }
        Ok(ends)
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
        let flushed = tokio::task::spawn_blocking(move || producer.flush(ANSWER_TIMEOUT)).await;
        flushed.expect("flushing does not panic, and nobody cancels it").map_err(kafka("flushing the producer"))
    }
}

/// Whether the brokers show a topic, and who leads its partitions. One that is known by its name alone has none yet.
fn is_led(consumer: &StreamConsumer, name: &str) -> Result<bool, LogError> {
    let metadata = consumer.fetch_metadata(None, ANSWER_TIMEOUT).map_err(kafka("waiting for a new topic"))?;
    let led = |topic: &MetadataTopic| {
        !topic.partitions().is_empty() && topic.partitions().iter().all(|partition| partition.leader() >= 0)
    };
    Ok(metadata.topics().iter().any(|topic| topic.name() == name && led(topic)))
}

fn describe_topic(consumer: &StreamConsumer, name: String) -> Result<TopicDescription, LogError> {
    let metadata = consumer.fetch_metadata(Some(&name), ANSWER_TIMEOUT).map_err(kafka("describing a topic"))?;
    let known = metadata.topics().iter().find(|topic| topic.name() == name);
    let Some(numbers) = known.map(partition_numbers).filter(|numbers| !numbers.is_empty()) else {
        return Err(LogError::UnknownTopic(name));
    };
    let mut partitions = Vec::with_capacity(numbers.len());
    for partition in numbers {
        let (start, end) =
            consumer.fetch_watermarks(&name, partition, ANSWER_TIMEOUT).map_err(kafka("asking for offsets"))?;
        partitions.push(PartitionDescription { partition, start, end });
    }
    Ok(TopicDescription { name, partitions, retention: None })
}

fn partition_numbers(topic: &MetadataTopic) -> Vec<i32> {
    let mut numbers: Vec<i32> = topic.partitions().iter().map(|partition| partition.id()).collect();
    numbers.sort_unstable();
    numbers
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

fn record_of(message: &BorrowedMessage<'_>) -> Record {
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
