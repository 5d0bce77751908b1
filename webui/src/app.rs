//! What every handler shares: cheap to clone, and without any state of its own that could go stale unnoticed.

use std::{ops::Deref, sync::Arc};

use link::LeaderPort;
use serde_json::Value;
use sqlx::PgPool;
use store::{Hints, WebPools};
use tokio_util::sync::CancellationToken;

use crate::{
    AppSettings, api,
    auth::{limiter::LoginLimiter, token::Tokens},
    http::load::Refusals,
    live::{Fragments, Hub, Tails},
    pages::picture::Pictures,
    reads::{
        forecasts::Forecasts, heartbeat::Heartbeat, run_counts::RunCounts, samples::Samples, searches::Searches,
        versions::VersionCache,
    },
};

/// The parts of the web server.
pub struct Parts {
    pub(crate) settings: AppSettings,
    pub(crate) pool: PgPool,
    /// Where is looked up who shows a token.
    pub(crate) token_pool: PgPool,
    pub(crate) leader: Arc<dyn LeaderPort>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tokens: Tokens,
    pub(crate) logins: LoginLimiter,
    pub(crate) versions: VersionCache,
    pub(crate) pictures: Pictures,
    pub(crate) run_counts: RunCounts,
    pub(crate) samples: Samples,
    pub(crate) searches: Searches,
    pub(crate) forecasts: Forecasts,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) hub: Hub,
    pub(crate) fragments: Fragments,
    pub(crate) tails: Tails,
    pub(crate) refusals: Refusals,
    pub(crate) hints: Hints,
    /// What the REST API declares, for the page that tells it.
    pub(crate) document: &'static Value,
}

/// A handle to the parts.
#[derive(Clone)]
pub struct App(Arc<Parts>);

impl App {
    /// Puts the parts together.
    pub fn new(
        settings: AppSettings,
        pools: WebPools,
        hints: Hints,
        leader: Arc<dyn LeaderPort>,
        shutdown: CancellationToken,
    ) -> Self {
        let tokens = Tokens::new(&settings.secret);
        Self(Arc::new(Parts {
            settings,
            pool: pools.pool,
            token_pool: pools.tokens,
            leader,
            shutdown,
            tokens,
            logins: LoginLimiter::default(),
            versions: VersionCache::default(),
            pictures: Pictures::default(),
            run_counts: RunCounts::new(&hints),
            samples: Samples::default(),
            searches: Searches::default(),
            forecasts: Forecasts::default(),
            heartbeat: Heartbeat::default(),
            hub: Hub::default(),
            fragments: Fragments::default(),
            tails: Tails::default(),
            refusals: Refusals::default(),
            document: api::openapi::document(),
            hints,
        }))
    }
}

impl Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}
