//! SQL on `model_idle`: statements that changed nothing upon certain snapshots.
//!
//! A row is a hint that saves work: losing one costs a computation, and nobody relies on one being there.

use sqlx::PgPool;
use sqlx::types::Json;
use std::collections::BTreeMap;

/// The current snapshot of each table that a statement reads or writes; none of a table that has never been written to.
pub type Snapshots = BTreeMap<String, Option<i64>>;

/// Statements that are remembered of a table: those of its models, and some that were tried by hand.
const STATEMENTS_KEPT: i64 = 100;

/// A statement on its table.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The table that it changes.
    pub table: &'a str,
    /// Its fingerprint.
    pub statement: &'a [u8],
}

/// Whether a statement is known to change nothing upon these snapshots.
///
/// # Errors
/// PostgreSQL's.
pub async fn known(pool: &PgPool, asked: Asked<'_>, snapshots: &Snapshots) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM model_idle WHERE table_name = $1 AND statement = $2 AND snapshots = $3)",
    )
    .bind(asked.table)
    .bind(asked.statement)
    .bind(Json(snapshots))
    .fetch_one(pool)
    .await
}

/// Notes that a statement changed nothing upon these snapshots, and forgets the oldest notes of the table.
///
/// # Errors
/// PostgreSQL's.
pub async fn note(pool: &PgPool, asked: Asked<'_>, snapshots: &Snapshots) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO model_idle (table_name, statement, snapshots) VALUES ($1, $2, $3)
         ON CONFLICT (table_name, statement) DO UPDATE SET snapshots = $3, noted_at = now()",
    )
    .bind(asked.table)
    .bind(asked.statement)
    .bind(Json(snapshots))
    .execute(pool)
    .await?;
    sqlx::query(
        "DELETE FROM model_idle WHERE table_name = $1 AND statement IN (
             SELECT statement FROM model_idle WHERE table_name = $1 ORDER BY noted_at DESC OFFSET $2)",
    )
    .bind(asked.table)
    .bind(STATEMENTS_KEPT)
    .execute(pool)
    .await?;
    Ok(())
}
