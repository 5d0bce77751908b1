//! SQL on `watermark`: how far a table fed by a topic has got.
//!
//! What always holds: a watermark moves only from the value that the writer filtered its rows by, in the
//! transaction that publishes these rows.

use std::collections::BTreeMap;

use sqlx::{PgConnection, PgExecutor};

/// A step of one partition's watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The stored value that the writer has seen; `None` when there was no row.
    pub from: Option<i64>,
    /// The next offset to read once the step is made.
    pub to: i64,
}

/// A table and the topic that feeds it.
#[derive(Debug, Clone, Copy)]
pub struct Feed<'a> {
    /// The table, as namespace.name.
    pub table: &'a str,
    /// The topic.
    pub topic: &'a str,
}

/// The next offset to read of each partition that was committed at least once.
///
/// # Errors
/// PostgreSQL's.
pub async fn read(db: impl PgExecutor<'_>, feed: Feed<'_>) -> Result<BTreeMap<i32, i64>, sqlx::Error> {
    let rows: Vec<(i32, i64)> =
        sqlx::query_as("SELECT partition, next_offset FROM watermark WHERE table_name = $1 AND topic = $2")
            .bind(feed.table)
            .bind(feed.topic)
            .fetch_all(db)
            .await?;
    Ok(rows.into_iter().collect())
}

/// How far a table has got in one partition.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Mark {
    /// The table, as namespace.name.
    #[sqlx(rename = "table_name")]
    pub table: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The next offset to read.
    #[sqlx(rename = "next_offset")]
    pub next: i64,
}

/// Every watermark.
///
/// # Errors
/// PostgreSQL's.
pub async fn all(db: impl PgExecutor<'_>) -> Result<Vec<Mark>, sqlx::Error> {
    sqlx::query_as("SELECT table_name, topic, partition, next_offset FROM watermark ORDER BY 1, 2, 3")
        .fetch_all(db)
        .await
}

/// Makes all steps; answers how many found the value that they start from.
///
/// # Errors
/// PostgreSQL's.
pub async fn advance(
    connection: &mut PgConnection,
    feed: Feed<'_>,
    steps: &BTreeMap<i32, Step>,
) -> Result<usize, sqlx::Error> {
    let partitions: Vec<i32> = steps.keys().copied().collect();
    let from: Vec<Option<i64>> = steps.values().map(|step| step.from).collect();
    let to: Vec<i64> = steps.values().map(|step| step.to).collect();
    let made: i64 = sqlx::query_scalar(include_str!("../../queries/watermark_advance.sql"))
        .bind(feed.table)
        .bind(feed.topic)
        .bind(&partitions)
        .bind(&from)
        .bind(&to)
        .fetch_one(connection)
        .await?;
    Ok(usize::try_from(made).unwrap_or_default())
}
