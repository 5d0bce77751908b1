//! SQL on `group_offset`: where consumer groups stand on the embedded log.
//!
//! What always holds: an offset moves only from the value that its reader began from, so of two readers of a group one
//! commits and the other is refused.

use sqlx::{PgConnection, PgPool, Row};

/// What a group has committed of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The partition.
    pub partition: i32,
    /// The offset to read next.
    pub next_offset: i64,
    /// What was kept beside it.
    pub note: String,
}

/// A group and a topic.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// The group.
    pub group_id: &'a str,
    /// The topic.
    pub topic: &'a str,
}

/// What a group has committed of a topic.
///
/// # Errors
/// PostgreSQL's.
pub async fn read(pool: &PgPool, reading: Reading<'_>) -> Result<Vec<Committed>, sqlx::Error> {
    let rows = sqlx::query("SELECT partition, next_offset, note FROM group_offset WHERE group_id = $1 AND topic = $2")
        .bind(reading.group_id)
        .bind(reading.topic)
        .fetch_all(pool)
        .await?;
    rows.iter()
        .map(|row| Ok(Committed { partition: row.try_get(0)?, next_offset: row.try_get(1)?, note: row.try_get(2)? }))
        .collect()
}

/// Moves an offset from what was seen, none for no row. False when somebody else has moved it.
///
/// # Errors
/// PostgreSQL's.
pub async fn advance(
    connection: &mut PgConnection,
    reading: Reading<'_>,
    seen: Option<i64>,
    to: &Committed,
) -> Result<bool, sqlx::Error> {
    let statement = match seen {
        None => {
            "INSERT INTO group_offset (group_id, topic, partition, next_offset, note) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (group_id, topic, partition) DO NOTHING"
        }
        Some(_) => {
            "UPDATE group_offset SET next_offset = $4, note = $5, committed_at = now()
             WHERE group_id = $1 AND topic = $2 AND partition = $3 AND next_offset = $6"
        }
    };
    let query = sqlx::query(statement)
        .bind(reading.group_id)
        .bind(reading.topic)
        .bind(to.partition)
        .bind(to.next_offset)
        .bind(&to.note);
    let query = match seen {
        None => query,
        Some(seen) => query.bind(seen),
    };
    Ok(query.execute(connection).await?.rows_affected() == 1)
}
