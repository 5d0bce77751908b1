//! What reaches the worker's loop from inside the worker.

use std::time::Instant;

use executor::{notify::Done, trial::Tried};
use link::{Assignment, FetchItem, FetchKey, LogChunk, ServiceExit};
use model::{AttemptEnd, AttemptId, operator::ServiceSpec};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{engine_watch::Engine, waits::Age};

/// What attempts, services and the guard tell the loop.
pub(super) enum Event {
    /// An attempt outlived the time within which its start rides with its end.
    AttemptStarted { attempt: AttemptId, at: Instant },
    /// An attempt has ended.
    AttemptEnded { attempt: AttemptId, end: AttemptEnd },
    /// An attempt has looked, and waits without a slot from now on, or further on.
    AttemptRests { assignment: Box<Assignment>, age: Age, end: AttemptEnd },
    /// An attempt asks for something.
    Fetch { attempt: AttemptId, key: FetchKey, answer: oneshot::Sender<FetchItem> },
    /// An attempt declares services.
    Declare { attempt: AttemptId, services: Vec<ServiceSpec>, hashes: Vec<String> },
    /// An attempt says what it waits for.
    Said { attempt: AttemptId, line: String },
    /// A service's process has started.
    ServiceStarted { instance: Uuid },
    /// A service has reported.
    ServiceLine { instance: Uuid, line: serde_json::Value },
    /// A service has ended.
    ServiceExited(ServiceExit),
    /// A log was read.
    LogRead { id: u64, chunk: LogChunk },
    /// A connection was tried out.
    Tried { id: u64, tried: Tried },
    /// A notification was carried out, or was not.
    Notified { id: u64, done: Done },
    /// The worker's Docker engine was asked whether it is there.
    Engine(Engine),
    /// The guard is about to kill all attempts, because the leader is silent.
    LeaderSilent,
}

impl From<Engine> for Event {
    fn from(engine: Engine) -> Self {
        Self::Engine(engine)
    }
}
