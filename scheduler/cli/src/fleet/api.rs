//! `windlass api`: the web server alone. Any number of them serve one cluster; a login at one is good at all.

use std::{process::ExitCode, sync::Arc};

use clap::Args;
use daemon::cluster::SeatFinder;
use link::RemotePort;
use tokio::net::TcpListener;
use webui::{AppSettings, CookieScope, Secret};

use super::{Shared, cannot_listen, on_signal};
use crate::settings::Settings;

/// Options of `api`; each stands above its variable.
#[derive(Debug, Args)]
pub struct Api {
    /// The port of the UI and the REST API, on 127.0.0.1 [env: WINDLASS_PORT] [default: 8083]
    #[arg(long)]
    port: Option<u16>,
}

/// Runs until Ctrl-C or SIGTERM.
///
/// # Errors
/// When a setting is wrong, or the database can not be used.
pub async fn run(settings: &Settings, options: &Api) -> anyhow::Result<ExitCode> {
    let mut settings = settings.clone();
    settings.port = options.port.unwrap_or(settings.port);
    let address = settings.address().into();
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|error| cannot_listen(error, address, "WINDLASS_PORT"))?;
    let shared = Shared::open(&settings).await?;
    if store::users::all(&shared.pool).await?.is_empty() {
        tracing::warn!("there is no user yet, so nobody can log in: `windlass users create` makes one");
    }
    let secret = Secret::new(shared.cluster.signing_secret().await?.reveal().as_bytes())?;
    let mut app = AppSettings::new(secret, shared.key.clone());
    app.log_archive = settings.log_archive();
    app.cookie = if settings.fleet.api_behind_tls { CookieScope::Secure } else { CookieScope::Plain };
    let leader = RemotePort::new(shared.cluster.caller()?, Arc::new(SeatFinder(shared.pool.clone())));
    let shutdown = on_signal()?;
    tracing::info!("the UI is on http://{address}");
    webui::serve(app, listener, shared.pool, Arc::new(leader), shutdown).await?;
    Ok(ExitCode::SUCCESS)
}
