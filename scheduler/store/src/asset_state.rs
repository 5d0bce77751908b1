//! What is kept of an asset under keys, from run to run: Airflow's asset state store. Nothing is decided by it.

use serde_json::{Value, json};
use sqlx::{PgPool, types::Json};

use crate::{
    audit::{self, Actor},
    error::{Doing, StoreError},
    task_state::{KEYS_MAX, Keeping, Kept},
};

const READING: &str = "reading what is kept of an asset";
const KEEPING: &str = "changing what is kept of an asset";

/// A page of what is kept of an asset, by key, and how much there is in all.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn list(pool: &PgPool, asset_id: i64, limit: i64, offset: i64) -> Result<(Vec<Kept>, i64), StoreError> {
    let rows = sqlx::query!(
        r#"SELECT key, value AS "value: Json<Value>", updated_at FROM asset_state_store
           WHERE asset_id = $1 ORDER BY key LIMIT $2 OFFSET $3"#,
        asset_id,
        limit,
        offset
    );
    let rows = rows.fetch_all(pool).await.doing(READING)?;
    let total =
        sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM asset_state_store WHERE asset_id = $1"#, asset_id);
    let total = total.fetch_one(pool).await.doing(READING)?;
    let kept = |(key, value, updated_at)| Kept { key, value, updated_at, expires_at: None };
    Ok((rows.into_iter().map(|row| kept((row.key, row.value.0, row.updated_at))).collect(), total))
}

/// What is kept of an asset under a key.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn one(pool: &PgPool, asset_id: i64, key: &str) -> Result<Option<Kept>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT key, value AS "value: Json<Value>", updated_at FROM asset_state_store WHERE asset_id = $1 AND key = $2"#,
        asset_id,
        key
    );
    let row = row.fetch_optional(pool).await.doing(READING)?;
    Ok(row.map(|row| Kept { key: row.key, value: row.value.0, updated_at: row.updated_at, expires_at: None }))
}

/// Keeps a value, in place of what was there, with a line in the audit log that does not have it.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn keep(
    pool: &PgPool,
    who: Actor<'_>,
    (asset_id, key): (i64, &str),
    value: &Value,
) -> Result<Keeping, StoreError> {
    let mut transaction = pool.begin().await.doing(KEEPING)?;
    // The asset is held, so that two who count at once do not both find room for the last.
    let asset = sqlx::query_scalar!(r#"SELECT 1 AS "one!" FROM asset WHERE id = $1 FOR NO KEY UPDATE"#, asset_id);
    if asset.fetch_optional(&mut *transaction).await.doing(KEEPING)?.is_none() {
        return Ok(Keeping::Gone);
    }
    let others = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM asset_state_store WHERE asset_id = $1 AND key <> $2"#,
        asset_id,
        key
    );
    if others.fetch_one(&mut *transaction).await.doing(KEEPING)? >= KEYS_MAX {
        return Ok(Keeping::Full);
    }
    sqlx::query!(
        "INSERT INTO asset_state_store (asset_id, key, value) VALUES ($1, $2, $3::text::json)
         ON CONFLICT (asset_id, key) DO UPDATE SET value = excluded.value, updated_at = now()",
        asset_id,
        key,
        value.to_string()
    )
    .execute(&mut *transaction)
    .await
    .doing(KEEPING)?;
    let told = json!({ "asset_id": asset_id, "key": key });
    audit::record(&mut *transaction, who, "set_asset_state_store", &told).await?;
    transaction.commit().await.doing(KEEPING)?;
    Ok(Keeping::Done)
}

/// Takes away what is kept of an asset: under a key, or all of it.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn delete(pool: &PgPool, who: Actor<'_>, asset_id: i64, key: Option<&str>) -> Result<(), StoreError> {
    let mut transaction = pool.begin().await.doing(KEEPING)?;
    sqlx::query!("DELETE FROM asset_state_store WHERE asset_id = $1 AND ($2::text IS NULL OR key = $2)", asset_id, key)
        .execute(&mut *transaction)
        .await
        .doing(KEEPING)?;
    let (action, told) = match key {
        Some(key) => ("delete_asset_state_store", json!({ "asset_id": asset_id, "key": key })),
        None => ("clear_asset_state_store", json!({ "asset_id": asset_id })),
    };
    audit::record(&mut *transaction, who, action, &told).await?;
    transaction.commit().await.doing(KEEPING)
}
