//! The REST API and the pages, served by one axum application.
//!
//! What always holds here: nothing is decided. Reads come from [`store::read`], changes are commands in the inbox that
//! the leader answers, and reasons ("why does it wait?") are asked of the leader. Every request passes one guard
//! ([`auth::guard`]) that knows who may do what before any handler runs; every error leaves through
//! [`error::ApiError`]; text of users is printed by templates that escape, under a content policy without exceptions.
//!
//! A request's way: [`http`] takes it in, [`auth::guard`] lets it through, and a handler of one of the two faces, [`api`] and
//! [`pages`], answers it. The faces know nothing of each other: what both read stands in [`reads`], what both change in
//! [`changes`].

mod apart;
mod api;
mod app;
mod assets;
mod auth;
mod changes;
mod declare;
mod error;
mod exact;
mod http;
mod live;
mod pages;
mod prefs;
mod reads;
mod router;
mod settings;
mod words;

use std::sync::Arc;

use link::LeaderPort;
use store::{Hints, StoreError, WebPools};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub use apart::{Apart, WebDatabase, serve_apart};
pub use api::openapi::document as openapi;
pub use auth::{
    client::{InvalidNetwork, TrustedProxies},
    oidc::{InvalidOidc, Oidc, OidcSettings},
    rights::{Access, Face, NARROWED, Right, Role, Route},
    token::{InvalidSecret, Secret},
};
pub use settings::{AppSettings, ConnectionTests, CookieScope, LocalLogins, Setting};

/// Every route with the access that it asks for.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    router::put_together();
    auth::table::routes()
}

/// The web server could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// PostgreSQL can not be reached at the start; later the server waits for it.
    #[error("the web server could not start: {0}")]
    Store(#[from] StoreError),
    /// The socket failed.
    #[error("the web server stopped: {0}")]
    Socket(#[from] std::io::Error),
}

/// Serves until `shutdown` is cancelled; open event streams end then, too.
///
/// # Errors
/// [`ServeError`] when PostgreSQL can not be reached at the start.
pub async fn serve(
    settings: AppSettings,
    listener: TcpListener,
    pools: WebPools,
    leader: Arc<dyn LeaderPort>,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let hints = Hints::listen(&pools.pool).await?;
    let app = app::App::new(settings, pools, hints, leader, shutdown.clone());
    let mut beside = JoinSet::new();
    beside.spawn(live::pass_on(app.clone()));
    beside.spawn(reads::samples::keep(app.clone()));
    beside.spawn(reads::heartbeat::keep(app.clone()));
    beside.spawn(http::load::tell(app.clone()));
    let proxies = app.settings.trusted_proxies.clone();
    let serving = http::server::serve(listener, router::router(app), |address| proxies.trusts(address), &shutdown);
    let mut serving = std::pin::pin!(serving);
    loop {
        tokio::select! {
            () = serving.as_mut() => break,
            Some(ended) = beside.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a task that listens for changes or looks at the scheduler ended badly");
                }
            }
        }
    }
    // What they wait for, PostgreSQL for example, holds up no end.
    beside.shutdown().await;
    Ok(())
}
