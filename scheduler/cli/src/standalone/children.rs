//! The processes below a standalone, other than PostgreSQL: started, watched, started again, stopped.

use daemon::{home::Home, postgres::Urls};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{registry, worker};
use crate::settings::Settings;

/// The pause before a child that ended is started again.
pub const RESTART_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

/// Tasks that each keep one child running.
pub struct Children {
    stop: CancellationToken,
    keepers: Vec<JoinHandle<()>>,
}

impl Children {
    /// Starts to keep the worker, and the schema registry unless another one is given.
    ///
    /// # Errors
    /// When this program's folder can not be told.
    pub fn start(settings: &Settings, home: &Home, urls: &Urls) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let mut keepers = vec![tokio::spawn(worker::keep(worker::Plan::new(settings, home, urls)?, stop.clone()))];
        if settings.registry_url.is_none() {
            let plan = registry::Plan::new(settings, urls)?;
            keepers.push(tokio::spawn(registry::keep(plan, stop.clone())));
        }
        Ok(Self { stop, keepers })
    }

    /// Ends them, each in its own time.
    pub async fn stop(self) {
        self.stop.cancel();
        for keeper in self.keepers {
            if let Err(error) = keeper.await {
                tracing::error!(%error, "a child was not stopped in order");
            }
        }
    }
}
