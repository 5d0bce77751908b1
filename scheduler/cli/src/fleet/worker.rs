//! `windlass worker`: runs attempts for the leader of the moment, wherever that is. It has no access to the database.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::bail;
use clap::Args;
use daemon::{
    home::Home,
    worker::{self, DRAIN_MAX_DEFAULT, WorkerSettings},
};
use executor::docker::{DockerPolicy, Mounts, Rights};
use link::transport::{
    Connector, UnixConnector,
    tls::{Caller, Finder, JoinToken, ListedEndpoints, TcpConnector, WorkerFiles},
};

use metrics::Listen;
use tokio_util::sync::CancellationToken;

use super::{
    finder::ApiFinder,
    on_signals,
    settings::{self as fleet, FleetSettings},
    show,
};
use crate::{
    production::Deployment,
    settings::Settings,
    standalone::{worker::run_file, worker_log},
};

/// Options of `worker`; each stands above its variable.
#[derive(Debug, Args)]
pub struct Worker {
    /// API processes that tell where the leader is, separated by commas [env: WINDLASS_API_URL]
    #[arg(long, value_name = "URLS")]
    api_url: Option<String>,
    /// Or schedulers, of which one leads, separated by commas [env: WINDLASS_LEADER_ENDPOINTS]
    #[arg(long, value_name = "HOST:PORT,…", conflicts_with = "api_url")]
    leader_endpoints: Option<String>,
    /// A name for people [env: WINDLASS_WORKER_NAME] [default: host:pid]
    #[arg(long)]
    name: Option<String>,
    /// How many attempts run at once [env: WINDLASS_WORKER_SLOTS] [default: 16]
    #[arg(long)]
    slots: Option<u32>,
    /// The queues it serves, separated by commas [env: WINDLASS_WORKER_QUEUES] [default: default]
    #[arg(long)]
    queues: Option<String>,
    /// Where logs and its identity lie, for it alone [env: WINDLASS_WORKER_LOG_DIR] [default: WINDLASS_HOME/logs]
    #[arg(long, value_name = "FOLDER")]
    log_dir: Option<PathBuf>,
    /// How long its attempts may go on when it is asked to end, in seconds; then they are handed back and run elsewhere, at
    /// no cost. A second signal ends it at once [env: WINDLASS_WORKER_DRAIN_SECS] [default: 600]
    #[arg(long, value_name = "SECONDS")]
    drain_secs: Option<u32>,
    /// Where to serve /metrics for Prometheus, or off [env: WINDLASS_METRICS_LISTEN] [default: 127.0.0.1:8086]
    #[arg(long, value_name = "IP:PORT")]
    metrics_listen: Option<Listen>,
    /// Work for the standalone of this home, over its socket.
    #[arg(long, hide = true, conflicts_with_all = ["api_url", "leader_endpoints"])]
    local: bool,
    /// What tells its settings from others, for the standalone that adopts it.
    #[arg(long, hide = true, requires = "local")]
    fingerprint: Option<String>,
}

/// Where a worker serves metrics unless it is told otherwise.
const METRICS_PORT: u16 = 8086;

impl Worker {
    /// What the options say stands above what the environment says.
    fn over(self, settings: &Settings) -> anyhow::Result<(FleetSettings, u32)> {
        let mut fleet = settings.fleet.clone();
        if let Some(list) = self.api_url {
            fleet.api_urls = fleet::parse_api_urls(&list)?;
            fleet.leader_endpoints.clear();
        }
        if let Some(list) = self.leader_endpoints {
            fleet.leader_endpoints = fleet::parse_leaders(&list)?;
            fleet.api_urls.clear();
        }
        if let Some(list) = self.queues {
            fleet.worker_queues = Some(fleet::parse_queues(&list)?);
        }
        fleet.worker_name = self.name.or(fleet.worker_name);
        fleet.worker_log_dir = self.log_dir.or(fleet.worker_log_dir);
        fleet.metrics_listen = self.metrics_listen.or(fleet.metrics_listen);
        fleet.worker_drain = self.drain_secs.map(|secs| Duration::from_secs(secs.into())).or(fleet.worker_drain);
        Ok((fleet, self.slots.unwrap_or(settings.worker_slots)))
    }
}

/// Runs until Ctrl-C or SIGTERM.
///
/// # Errors
/// When a setting is wrong, or its folders or its guard can not be had.
pub async fn run(settings: &Settings, options: Worker) -> anyhow::Result<ExitCode> {
    settings.deployment.check_credentials()?;
    let home = Home::open(&settings.home)?;
    let (local, fingerprint) = (options.local, options.fingerprint.clone());
    let (fleet, slots) = options.over(settings)?;
    let docker = docker_policy(&fleet, settings.deployment);
    if slots == 0 {
        bail!("a worker with 0 slots could run nothing; use 1 or more");
    }
    let connector: Arc<dyn Connector> = if local {
        Arc::new(UnixConnector::new(home.endpoint_file()))
    } else {
        let log_dir = fleet.worker_log_dir.clone().unwrap_or_else(|| home.logs());
        let caller = Caller::worker(&fleet::join_token()?, WorkerFiles::new(log_dir))?;
        Arc::new(TcpConnector::new(caller, finder(&fleet)?))
    };
    let mut worker = WorkerSettings::new(fleet.worker_log_dir.unwrap_or_else(|| home.logs()), home.temporary());
    worker.program_dir = settings.program_dir()?;
    worker.slots = slots;
    worker.limits = settings.task_limits;
    worker.queues = fleet.worker_queues.unwrap_or(worker.queues);
    worker.name = fleet.worker_name.unwrap_or(worker.name);
    worker.logs_remote.clone_from(&settings.logs_remote);
    worker.keep_logs = settings.keep_logs;
    worker.lake = settings
        .lake_database_url
        .clone()
        .map(|database_url| executor::LakeSettings { database_url, warehouse: settings.warehouse.clone() });
    // A standalone ends when it is asked to; whoever wants its attempts to go on for a while sets how long.
    let drain_default = if local { Duration::ZERO } else { DRAIN_MAX_DEFAULT };
    worker.drain_max = fleet.worker_drain.unwrap_or(drain_default);
    worker.docker = docker;
    if let Some(fingerprint) = fingerprint {
        worker.run_file = Some(run_file(&home, fingerprint)?);
        tokio::spawn(worker_log::keep_short(worker_log::path(&home)));
    }
    let (shutdown, over) = (on_signals()?, CancellationToken::new());
    let _over = over.clone().drop_guard();
    let mut registry = metrics::registry(env!("CARGO_PKG_VERSION"));
    worker.metrics.register(&mut registry);
    let health = worker.metrics.clone();
    let listen = fleet.metrics_listen.unwrap_or_else(|| Listen::usually(METRICS_PORT));
    show(registry, Arc::new(move || health.health()), listen, over).await?;
    worker::run(worker, connector, shutdown).await?;
    Ok(ExitCode::SUCCESS)
}

/// In production nothing of the machine is shown to containers that nobody has named.
fn docker_policy(fleet: &FleetSettings, deployment: Deployment) -> DockerPolicy {
    let usual = match deployment {
        Deployment::Local => Mounts::Any,
        Deployment::Production => Mounts::Below(Vec::new()),
    };
    DockerPolicy {
        rights: if fleet.docker_privileged { Rights::AsAsked } else { Rights::Usual },
        mounts: fleet.docker_mounts.clone().unwrap_or(usual),
    }
}

fn finder(fleet: &FleetSettings) -> anyhow::Result<Arc<dyn Finder>> {
    let token: JoinToken = fleet::join_token()?;
    match (fleet.api_urls.is_empty(), fleet.leader_endpoints.is_empty()) {
        (false, true) => Ok(Arc::new(ApiFinder::new(fleet.api_urls.clone(), &token)?)),
        (true, false) => Ok(Arc::new(ListedEndpoints(fleet.leader_endpoints.clone()))),
        (true, true) => bail!(
            "a worker has to know where to ask for the leader: set WINDLASS_API_URL (http://host:port of api processes) or \
             WINDLASS_LEADER_ENDPOINTS (host:port of schedulers)"
        ),
        (false, false) => bail!("WINDLASS_API_URL and WINDLASS_LEADER_ENDPOINTS are both set; use one of them"),
    }
}
