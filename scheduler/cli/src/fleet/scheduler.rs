//! `windlass scheduler`: leads, or stands by until it is needed.

use std::{process::ExitCode, sync::Arc};

use clap::Args;
use daemon::leader::{self, DagSource, Ear, LeaderMetrics, LeaderSettings, NetworkAcceptor};
use link::transport::tls::Door;
use metrics::Listen;

use super::{Schema, Shared, cannot_listen, on_signal, settings as fleet, show};
use crate::settings::Settings;

/// Options of `scheduler`; each stands above its variable.
#[derive(Debug, Args)]
pub struct Scheduler {
    /// Where to listen for workers and api processes, always with TLS [env: WINDLASS_LINK_LISTEN] [default: 127.0.0.1:8084]
    #[arg(long, value_name = "IP:PORT", value_parser = fleet::parse_listen)]
    listen: Option<std::net::SocketAddr>,
    /// The address under which they reach this process [env: WINDLASS_LINK_ADVERTISE] [default: where it listens]
    #[arg(long, value_name = "HOST:PORT", value_parser = fleet::parse_advertise)]
    advertise: Option<String>,
    /// Where to serve /metrics for Prometheus, or off [env: WINDLASS_METRICS_LISTEN] [default: 127.0.0.1:8085]
    #[arg(long, value_name = "IP:PORT")]
    metrics_listen: Option<Listen>,
}

/// Where a scheduler serves metrics unless it is told otherwise.
const METRICS_PORT: u16 = 8085;

/// Runs until Ctrl-C or SIGTERM.
///
/// # Errors
/// When a setting is wrong, or the database can not be used.
pub async fn run(settings: &Settings, options: Scheduler) -> anyhow::Result<ExitCode> {
    settings.check()?;
    let mut fleet = settings.fleet.clone();
    fleet.link_listen = options.listen.unwrap_or(fleet.link_listen);
    fleet.link_advertise = options.advertise.or(fleet.link_advertise);
    let listen = options.metrics_listen.or(fleet.metrics_listen).unwrap_or_else(|| Listen::usually(METRICS_PORT));
    let shared = Shared::open(settings, Schema::Migrate).await?;
    let shutdown = on_signal()?;
    let metrics = LeaderMetrics::default();
    let mut registry = metrics::registry(env!("CARGO_PKG_VERSION"));
    metrics.register(&mut registry);
    let health = metrics.clone();
    show(registry, Arc::new(move || health.health()), listen, shutdown.clone()).await?;
    let ear = Ear::new(leader::news_channel(), shutdown);
    let door = Door::open(fleet.link_listen, shared.cluster.authority(), shared.cluster.clone(), ear.standing());
    let door = door.await.map_err(|error| cannot_listen(error, fleet.link_listen, "WINDLASS_LINK_LISTEN"))?;
    let endpoint = fleet.advertised(door.address()?)?;
    tracing::info!("workers and api processes find this scheduler at {endpoint}");
    let acceptor = NetworkAcceptor::new(door, Arc::new(ear.port()), ear.standing());
    let leader = LeaderSettings {
        database_url: shared.url,
        name: format!("{}:{}", fleet::host_name(), std::process::id()),
        endpoint,
        dags: DagSource::Folder(settings.dags_folder.clone()),
        bundles: Arc::clone(&settings.bundles),
        secret_key: shared.key,
        secrets: settings.secrets_backends()?,
        metrics,
        retention: settings.retention,
        engine: settings.engine.clone(),
    };
    leader::run(leader, Box::new(acceptor), ear).await?;
    Ok(ExitCode::SUCCESS)
}
