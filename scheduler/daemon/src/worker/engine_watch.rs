//! Looks whether a Docker engine can be reached: a worker can do what it can do now, not what it could when it started.

use std::{collections::BTreeSet, time::Duration};

use executor::docker;
use model::Capability;
use tokio::{sync::mpsc, time::sleep};

/// How often the engine is asked. An answer takes milliseconds, and a change is news for the scheduler.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Whether the worker's own engine answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    Reachable,
    Away,
}

impl Engine {
    /// Asks it.
    pub(super) async fn look() -> Self {
        match docker::check().await {
            Ok(()) => Self::Reachable,
            Err(error) => {
                tracing::debug!(%error, "this worker runs no containers");
                Self::Away
            }
        }
    }

    /// Whether this changes what the worker can do; it is so afterwards.
    pub(super) fn change(self, capabilities: &mut BTreeSet<Capability>) -> bool {
        match self {
            Self::Reachable => capabilities.insert(Capability::Docker),
            Self::Away => capabilities.remove(&Capability::Docker),
        }
    }
}

/// Tells how the engine is, until nobody listens.
pub(super) async fn watch<E: From<Engine>>(events: mpsc::Sender<E>) {
    loop {
        tokio::select! {
            () = sleep(LOOK_EVERY) => {}
            () = events.closed() => return,
        }
        let engine = Engine::look().await;
        if events.send(engine.into()).await.is_err() {
            return;
        }
    }
}
