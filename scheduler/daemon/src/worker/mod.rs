//! The worker: it is assigned attempts and services, runs them, and reports.
//!
//! It decides nothing. While its leader is away it goes on, keeps its reports, and looks for whichever leader the
//! endpoint names next. Its guard makes sure that nothing outlives it.

mod attempts;
mod containers;
mod core;
mod ends;
mod engine_watch;
mod event;
mod host;
mod identity;
mod keeper;
mod log_reads;
mod log_retention;
mod metrics;
mod notices;
mod packed;
mod reports;
mod service;
mod services;
mod session;
mod settings;
mod shipping;
mod shutdown;
mod spool;
mod trials;
mod waits;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use executor::{
    docker,
    process::{Cgroups, GroupRegister, Launchers, NoCgroups, Recipe},
};
use link::Connector;
use tokio_util::task::AbortOnDropHandle;

use self::{
    containers::{Containers, TakenUp},
    core::{Core, Places},
    engine_watch::Engine,
    identity::Identity,
    keeper::Keeper,
    reports::Reports,
    shipping::Shipping,
};

pub use self::metrics::WorkerMetrics;
pub use settings::{DRAIN_MAX_DEFAULT, RunFile, WorkerSettings};
pub use shutdown::Shutdown;

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
    /// What attempts may use is to be limited, and can not be.
    #[error("limiting what attempts may use: {0}")]
    Limits(NoCgroups),
}

/// Runs a worker until it is asked to end. It tells the leader that it leaves, takes nothing new, and lets its attempts run
/// for as long as its settings allow; then its services are stopped, what still runs is handed back, and that is reported.
///
/// # Errors
/// [`WorkerError`] when it can not start.
pub async fn run(
    settings: WorkerSettings,
    connector: Arc<dyn Connector>,
    shutdown: impl Into<Shutdown>,
) -> Result<(), WorkerError> {
    let identity = Identity::open(&settings.log_dir).await?;
    if let Some(file) = &settings.run_file {
        file.write().map_err(|error| unusable(&settings, error))?;
    }
    let temp_dir = settings.temp_dir.join(format!("worker-{}", identity.id()));
    let reports = Reports::open(&settings.log_dir).map_err(|error| unusable(&settings, error))?;
    let mut containers = Containers::open(&settings.log_dir).map_err(|error| unusable(&settings, error))?;
    let shipping = Shipping::open(&settings).map_err(|error| unusable(&settings, error))?;
    let taken_up = containers.take_up(identity.id(), &reports.ended_attempts()).await;
    clear(&temp_dir, &taken_up).await;
    let mut settings = settings;
    Engine::look().await.change(&mut settings.capabilities);
    let cgroups = cgroups(&settings, &identity)?;
    let dir = cgroups.as_ref().map(|cgroups| cgroups.dir().to_owned());
    let (keeper, pipe) = Keeper::start(&settings, &identity, dir).map_err(WorkerError::Guard)?;
    let groups = Arc::new(GroupRegister::new(pipe));
    let recipe = Recipe { command: settings.launcher_command.clone(), worker: identity.id(), cgroups };
    let launchers = Launchers::new(recipe, Arc::clone(&groups)).map_err(|error| unusable(&settings, error))?;
    let places = Places { temp_dir: temp_dir.clone(), groups, launchers, shipping: shipping.clone() };
    let mut core = Core::new(settings, &identity, places, (reports, containers), connector);
    core.take_up(taken_up);
    let shipper = shipping.start();
    let watch = tokio::spawn(engine_watch::watch(core.events()));
    let keeping = keeper.keep(core.context(), core.events());
    // On the runtime's threads, as its attempts and its connection: else each message would wait for another thread to wake.
    let working = AbortOnDropHandle::new(tokio::spawn(core.run(shutdown.into())));
    if let Some(panic) = working.await.err().and_then(|error| error.try_into_panic().ok()) {
        std::panic::resume_unwind(panic);
    }
    watch.abort();
    shipper.finish().await;
    keeping.finish().await;
    clear(&temp_dir, &[]).await;
    Ok(())
}

/// Control groups, where they can be had. Only limits can not do without them.
fn cgroups(settings: &WorkerSettings, identity: &Identity) -> Result<Option<Cgroups>, WorkerError> {
    match Cgroups::open(identity.id(), settings.limits) {
        Ok(cgroups) => Ok(Some(cgroups)),
        Err(error) if settings.limits == Default::default() => {
            tracing::info!(%error, "attempts get no control groups; what they start is found by its ancestors");
            Ok(None)
        }
        Err(error) => Err(WorkerError::Limits(error)),
    }
}

fn unusable(settings: &WorkerSettings, error: io::Error) -> WorkerError {
    WorkerError::Directory { dir: settings.log_dir.clone(), error }
}

/// Removes what attempts of a killed worker have left: the lock says that none of them lives, but for those in containers.
async fn clear(temp_dir: &Path, taken_up: &[TakenUp]) {
    let living: BTreeSet<String> =
        taken_up.iter().map(|one| format!("{}{}", docker::TMP_PREFIX, one.assignment.attempt)).collect();
    let dir = temp_dir.to_owned();
    let cleared = tokio::task::spawn_blocking(move || clear_but(&dir, &living)).await;
    match cleared.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, dir = %temp_dir.display(), "old working directories could not be removed");
        }
        Ok(()) | Err(_) => {}
    }
}

fn clear_but(dir: &Path, living: &BTreeSet<String>) -> io::Result<()> {
    if living.is_empty() {
        return fs::remove_dir_all(dir);
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if living.contains(entry.file_name().to_string_lossy().as_ref()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
