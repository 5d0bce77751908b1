//! The only SQL of the lake database: catalogue, watermarks, event log, registry and finite sources.
//!
//! Functions take the connection or pool that they are given; a caller that must join several changes owns the
//! transaction. [`connect`] brings the schema to this binary's version before anything else uses the pool.

pub mod catalog;
pub mod group;
pub mod idle;
pub mod log;
pub mod registry;
pub mod stream;
pub mod watermark;

use pgconnect::{NoTarget, Target, is_out_of_transactions};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use std::time::Duration;

/// Enough for a worker's reader, writer, notifications and catalogue at once, and few enough for a small server.
const CONNECTIONS_MAX: u32 = 8;
/// How long a worker waits for a PostgreSQL that is just starting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Set on each connection. Plans are made while tables are empty and kept; without these they would stay sequential scans.
const SESSION: [(&str, &str); 5] = [
    ("jit", "off"),
    ("enable_seqscan", "off"),
    ("synchronous_commit", "on"),
    ("lock_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "60s"),
];

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Why the lake database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum PgError {
    /// The URL is none.
    #[error("WINDLASS_LAKE_DATABASE_URL is not a PostgreSQL URL: {0}")]
    Url(NoTarget),
    /// No connection could be made.
    #[error("cannot connect to the lake database: {0}")]
    Connect(sqlx::Error),
    /// The schema could not be brought to this version.
    #[error("cannot migrate the lake database: {0}")]
    Migrate(sqlx::migrate::MigrateError),
}

/// Connects, and migrates the database when it is older than this binary. Concurrent starts wait for one another.
///
/// # Errors
/// When the server cannot be reached within [`CONNECT_TIMEOUT`] or a migration fails.
pub async fn connect(url: &str) -> Result<PgPool, PgError> {
    let target = Target::parse(url).map_err(PgError::Url)?.map(|options| options.options(SESSION));
    let options = target.settled_within(CONNECT_TIMEOUT).await.map_err(PgError::Connect)?;
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(CONNECT_TIMEOUT)
        .before_acquire(|connection, _| Box::pin(is_out_of_transactions(connection)))
        // That question is answered by a connection that is alive, and by no other.
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .map_err(PgError::Connect)?;
    migrate(&pool).await?;
    Ok(pool)
}

/// Applies the missing migrations under an advisory lock.
async fn migrate(pool: &PgPool) -> Result<(), PgError> {
    // The migrator takes PostgreSQL's advisory lock itself, and passes over what is applied.
    MIGRATIONS.run(pool).await.map_err(PgError::Migrate)
}
