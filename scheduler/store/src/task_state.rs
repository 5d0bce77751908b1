//! What a task instance keeps for itself under keys, from try to try: Airflow's task state store.
//!
//! It is beside what the leader decides by: no state of a run follows from it. A value has the bounds of an XCom, and an instance
//! keeps [`KEYS_MAX`] at most. What has expired is not there any more, and goes with the next value that the instance keeps.

use model::{MapIndex, RunKey, TaskIdx, TiKey, Timestamp};
use serde_json::Value;
use sqlx::{PgPool, types::Json};

use crate::{
    audit::{self, Actor},
    error::{Doing, StoreError},
};

/// The most keys of one instance, or of one asset.
pub const KEYS_MAX: i64 = 1_000;
/// The longest key, as in Airflow.
pub const KEY_CHARS_MAX: usize = 512;

/// What is kept under a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Value,
    /// When it was written last.
    pub updated_at: Timestamp,
    /// When it goes by itself.
    pub expires_at: Option<Timestamp>,
}

/// What of an instance is meant, for the audit log.
#[derive(Debug, Clone, Copy)]
pub struct Keeper<'a> {
    /// The instance.
    pub key: TiKey,
    /// Its words in the audit log: DAG, run and task.
    pub told: &'a Value,
}

/// When a value goes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// As it was, or never when there was none.
    Kept,
    /// Never, or then.
    At(Option<Timestamp>),
}

/// What came of a wish to keep something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// It is kept.
    Done,
    /// There is no such key, and the wish was to change one.
    Missing,
    /// There are [`KEYS_MAX`] others.
    Full,
    /// What it is kept of, a run or an asset, is not there any more.
    Gone,
}

/// A page of what an instance keeps, by key, and how much there is in all.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn list(pool: &PgPool, of: TiKey, limit: i64, offset: i64) -> Result<(Vec<Kept>, i64), StoreError> {
    let rows = sqlx::query!(
        r#"SELECT key, value AS "value: Json<Value>", updated_at, expires_at, count(*) OVER () AS "total!"
           FROM task_state_store
           WHERE run_id = $1 AND task_idx = $2 AND map_index = $3 AND (expires_at IS NULL OR expires_at > now())
           ORDER BY key LIMIT $4 OFFSET $5"#,
        of.run.get(),
        of.task.get(),
        of.map.get(),
        // One more than nothing, so that the total is told.
        limit.max(1),
        offset
    );
    let rows = rows.fetch_all(pool).await.doing(READING)?;
    let total = match rows.first() {
        Some(row) => row.total,
        None => count(pool, of).await?,
    };
    let kept = rows.into_iter().take(usize::try_from(limit).unwrap_or(0)).map(|row| Kept {
        key: row.key,
        value: row.value.0,
        updated_at: row.updated_at,
        expires_at: row.expires_at,
    });
    Ok((kept.collect(), total))
}

const READING: &str = "reading what a task instance keeps";
const KEEPING: &str = "changing what a task instance keeps";

async fn count(pool: &PgPool, of: TiKey) -> Result<i64, StoreError> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM task_state_store
           WHERE run_id = $1 AND task_idx = $2 AND map_index = $3 AND (expires_at IS NULL OR expires_at > now())"#,
        of.run.get(),
        of.task.get(),
        of.map.get()
    );
    count.fetch_one(pool).await.doing(READING)
}

/// What an instance keeps under a key.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn one(pool: &PgPool, of: TiKey, key: &str) -> Result<Option<Kept>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT key, value AS "value: Json<Value>", updated_at, expires_at FROM task_state_store
           WHERE run_id = $1 AND task_idx = $2 AND map_index = $3 AND key = $4 AND (expires_at IS NULL OR expires_at > now())"#,
        of.run.get(),
        of.task.get(),
        of.map.get(),
        key
    );
    let row = row.fetch_optional(pool).await.doing(READING)?;
    Ok(row.map(|row| Kept { key: row.key, value: row.value.0, updated_at: row.updated_at, expires_at: row.expires_at }))
}

/// Keeps a value, in place of what was there, with a line in the audit log that does not have it. `must_be_there` asks for a key
/// that there is.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn keep(
    pool: &PgPool,
    who: Actor<'_>,
    (of, key): (Keeper<'_>, &str),
    (value, expiry): (&Value, Expiry),
    action: &str,
    known: Known,
) -> Result<Keeping, StoreError> {
    let at = of.key;
    let mut transaction = pool.begin().await.doing(KEEPING)?;
    // The run is held, so that it does not go away meanwhile, and two who count at once do not both find room for the last.
    let run = sqlx::query_scalar!(r#"SELECT 1 AS "one!" FROM dag_run WHERE id = $1 FOR NO KEY UPDATE"#, at.run.get());
    if run.fetch_optional(&mut *transaction).await.doing(KEEPING)?.is_none() {
        return Ok(Keeping::Gone);
    }
    let expired = sqlx::query!(
        "DELETE FROM task_state_store WHERE run_id = $1 AND task_idx = $2 AND map_index = $3 AND expires_at <= now()",
        at.run.get(),
        at.task.get(),
        at.map.get()
    );
    expired.execute(&mut *transaction).await.doing(KEEPING)?;
    let others = sqlx::query!(
        r#"SELECT count(*) FILTER (WHERE key <> $4) AS "others!", count(*) FILTER (WHERE key = $4) AS "same!"
           FROM task_state_store WHERE run_id = $1 AND task_idx = $2 AND map_index = $3"#,
        at.run.get(),
        at.task.get(),
        at.map.get(),
        key
    );
    let there = others.fetch_one(&mut *transaction).await.doing(KEEPING)?;
    if there.same == 0 && known == Known::Demanded {
        return Ok(Keeping::Missing);
    }
    if there.same == 0 && there.others >= KEYS_MAX {
        return Ok(Keeping::Full);
    }
    let (is_set, expires_at) = match expiry {
        Expiry::Kept => (false, None),
        Expiry::At(at) => (true, at),
    };
    sqlx::query!(
        "INSERT INTO task_state_store AS s (run_id, task_idx, map_index, key, value, expires_at)
         VALUES ($1, $2, $3, $4, $5::text::json, $6)
         ON CONFLICT (run_id, task_idx, map_index, key) DO UPDATE
         SET value = excluded.value, updated_at = now(),
             expires_at = CASE WHEN $7 THEN excluded.expires_at ELSE s.expires_at END",
        at.run.get(),
        at.task.get(),
        at.map.get(),
        key,
        value.to_string(),
        expires_at,
        is_set
    )
    .execute(&mut *transaction)
    .await
    .doing(KEEPING)?;
    audit::record(&mut *transaction, who, action, &told(of.told, Some(key))).await?;
    transaction.commit().await.doing(KEEPING)?;
    Ok(Keeping::Done)
}

/// Whether a key has to be there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It has.
    Demanded,
    /// It need not.
    NotNeeded,
}

/// Takes away what an instance keeps under a key.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn delete(pool: &PgPool, who: Actor<'_>, of: Keeper<'_>, key: &str) -> Result<(), StoreError> {
    let mut transaction = pool.begin().await.doing(KEEPING)?;
    sqlx::query!(
        "DELETE FROM task_state_store WHERE run_id = $1 AND task_idx = $2 AND map_index = $3 AND key = $4",
        of.key.run.get(),
        of.key.task.get(),
        of.key.map.get(),
        key
    )
    .execute(&mut *transaction)
    .await
    .doing(KEEPING)?;
    audit::record(&mut *transaction, who, "delete_task_state_store", &told(of.told, Some(key))).await?;
    transaction.commit().await.doing(KEEPING)
}

/// Takes away all that an instance keeps, or all that any instance of a task in a run does.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn clear(
    pool: &PgPool,
    who: Actor<'_>,
    (run, task, map): (RunKey, TaskIdx, Option<MapIndex>),
    of: &Value,
) -> Result<(), StoreError> {
    let mut transaction = pool.begin().await.doing(KEEPING)?;
    sqlx::query!(
        "DELETE FROM task_state_store WHERE run_id = $1 AND task_idx = $2 AND ($3::int IS NULL OR map_index = $3)",
        run.get(),
        task.get(),
        map.map(MapIndex::get)
    )
    .execute(&mut *transaction)
    .await
    .doing(KEEPING)?;
    audit::record(&mut *transaction, who, "clear_task_state_store", &told(of, None)).await?;
    transaction.commit().await.doing(KEEPING)
}

fn told(of: &Value, key: Option<&str>) -> Value {
    let mut told = of.clone();
    if let (Some(key), Some(fields)) = (key, told.as_object_mut()) {
        fields.insert("key".to_owned(), key.into());
    }
    told
}
