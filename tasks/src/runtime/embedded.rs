//! The event log in the lake database.
//!
//! Records are stored in batches of up to [`BATCH_BYTES_MAX`], compressed, in table partitions by topic and time slice.
//! One transaction appends to all partitions of a call; it is durable when [`EventLog::produce`] answers. Readers wait for
//! a notification and look by themselves every [`LOOK_AGAIN`].

use super::event_log::{
    Creation, EventLog, FetchRequest, LogError, Offsets, PartitionDescription, RECORD_BYTES_MAX, TopicDescription,
    TopicSpec, check_spec,
};
use super::record::{NewRecord, Record, decode_batch};
use super::wakeup::{Notifier, Wakeups};
use crate::pg::log::{self, BatchRow, FetchFrom, FetchedBatch, TopicRow};
use async_trait::async_trait;
use bytes::BytesMut;
use chrono::{DateTime, Utc};
use sqlx::PgPool;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Size of a stored batch before compression: large enough to compress well, small enough to hold several in memory.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Compression must not cost more than what it saves in the write-ahead log.
const ZSTD_LEVEL: i32 = 1;
/// How long a reader waits at most when a notification was lost.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Batches in one answer; a slow producer's are small.
const FETCH_BATCHES_MAX: i64 = 256;
/// Retention drops whole slices, so a record may outlive its time by this part of it.
const SLICES_PER_RETENTION: i64 = 8;
/// A slice is a day at most, and long enough that tables are not made all the time.
const SLICE_MS: std::ops::RangeInclusive<i64> = 60_000..=86_400_000;

/// The embedded log. Cheap to make; listens only once somebody waits.
pub struct EmbeddedLog {
    pool: PgPool,
    topics: Mutex<HashMap<String, TopicRow>>,
    /// The newest slice of each topic whose table this process knows to exist.
    slices: Mutex<HashMap<i32, i64>>,
    notifier: Notifier,
    wakeups: Wakeups,
}

fn database(doing: &'static str) -> impl FnOnce(sqlx::Error) -> LogError {
    move |cause| LogError::Database { doing, cause }
}

impl EmbeddedLog {
    /// The log in a database that was migrated.
    pub fn new(pool: PgPool) -> Self {
        Self {
            notifier: Notifier::new(pool.clone()),
            wakeups: Wakeups::new(pool.clone()),
            pool,
            topics: Mutex::default(),
            slices: Mutex::default(),
        }
    }

    async fn topic(&self, name: &str) -> Result<TopicRow, LogError> {
        let known = self.topics.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied();
        if let Some(topic) = known {
            return Ok(topic);
        }
        let topic = log::topic(&self.pool, name)
            .await
            .map_err(database("looking for a topic"))?
            .ok_or_else(|| LogError::UnknownTopic(name.to_owned()))?;
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), topic);
        Ok(topic)
    }

    /// Makes sure that the slice of `now` can be written to. A new one is the time to drop old ones.
    async fn slice_for(&self, topic: TopicRow, now: DateTime<Utc>) -> Result<i64, LogError> {
        let slice = now.timestamp_millis().div_euclid(topic.slice_ms);
        let known = self.slices.lock().unwrap_or_else(PoisonError::into_inner).get(&topic.topic_id).copied();
        if known != Some(slice) {
            log::ensure_slice(&self.pool, topic.topic_id, slice).await.map_err(database("making a time slice"))?;
            self.slices.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.topic_id, slice);
            self.drop_expired(topic, now).await?;
        }
        Ok(slice)
    }

    /// Drops the records of a topic that are older than its retention at `now`, in whole slices. Gives how many slices.
    ///
    /// # Errors
    /// When there is no such topic or the database fails.
    pub async fn enforce_retention(&self, topic: &str, now: DateTime<Utc>) -> Result<usize, LogError> {
        let topic = self.topic(topic).await?;
        self.drop_expired(topic, now).await
    }

    async fn drop_expired(&self, topic: TopicRow, now: DateTime<Utc>) -> Result<usize, LogError> {
        let kept_from_ms = now.timestamp_millis() - topic.retention_ms;
        let first_kept = kept_from_ms.div_euclid(topic.slice_ms);
        log::drop_slices(&self.pool, topic.topic_id, first_kept).await.map_err(database("dropping old records"))
    }

    async fn append(&self, topic: TopicRow, slice: i64, packed: &[PackedBatch]) -> Result<Offsets, sqlx::Error> {
        let mut counts: BTreeMap<i32, i64> = BTreeMap::new();
        for batch in packed {
            *counts.entry(batch.partition).or_default() += i64::from(batch.record_count);
        }
        let mut tx = self.pool.begin().await?;
        let ends = log::take_offsets(&mut tx, topic.topic_id, &counts).await?;
        let mut next: Offsets = ends.iter().map(|(partition, end)| (*partition, end - counts[partition])).collect();
        let rows: Vec<_> = packed.iter().map(|batch| batch.row(&mut next)).collect();
        log::append(&mut tx, topic.topic_id, slice, &rows).await?;
        tx.commit().await?;
        Ok(ends)
    }

    async fn fetch_now(&self, topic: TopicRow, request: &FetchRequest<'_>) -> Result<Vec<Record>, LogError> {
        let share = request.bytes_max / request.positions.len().max(1);
        let mut records = Vec::new();
        for (&partition, &offset) in request.positions {
            check_partition(request.topic, topic, partition)?;
            let from = FetchFrom {
                topic_id: topic.topic_id,
                partition,
                offset,
                batches_max: FETCH_BATCHES_MAX,
                bytes_max: i64::try_from(share.max(1)).unwrap_or(i64::MAX),
            };
            let batches = log::fetch(&self.pool, from).await.map_err(database("reading records"))?;
            for batch in batches {
                let read = unpack(request.topic, partition, &batch)?;
                records.extend(read.into_iter().filter(|record| record.offset >= offset));
            }
        }
        Ok(records)
    }
}

fn check_partition(name: &str, topic: TopicRow, partition: i32) -> Result<(), LogError> {
    if (0..topic.partitions).contains(&partition) {
        return Ok(());
    }
    Err(LogError::UnknownPartition { topic: name.to_owned(), partition, last: topic.partitions - 1 })
}

#[async_trait]
impl EventLog for EmbeddedLog {
    async fn create_topic(&self, spec: &TopicSpec) -> Result<Creation, LogError> {
        check_spec(spec)?;
        let retention_ms = i64::try_from(spec.retention.as_millis()).unwrap_or(i64::MAX);
        let slice_ms = (retention_ms / SLICES_PER_RETENTION).clamp(*SLICE_MS.start(), *SLICE_MS.end());
        let topic = TopicRow { topic_id: 0, partitions: spec.partitions, retention_ms, slice_ms };
        let made = log::create_topic(&self.pool, &spec.name, topic).await.map_err(database("creating a topic"))?;
        Ok(if made { Creation::Created } else { Creation::Existed })
    }

    async fn topics(&self) -> Result<Vec<String>, LogError> {
        log::topic_names(&self.pool).await.map_err(database("listing topics"))
    }

    async fn describe(&self, name: &str) -> Result<TopicDescription, LogError> {
        let topic = self.topic(name).await?;
        let rows = log::partitions(&self.pool, topic.topic_id).await.map_err(database("describing a topic"))?;
        let partitions = rows
            .into_iter()
            .map(|row| PartitionDescription { partition: row.partition, start: row.start_offset, end: row.next_offset })
            .collect();
        let retention = Some(Duration::from_millis(topic.retention_ms.unsigned_abs()));
        Ok(TopicDescription { name: name.to_owned(), partitions, retention })
    }

    async fn describe_settled(&self, name: &str) -> Result<TopicDescription, LogError> {
        let topic = self.topic(name).await?;
        log::await_appends(&self.pool, topic.topic_id).await.map_err(database("waiting for appends to end"))?;
        self.describe(name).await
    }

    async fn produce(&self, name: &str, records: Vec<NewRecord>) -> Result<Offsets, LogError> {
        let topic = self.topic(name).await?;
        for record in &records {
            check_partition(name, topic, record.partition)?;
            if record.size() > RECORD_BYTES_MAX {
                return Err(LogError::RecordTooLarge(record.size()));
            }
        }
        if records.is_empty() {
            return Ok(Offsets::new());
        }
        let packed = pack(&records);
        let slice = self.slice_for(topic, Utc::now()).await?;
        let appended = match self.append(topic, slice, &packed).await {
            Err(error) if log::is_missing_slice(&error) => {
                // Another process dropped the table that this one has seen; make it again, once.
                log::ensure_slice(&self.pool, topic.topic_id, slice).await.map_err(database("making a time slice"))?;
                self.append(topic, slice, &packed).await
            }
            other => other,
        };
        let ends = appended.map_err(database("appending records"))?;
        self.notifier.grown(topic.topic_id);
        Ok(ends)
    }

    async fn fetch(&self, request: FetchRequest<'_>) -> Result<Vec<Record>, LogError> {
        let topic = self.topic(request.topic).await?;
        let deadline = Instant::now() + request.wait_max;
        loop {
            // Subscribed before looking: what grows in between is not missed.
            let mut grown = self.wakeups.subscribe(topic.topic_id);
            let records = self.fetch_now(topic, &request).await?;
            if !records.is_empty() || Instant::now() >= deadline {
                return Ok(records);
            }
            let until = deadline.min(Instant::now() + LOOK_AGAIN);
            // Woken or not, the next round looks; the sender lives as long as this log.
            let _ = timeout_at(until, grown.changed()).await;
        }
    }

    async fn close(&self) -> Result<(), LogError> {
        self.notifier.flush().await;
        Ok(())
    }
}

/// A compressed batch that has no offsets yet.
struct PackedBatch {
    partition: i32,
    record_count: i32,
    first_ms: i64,
    last_ms: i64,
    raw_bytes: i32,
    records: Vec<u8>,
}

impl PackedBatch {
    /// The row of this batch, at the next offset of its partition, which is moved on.
    fn row(&self, next: &mut Offsets) -> BatchRow<'_> {
        let end = next.entry(self.partition).or_default();
        *end += i64::from(self.record_count);
        let at = |ms| DateTime::from_timestamp_millis(ms).unwrap_or_default();
        BatchRow {
            partition: self.partition,
            last_offset: *end - 1,
            record_count: self.record_count,
            first_at: at(self.first_ms),
            last_at: at(self.last_ms),
            raw_bytes: self.raw_bytes,
            records: &self.records,
        }
    }
}

/// Groups records by partition, in their order, into batches.
fn pack(records: &[NewRecord]) -> Vec<PackedBatch> {
    let mut open: BTreeMap<i32, Vec<&NewRecord>> = BTreeMap::new();
    let mut sizes: BTreeMap<i32, usize> = BTreeMap::new();
    let mut packed = Vec::new();
    for record in records {
        let size = sizes.entry(record.partition).or_default();
        let batch = open.entry(record.partition).or_default();
        if *size + record.size() > BATCH_BYTES_MAX && !batch.is_empty() {
            packed.push(pack_one(record.partition, batch));
            batch.clear();
            *size = 0;
        }
        *size += record.size();
        batch.push(record);
    }
    packed.extend(
        open.iter().filter(|(_, batch)| !batch.is_empty()).map(|(&partition, batch)| pack_one(partition, batch)),
    );
    packed
}

fn pack_one(partition: i32, records: &[&NewRecord]) -> PackedBatch {
    let mut raw = BytesMut::with_capacity(records.iter().map(|record| record.size()).sum());
    for record in records {
        record.encode(&mut raw);
    }
    let times = || records.iter().map(|record| record.time_ms);
    PackedBatch {
        partition,
        record_count: i32::try_from(records.len()).expect("a batch of 1 MiB has fewer than 2^31 records"),
        first_ms: times().min().unwrap_or_default(),
        last_ms: times().max().unwrap_or_default(),
        raw_bytes: i32::try_from(raw.len()).expect("a batch has at most 1 MiB"),
        records: zstd::bulk::compress(&raw, ZSTD_LEVEL).expect("compressing in memory does not fail"),
    }
}

fn unpack(topic: &str, partition: i32, batch: &FetchedBatch) -> Result<Vec<Record>, LogError> {
    let damaged = |reason: String| LogError::Damaged {
        topic: topic.to_owned(),
        partition,
        last_offset: batch.last_offset,
        reason,
    };
    let raw_bytes = usize::try_from(batch.raw_bytes).unwrap_or_default();
    let raw = zstd::bulk::decompress(&batch.records, raw_bytes).map_err(|error| damaged(error.to_string()))?;
    let count = usize::try_from(batch.record_count).unwrap_or_default();
    let first_offset = batch.last_offset + 1 - i64::from(batch.record_count);
    decode_batch(raw.into(), partition, first_offset, count).map_err(|error| damaged(error.to_string()))
}
