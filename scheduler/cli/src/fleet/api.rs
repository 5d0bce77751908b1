//! `windlass api`: the web server alone. Any number of them serve one cluster; a login at one is good at all.

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use anyhow::bail;
use clap::Args;
use daemon::cluster::SeatFinder;
use link::RemotePort;
use tokio::net::TcpListener;
use webui::{AppSettings, CookieScope, Secret};

use super::{Schema, Shared, cannot_listen, on_signal, settings as fleet};
use crate::{
    production::{Deployment, refuse_default_login},
    settings::Settings,
};

/// Options of `api`; each stands above its variable.
#[derive(Debug, Args)]
pub struct Api {
    /// The port of the UI and the REST API, on 127.0.0.1 [env: WINDLASS_PORT] [default: 8083]
    #[arg(long, conflicts_with = "listen")]
    port: Option<u16>,
    /// An address of this machine to listen on instead: plain HTTP, so behind a TLS proxy or in a network of its own
    /// [env: WINDLASS_API_LISTEN]
    #[arg(long, value_name = "IP:PORT", value_parser = fleet::parse_listen)]
    listen: Option<SocketAddr>,
}

impl Api {
    /// An option stands above a variable, an address above a port.
    fn address(&self, settings: &Settings) -> SocketAddr {
        let here = |port| SocketAddr::from((*settings.address().ip(), port));
        match (self.listen, self.port) {
            (Some(address), _) => address,
            (None, Some(port)) => here(port),
            (None, None) => settings.fleet.api_listen.unwrap_or_else(|| here(settings.port)),
        }
    }
}

/// Runs until Ctrl-C or SIGTERM.
///
/// # Errors
/// When a setting is wrong, or the database can not be used.
pub async fn run(settings: &Settings, options: &Api) -> anyhow::Result<ExitCode> {
    settings.deployment.check_credentials()?;
    let address = options.address(settings);
    check_reach(address, settings)?;
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|error| cannot_listen(error, address, "WINDLASS_PORT or WINDLASS_API_LISTEN"))?;
    let shared = Shared::open(settings, Schema::Migrate).await?;
    refuse_default_login(&shared.pool, settings.deployment).await?;
    if !store::users::are_there_any(&shared.pool).await? {
        tracing::warn!("there is no user yet, so nobody can log in: `windlass users create` makes one");
    }
    let secret = Secret::new(shared.cluster.signing_secret().await?.reveal().as_bytes())?;
    let mut app = AppSettings::new(secret, shared.key.clone());
    app.log_archive = settings.log_archive();
    app.exposed = crate::exposed::settings()?;
    app.trusted_proxies = settings.trusted_proxies.clone();
    app.password_chars_min = settings.password_chars_min;
    app.oidc = settings.identity_provider()?;
    app.local_logins = settings.local_logins;
    app.connection_tests = settings.connection_tests;
    app.cookie = if settings.fleet.api_behind_tls { CookieScope::Secure } else { CookieScope::Plain };
    let leader = RemotePort::new(shared.cluster.caller()?, Arc::new(SeatFinder(shared.pool.clone())));
    let shutdown = on_signal()?;
    tracing::info!("the UI is on http://{address}");
    let pools = store::open_for_web(&shared.url, settings.statement_timeout).await?;
    webui::serve(app, listener, pools, Arc::new(leader), shutdown).await?;
    Ok(ExitCode::SUCCESS)
}

/// Passwords and sessions do not cross a network in the clear in production; elsewhere it is said.
fn check_reach(address: SocketAddr, settings: &Settings) -> anyhow::Result<()> {
    if address.ip().is_loopback() || settings.fleet.api_behind_tls {
        return Ok(());
    }
    if settings.deployment == Deployment::Production {
        bail!(
            "the api would serve plain HTTP on {address}. Put a proxy that speaks https in front of it and set \
             WINDLASS_API_BEHIND_TLS=true, or listen on 127.0.0.1"
        );
    }
    tracing::warn!("plain HTTP on {address}: keep it off networks that you do not trust");
    Ok(())
}
