//! The databases of the private PostgreSQL: one for the state, one for the lake, and a role for the lake that can not
//! see the state.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::{ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};

/// Owns the cluster and the state.
pub(super) const STATE_ROLE: &str = "windlass";
const STATE_DATABASE: &str = "windlass";
/// The catalogue, watermarks, event log and registry; given to tasks.
const LAKE_ROLE: &str = "windlass_lake";
const LAKE_DATABASE: &str = "windlass_lake";
/// The database that every cluster has.
const FIRST_DATABASE: &str = "postgres";
/// A living server answers at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The passwords of a cluster: random, and made of hexadecimal digits, so that they need no quoting anywhere.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Passwords {
    pub state: String,
    pub lake: String,
}

impl Passwords {
    pub(super) fn generate() -> Self {
        let random = || format!("{:032x}", rand::random::<u128>());
        Self { state: random(), lake: random() }
    }

    /// Where the databases are, when the server listens on a port.
    pub(super) fn urls(&self, port: u16) -> Urls {
        Urls::on_loopback(port, &self.state, &self.lake)
    }
}

/// Where the databases of an installation are. They hold passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct Urls {
    /// The state: `store` alone uses it.
    pub state: String,
    /// The lake and the event log: `windlass-tasks` uses it.
    pub lake: String,
}

impl std::fmt::Debug for Urls {
    /// Shows no password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = |url: &str| url.rsplit_once('@').map_or_else(String::new, |(_, place)| place.to_owned());
        f.debug_struct("Urls").field("state", &place(&self.state)).field("lake", &place(&self.lake)).finish()
    }
}

impl Urls {
    pub(super) fn on_loopback(port: u16, state_password: &str, lake_password: &str) -> Self {
        Self {
            state: format!(
                "postgres://{STATE_ROLE}:{state_password}@127.0.0.1:{port}/{STATE_DATABASE}?sslmode=disable"
            ),
            lake: format!("postgres://{LAKE_ROLE}:{lake_password}@127.0.0.1:{port}/{LAKE_DATABASE}?sslmode=disable"),
        }
    }
}

/// Connects to the database that is there from the beginning, to see whether the server answers.
pub(super) async fn reach(urls: &Urls) -> Result<PgConnection, sqlx::Error> {
    let options: PgConnectOptions = urls.state.parse()?;
    let connecting = options.database(FIRST_DATABASE).disable_statement_logging();
    tokio::time::timeout(CONNECT_TIMEOUT, connecting.connect())
        .await
        .map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))?
}

/// Makes what is missing of roles and databases. A start that was killed halfway is mended by the next.
pub(super) async fn prepare(urls: &Urls, passwords: &Passwords) -> Result<(), sqlx::Error> {
    let mut connection = reach(urls).await?;
    if !exists(&mut connection, "SELECT 1 FROM pg_roles WHERE rolname = $1", LAKE_ROLE).await? {
        let create = format!("CREATE ROLE {LAKE_ROLE} LOGIN PASSWORD '{}'", passwords.lake);
        sqlx::query(&create).execute(&mut connection).await?;
    }
    for (database, owner) in [(STATE_DATABASE, STATE_ROLE), (LAKE_DATABASE, LAKE_ROLE)] {
        if !exists(&mut connection, "SELECT 1 FROM pg_database WHERE datname = $1", database).await? {
            sqlx::query(&format!("CREATE DATABASE {database} OWNER {owner}")).execute(&mut connection).await?;
        }
    }
    for database in [STATE_DATABASE, FIRST_DATABASE] {
        sqlx::query(&format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC")).execute(&mut connection).await?;
    }
    connection.close().await
}

async fn exists(connection: &mut PgConnection, question: &str, name: &str) -> Result<bool, sqlx::Error> {
    Ok(sqlx::query(question).bind(name).fetch_optional(connection).await?.is_some())
}
