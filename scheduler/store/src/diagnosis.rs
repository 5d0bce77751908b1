//! What `windlass doctor` asks the state database.

use model::Timestamp;
use sqlx::PgPool;

use crate::error::{Doing, StoreError};

/// How the database and what lies in it stand.
#[derive(Debug, Clone)]
pub struct Diagnosis {
    /// PostgreSQL's version, as `server_version`.
    pub server_version: String,
    /// Its clock.
    pub clock: Timestamp,
    /// Connections that it allows.
    pub connections_max: i64,
    /// Connections that are open.
    pub connections: i64,
    /// Whether the role may do everything.
    pub is_superuser: bool,
    /// Whether the server only follows another one, and can not be written to.
    pub is_standby: bool,
    /// Whether this connection is encrypted, or local.
    pub is_private: bool,
    /// Bytes of the database.
    pub bytes: i64,
    /// The leader's name; empty when nobody has led yet.
    pub leader: String,
    /// Commands that wait for the leader.
    pub waiting_commands: i64,
    /// Seconds since the oldest of them was sent.
    pub oldest_command_secs: f64,
    /// Commands and other things that were put aside.
    pub quarantined: i64,
    /// Files with errors.
    pub broken_files: i64,
    /// Runs that are kept, as PostgreSQL has last estimated them.
    pub runs_kept: i64,
}

/// Asks.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn diagnose(pool: &PgPool) -> Result<Diagnosis, StoreError> {
    sqlx::query_file_as!(Diagnosis, "queries/diagnosis.sql").fetch_one(pool).await.doing("looking at the database")
}

/// The lease's number, which a living leader raises each second.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn lease(pool: &PgPool) -> Result<i64, StoreError> {
    sqlx::query_scalar!("SELECT seq FROM leader_lease").fetch_one(pool).await.doing("looking at the lease")
}
