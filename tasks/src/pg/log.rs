//! The tables of the embedded event log.
//!
//! A partition's row is locked while a batch is appended and until the commit, hence offsets are dense and a reader that
//! sees an offset sees every smaller one. Slices are table partitions that are made before they are written to and dropped
//! whole; both happen under one advisory lock a topic.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Row};
use std::collections::BTreeMap;

/// Names the locks of slices among the advisory locks of this database.
const SLICE_LOCK: i32 = 0x0057_4c53;

/// A topic as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicRow {
    /// Its number in the tables.
    pub topic_id: i32,
    /// How many partitions it has.
    pub partitions: i32,
    /// How long records are kept.
    pub retention_ms: i64,
    /// The width of a slice.
    pub slice_ms: i64,
}

/// The offsets between which a partition's records lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionRow {
    /// Number of the partition.
    pub partition: i32,
    /// First offset that is kept.
    pub start_offset: i64,
    /// Offset of the next record.
    pub next_offset: i64,
}

/// A record batch to be stored.
#[derive(Debug, Clone, Copy)]
pub struct BatchRow<'a> {
    /// Number of the partition.
    pub partition: i32,
    /// Offset of its last record.
    pub last_offset: i64,
    /// Number of records.
    pub record_count: i32,
    /// Time of its earliest record.
    pub first_at: DateTime<Utc>,
    /// Time of its latest record.
    pub last_at: DateTime<Utc>,
    /// Size of the records before compression.
    pub raw_bytes: i32,
    /// The compressed records.
    pub records: &'a [u8],
}

/// A batch as a reader gets it.
#[derive(Debug)]
pub struct FetchedBatch {
    /// Offset of its last record.
    pub last_offset: i64,
    /// Number of records.
    pub record_count: i32,
    /// Size of the records before compression.
    pub raw_bytes: i32,
    /// The compressed records.
    pub records: Vec<u8>,
}

/// Makes a topic with its partitions. False when it was there.
///
/// # Errors
/// When the database refuses.
pub async fn create_topic(pool: &PgPool, name: &str, topic: TopicRow) -> Result<bool, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let made: Option<i32> = sqlx::query_scalar(
        "INSERT INTO topic (name, partitions, retention_ms, slice_ms) VALUES ($1, $2, $3, $4)
         ON CONFLICT (name) DO NOTHING RETURNING topic_id",
    )
    .bind(name)
    .bind(topic.partitions)
    .bind(topic.retention_ms)
    .bind(topic.slice_ms)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(topic_id) = made else { return Ok(false) };
    sqlx::query("INSERT INTO topic_partition (topic_id, partition) SELECT $1, generate_series(0, $2 - 1)")
        .bind(topic_id)
        .bind(topic.partitions)
        .execute(&mut *tx)
        .await?;
    let table = format!(
        "CREATE TABLE log_batch_t{topic_id} PARTITION OF log_batch FOR VALUES IN ({topic_id}) PARTITION BY LIST (slice)"
    );
    sqlx::query(&table).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(true)
}

/// The names of all topics, sorted.
///
/// # Errors
/// When the database refuses.
pub async fn topic_names(pool: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar("SELECT name FROM topic ORDER BY name").fetch_all(pool).await
}

/// A topic by its name.
///
/// # Errors
/// When the database refuses.
pub async fn topic(pool: &PgPool, name: &str) -> Result<Option<TopicRow>, sqlx::Error> {
    let row = sqlx::query("SELECT topic_id, partitions, retention_ms, slice_ms FROM topic WHERE name = $1")
        .bind(name)
        .fetch_optional(pool)
        .await?;
    row.map(|row| {
        Ok(TopicRow {
            topic_id: row.try_get(0)?,
            partitions: row.try_get(1)?,
            retention_ms: row.try_get(2)?,
            slice_ms: row.try_get(3)?,
        })
    })
    .transpose()
}

/// The partitions of a topic in their order.
///
/// # Errors
/// When the database refuses.
pub async fn partitions(pool: &PgPool, topic_id: i32) -> Result<Vec<PartitionRow>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT partition, start_offset, next_offset FROM topic_partition WHERE topic_id = $1 ORDER BY partition",
    )
    .bind(topic_id)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(PartitionRow { partition: row.try_get(0)?, start_offset: row.try_get(1)?, next_offset: row.try_get(2)? })
        })
        .collect()
}

/// Waits until the transactions that append to a topic now have ended: each holds a partition's row.
///
/// # Errors
/// When the database refuses.
pub async fn await_appends(pool: &PgPool, topic_id: i32) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT 1 FROM topic_partition WHERE topic_id = $1 ORDER BY partition FOR SHARE")
        .bind(topic_id)
        .execute(pool)
        .await?;
    Ok(())
}

/// Takes offsets for records, holding the partitions' rows until the transaction ends. Gives the offset after the last.
///
/// # Errors
/// When the database refuses.
pub async fn take_offsets(
    tx: &mut PgConnection,
    topic_id: i32,
    records: &BTreeMap<i32, i64>,
) -> Result<BTreeMap<i32, i64>, sqlx::Error> {
    let rows = sqlx::query(include_str!("../../queries/log_append_offsets.sql"))
        .bind(topic_id)
        .bind(records.keys().copied().collect::<Vec<_>>())
        .bind(records.values().copied().collect::<Vec<_>>())
        .fetch_all(tx)
        .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Stores batches whose offsets were taken in the same transaction.
///
/// # Errors
/// When the database refuses; `check_violation` when the slice's table is missing, see [`is_missing_slice`].
pub async fn append(
    tx: &mut PgConnection,
    topic_id: i32,
    slice: i64,
    batches: &[BatchRow<'_>],
) -> Result<(), sqlx::Error> {
    sqlx::query(include_str!("../../queries/log_append_batches.sql"))
        .bind(topic_id)
        .bind(slice)
        .bind(batches.iter().map(|batch| batch.partition).collect::<Vec<_>>())
        .bind(batches.iter().map(|batch| batch.last_offset).collect::<Vec<_>>())
        .bind(batches.iter().map(|batch| batch.record_count).collect::<Vec<_>>())
        .bind(batches.iter().map(|batch| batch.first_at).collect::<Vec<_>>())
        .bind(batches.iter().map(|batch| batch.last_at).collect::<Vec<_>>())
        .bind(batches.iter().map(|batch| batch.raw_bytes).collect::<Vec<_>>())
        .bind(batches.iter().map(|batch| batch.records).collect::<Vec<_>>())
        .execute(tx)
        .await?;
    Ok(())
}

/// Whether an append failed because retention dropped, or nobody made, the slice's table.
pub fn is_missing_slice(error: &sqlx::Error) -> bool {
    const CHECK_VIOLATION: &str = "23514";
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == CHECK_VIOLATION)
}

/// What a reader asks for.
#[derive(Debug, Clone, Copy)]
pub struct FetchFrom {
    /// The topic.
    pub topic_id: i32,
    /// The partition.
    pub partition: i32,
    /// The first offset wanted.
    pub offset: i64,
    /// At most so many batches.
    pub batches_max: i64,
    /// At most so many bytes before compression, but always one batch.
    pub bytes_max: i64,
}

/// The batches that hold an offset and those after it.
///
/// # Errors
/// When the database refuses.
pub async fn fetch(pool: &PgPool, from: FetchFrom) -> Result<Vec<FetchedBatch>, sqlx::Error> {
    let rows = sqlx::query(include_str!("../../queries/log_fetch.sql"))
        .bind(from.topic_id)
        .bind(from.partition)
        .bind(from.offset)
        .bind(from.batches_max)
        .bind(from.bytes_max)
        .fetch_all(pool)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(FetchedBatch {
                last_offset: row.try_get(0)?,
                record_count: row.try_get(1)?,
                raw_bytes: row.try_get(2)?,
                records: row.try_get(3)?,
            })
        })
        .collect()
}

/// Makes the table of a slice when it is missing.
///
/// # Errors
/// When the database refuses.
pub async fn ensure_slice(pool: &PgPool, topic_id: i32, slice: i64) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    lock_slices(&mut tx, topic_id).await?;
    let table = format!(
        "CREATE TABLE IF NOT EXISTS log_batch_t{topic_id}_s{slice} PARTITION OF log_batch_t{topic_id}
         FOR VALUES IN ({slice})"
    );
    sqlx::query(&table).execute(&mut *tx).await?;
    tx.commit().await
}

/// Drops the tables of all slices below `first_kept` and moves the partitions' first offsets. Gives how many were dropped.
///
/// # Errors
/// When the database refuses.
pub async fn drop_slices(pool: &PgPool, topic_id: i32, first_kept: i64) -> Result<usize, sqlx::Error> {
    let mut tx = pool.begin().await?;
    lock_slices(&mut tx, topic_id).await?;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
         WHERE i.inhparent = to_regclass('log_batch_t' || $1)",
    )
    .bind(topic_id)
    .fetch_all(&mut *tx)
    .await?;
    let old: Vec<&String> = tables.iter().filter(|table| slice_of(table).is_some_and(|s| s < first_kept)).collect();
    if !old.is_empty() {
        sqlx::query(include_str!("../../queries/log_slice_ends.sql"))
            .bind(topic_id)
            .bind(first_kept)
            .execute(&mut *tx)
            .await?;
    }
    for table in &old {
        sqlx::query(&format!("DROP TABLE {table}")).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(old.len())
}

/// Tells waiting readers that topics have grown. Not to be called in a transaction that writes.
///
/// # Errors
/// When the database refuses.
pub async fn notify(pool: &PgPool, channel: &str, topic_ids: &[i32]) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_notify($1, t::text) FROM unnest($2::int[]) AS t")
        .bind(channel)
        .bind(topic_ids)
        .execute(pool)
        .await?;
    Ok(())
}

async fn lock_slices(tx: &mut PgConnection, topic_id: i32) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_xact_lock($1, $2)").bind(SLICE_LOCK).bind(topic_id).execute(tx).await?;
    Ok(())
}

fn slice_of(table: &str) -> Option<i64> {
    table.rsplit_once("_s")?.1.parse().ok()
}
