//! The worker: it is assigned attempts and services, runs them, and reports.
//!
//! It decides nothing. While its leader is away it goes on, keeps its reports, and looks for whichever leader the
//! endpoint names next. Its guard makes sure that nothing outlives it.

mod attempts;
mod core;
mod event;
mod host;
mod identity;
mod keeper;
mod log_reads;
mod reports;
mod service;
mod services;
mod session;
mod settings;

use std::{io, path::PathBuf, sync::Arc};

use link::Connector;
use tokio_util::sync::CancellationToken;

use self::{core::Core, identity::Identity, keeper::Keeper};

pub use settings::WorkerSettings;

/// A worker could not start, or had to give up.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Its directory can not be used.
    #[error("using the log directory {}: {error}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another worker has the directory, or its guard still ends what it left.
    #[error("another worker uses the log directory {}, or its guard still ends its processes; give each worker its own", dir.display())]
    Busy {
        /// The directory.
        dir: PathBuf,
    },
    /// Without a guard no process may start.
    #[error("starting the guard: {0}")]
    Guard(io::Error),
}

/// Runs a worker until `shutdown`; then its services are stopped, its attempts end as lost, and their ends are reported.
///
/// # Errors
/// [`WorkerError`] when it can not start.
pub async fn run(
    settings: WorkerSettings,
    connector: Arc<dyn Connector>,
    shutdown: CancellationToken,
) -> Result<(), WorkerError> {
    let identity = Identity::open(&settings.log_dir).await?;
    let temp_dir = settings.temp_dir.join(format!("worker-{}", identity.id()));
    clear(&temp_dir).await;
    let (keeper, pipe) = Keeper::start(&settings, &identity).map_err(WorkerError::Guard)?;
    let core = Core::new(settings, &identity, temp_dir.clone(), pipe, connector)?;
    let keeping = keeper.keep(core.context(), core.events());
    core.run(shutdown).await;
    keeping.finish().await;
    clear(&temp_dir).await;
    Ok(())
}

/// Removes what attempts of a killed worker have left: the lock says that none of them lives.
async fn clear(temp_dir: &std::path::Path) {
    match tokio::fs::remove_dir_all(temp_dir).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, dir = %temp_dir.display(), "old working directories could not be removed");
        }
        Ok(()) | Err(_) => {}
    }
}
