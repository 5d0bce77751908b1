//! The processes below a standalone, other than PostgreSQL: started, watched, started again, stopped.

use daemon::{home::Home, postgres::Urls};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{registry, worker};
use crate::settings::Settings;

/// Tasks that each keep one child running.
pub struct Children {
    ending: worker::Ending,
    keepers: Vec<JoinHandle<()>>,
}

impl Children {
    /// Starts to keep the worker, and the schema registry unless another one is given.
    ///
    /// # Errors
    /// When this program's folder can not be told.
    pub fn start(settings: &Settings, home: &Home, urls: &Urls) -> anyhow::Result<Self> {
        let ending = worker::Ending::default();
        let mut keepers = vec![tokio::spawn(worker::keep(worker::Plan::new(settings, home, urls)?, ending.clone()))];
        if settings.registry_url.is_none() {
            let plan = registry::Plan::new(settings, urls)?;
            keepers.push(tokio::spawn(registry::keep(plan, ending.stop.clone())));
        }
        Ok(Self { ending, keepers })
    }

    /// What makes [`Children::stop`] quick.
    pub fn hurry(&self) -> CancellationToken {
        self.ending.hurry.clone()
    }

    /// Ends them, each in its own time.
    pub async fn stop(self) {
        self.ending.stop.cancel();
        for keeper in self.keepers {
            if let Err(error) = keeper.await {
                tracing::error!(%error, "a child was not stopped in order");
            }
        }
    }
}
