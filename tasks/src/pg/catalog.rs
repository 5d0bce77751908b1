//! SQL on the Iceberg catalogue's own table, `iceberg_tables`.
//!
//! What always holds: a table's `metadata_location` changes only from the value that the writer built upon
//! ([`swap`]), so a commit never overwrites another one.

use sqlx::{PgConnection, PgExecutor};

/// Value of `catalog_name` in every row of ours; readers have to be configured with the same name.
pub const CATALOG_NAME: &str = "lake";

/// A table's key in the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct CatalogKey<'a> {
    /// Namespace, its levels joined by dots.
    pub namespace: &'a str,
    /// Name within the namespace.
    pub name: &'a str,
}

/// The metadata files that a swap goes between.
#[derive(Debug, Clone, Copy)]
pub struct Locations<'a> {
    /// What the catalogue has to hold for the swap to happen.
    pub old: &'a str,
    /// What it holds afterwards.
    pub new: &'a str,
}

/// The current metadata file of a table; `None` when there is no such table.
///
/// # Errors
/// PostgreSQL's.
pub async fn metadata_location(db: impl PgExecutor<'_>, key: CatalogKey<'_>) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT metadata_location FROM iceberg_tables
         WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3
           AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL) AND metadata_location IS NOT NULL",
    )
    .bind(CATALOG_NAME)
    .bind(key.namespace)
    .bind(key.name)
    .fetch_optional(db)
    .await
}

/// The current metadata file of a table, after every transaction that was changing it has ended.
///
/// # Errors
/// PostgreSQL's.
pub async fn settled_metadata_location(
    connection: &mut PgConnection,
    key: CatalogKey<'_>,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT metadata_location FROM iceberg_tables
         WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3 AND metadata_location IS NOT NULL
         FOR UPDATE",
    )
    .bind(CATALOG_NAME)
    .bind(key.namespace)
    .bind(key.name)
    .fetch_optional(connection)
    .await
}

/// All tables, as (namespace, name), in order.
///
/// # Errors
/// PostgreSQL's.
pub async fn tables(db: impl PgExecutor<'_>) -> Result<Vec<(String, String)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT table_namespace, table_name FROM iceberg_tables
         WHERE catalog_name = $1 AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL)
         ORDER BY table_namespace, table_name",
    )
    .bind(CATALOG_NAME)
    .fetch_all(db)
    .await
}

/// Whether [`swap`] happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// The row names the new metadata file once the transaction commits.
    Done,
    /// Somebody else committed to the table first; nothing was changed.
    Lost,
}

/// Compare-and-swap of a table's metadata file.
///
/// # Errors
/// PostgreSQL's.
pub async fn swap(connection: &mut PgConnection, key: CatalogKey<'_>, to: Locations<'_>) -> Result<Swap, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE iceberg_tables SET metadata_location = $1, previous_metadata_location = $2
         WHERE catalog_name = $3 AND table_namespace = $4 AND table_name = $5
           AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL) AND metadata_location = $2",
    )
    .bind(to.new)
    .bind(to.old)
    .bind(CATALOG_NAME)
    .bind(key.namespace)
    .bind(key.name)
    .execute(connection)
    .await?;
    Ok(if done.rows_affected() == 1 { Swap::Done } else { Swap::Lost })
}

/// Waits for others that are making the same thing outside the catalogue, and keeps them waiting until the transaction
/// ends.
///
/// # Errors
/// PostgreSQL's.
pub async fn lock_making(connection: &mut PgConnection, what: &str) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))").bind(what).execute(connection).await?;
    Ok(())
}
