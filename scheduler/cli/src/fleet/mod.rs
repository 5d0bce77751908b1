//! Windlass over several processes and machines: schedulers, api processes, workers, all on one database.
//!
//! Schedulers and api processes have the database and the key; workers have neither, only a join token.

pub mod api;
mod finder;
pub mod scheduler;
pub mod settings;
pub mod worker;

use std::{io, net::SocketAddr, sync::Arc};

use anyhow::{Context, anyhow};
use daemon::cluster::Cluster;
use daemon::worker::Shutdown;
use metrics::{Ask, Listen, Page};
use prometheus_client::registry::Registry;
use sqlx::PgPool;
use store::SecretKey;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;

/// What schedulers and api processes share: the database, the key, the identity.
pub struct Shared {
    /// The state database.
    pub url: String,
    /// A pool on it.
    pub pool: PgPool,
    /// What seals secrets.
    pub key: SecretKey,
    /// Who the cluster is.
    pub cluster: Arc<Cluster>,
}

/// Whether a process may change the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// Brings it up to date, unless `WINDLASS_AUTO_MIGRATE` is false.
    Migrate,
    /// Only looks whether it will do.
    Check,
}

impl Shared {
    /// Connects, sees to the schema, and opens the identity, which is made when there is none.
    ///
    /// # Errors
    /// When the database or the key is missing or wrong.
    pub async fn open(settings: &Settings, schema: Schema) -> anyhow::Result<Self> {
        let url = settings.database_url.clone().context(
            "DATABASE_URL is not set. Schedulers and api processes share one PostgreSQL: \
             postgres://user:password@host:port/database; all on one machine, with a PostgreSQL of its own in \
             WINDLASS_HOME, is `windlass standalone`",
        )?;
        let key = settings::secret_key()?;
        let pool = store::open(&url).await?;
        if schema == Schema::Migrate && settings.auto_migrate {
            store::migrate(&pool).await?;
        } else {
            store::connect::check_schema(&pool).await?;
        }
        let cluster = Arc::new(Cluster::open(pool.clone(), key.clone()).await?);
        Ok(Self { url, pool, key, cluster })
    }
}

/// Cancelled by Ctrl-C and by SIGTERM.
///
/// # Errors
/// When signals can not be awaited.
pub fn on_signal() -> io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let stop = token.clone();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        stop.cancel();
    });
    Ok(token)
}

/// The first Ctrl-C or SIGTERM asks a worker to leave, the second to end now.
///
/// # Errors
/// When signals can not be awaited.
fn on_signals() -> io::Result<Shutdown> {
    let shutdown = Shutdown::default();
    let ask = shutdown.clone();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            ask.ask();
        }
    });
    Ok(shutdown)
}

/// Serves `/metrics` and `/health` for a process that has no other web server, until `stop`.
///
/// # Errors
/// When somebody chose an address that can not be listened on.
async fn show(registry: Registry, health: Ask, listen: Listen, stop: CancellationToken) -> anyhow::Result<()> {
    let Some(address) = listen.address() else { return Ok(()) };
    let served = metrics::serve(Page::new(registry).with_health(health), listen, stop).await;
    served.map(drop).map_err(|error| cannot_listen(error, address, "WINDLASS_METRICS_LISTEN"))
}

/// Says which setting is to blame for an address that can not be listened on.
fn cannot_listen(error: io::Error, address: SocketAddr, variable: &str) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            anyhow!("{address} is in use by another program. Stop it, or set {variable} to a free port")
        }
        io::ErrorKind::AddrNotAvailable => {
            anyhow!("{address} is no address of this machine; set {variable} to one that is")
        }
        _ => anyhow::Error::new(error).context(format!("{address} can not be listened on ({variable})")),
    }
}
