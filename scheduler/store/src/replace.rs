//! What `windlass db restore` has to know and do before a backup takes the place of what a database holds.

use sqlx::PgPool;

use crate::error::{Doing, StoreError};

/// Drops everything that belongs to the role in its database, tables of a newer version too. Run in the transaction that restores.
pub const DROP_OWN: &str = include_str!("../queries/own_objects_drop.sql");

/// Whether the role has nothing in its database that a backup would replace; also asked of the lake's database.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn is_empty(pool: &PgPool) -> Result<bool, StoreError> {
    sqlx::query_file_scalar!("queries/own_objects_none.sql").fetch_one(pool).await.doing("looking at the database")
}

/// The major version of the server, such as 16.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn server_major(pool: &PgPool) -> Result<u32, StoreError> {
    let version = crate::connect::server_version(pool).await?;
    Ok(u32::try_from(version / 10_000).unwrap_or_default())
}
