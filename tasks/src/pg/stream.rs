//! Finite sources: where the topic stood when a source was first produced from, and where it ended.
//!
//! A row is made before the first record of its source is produced, and completed after the last was acknowledged. It is
//! never changed after that.

use sqlx::types::Json;
use sqlx::{PgPool, Row};
use std::collections::BTreeMap;

/// Offsets by partition.
pub type Offsets = BTreeMap<i32, i64>;

/// What is known of a source on a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceProgress {
    /// The topic's ends before the first record of the source; its records lie at or after these.
    pub start_offsets: Offsets,
    /// The topic's ends after its last record; nothing while it is not completed.
    pub end_offsets: Option<Offsets>,
}

/// Notes that a source is about to be produced, unless it was before, and gives what is noted.
///
/// # Errors
/// When the database refuses.
pub async fn begin(pool: &PgPool, topic: &str, source_id: &str, ends: &Offsets) -> Result<SourceProgress, sqlx::Error> {
    sqlx::query(
        "INSERT INTO stream_completion (topic, source_id, start_offsets) VALUES ($1, $2, $3)
         ON CONFLICT (topic, source_id) DO NOTHING",
    )
    .bind(topic)
    .bind(source_id)
    .bind(Json(ends))
    .execute(pool)
    .await?;
    progress(pool, topic, source_id).await?.ok_or(sqlx::Error::RowNotFound)
}

/// What is known of a source.
///
/// # Errors
/// When the database refuses.
pub async fn progress(pool: &PgPool, topic: &str, source_id: &str) -> Result<Option<SourceProgress>, sqlx::Error> {
    let row =
        sqlx::query("SELECT start_offsets, end_offsets FROM stream_completion WHERE topic = $1 AND source_id = $2")
            .bind(topic)
            .bind(source_id)
            .fetch_optional(pool)
            .await?;
    row.map(|row| {
        let start: Json<Offsets> = row.try_get(0)?;
        let end: Option<Json<Offsets>> = row.try_get(1)?;
        Ok(SourceProgress { start_offsets: start.0, end_offsets: end.map(|end| end.0) })
    })
    .transpose()
}

/// Notes that everything of a source has been produced, unless that is noted. Gives the end offsets that stand.
///
/// # Errors
/// When the database refuses, or the source was never begun.
pub async fn complete(pool: &PgPool, topic: &str, source_id: &str, ends: &Offsets) -> Result<Offsets, sqlx::Error> {
    let stored: Json<Offsets> = sqlx::query_scalar(
        "UPDATE stream_completion
         SET end_offsets = coalesce(end_offsets, $3), completed_at = coalesce(completed_at, now())
         WHERE topic = $1 AND source_id = $2
         RETURNING end_offsets",
    )
    .bind(topic)
    .bind(source_id)
    .bind(Json(ends))
    .fetch_one(pool)
    .await?;
    Ok(stored.0)
}
