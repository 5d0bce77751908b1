//! The lifecycle of a service: a long-running worker that a task declares and the supervisor keeps alive.

use serde::{Deserialize, Serialize};

use crate::{DagId, IllegalTransition, codes::coded_enum};

/// One replica of a service. It belongs to the DAG that declares it and outlives the DagRun.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceKey {
    /// The DAG whose task declares it.
    pub dag: DagId,
    /// The service's name, unique in its DAG.
    pub name: String,
    /// Which replica, from 0.
    pub replica: i32,
}

impl std::fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.dag, self.name, self.replica)
    }
}

coded_enum! {
    /// How a replica stands.
    ServiceState, "service state" {
        /// Wanted, and given to a worker.
        Starting = 0, "starting";
        /// Its process lives; what it waits for has not come yet.
        Running = 1, "running";
        /// It has reached what `ready_when` asks.
        Ready = 2, "ready";
        /// It has ended by itself, with nothing left to do: a finite source.
        Completed = 3, "completed";
        /// It ended badly and will be started again after a pause.
        BackOff = 4, "back_off";
        /// It is being stopped.
        Stopping = 5, "stopping";
        /// It is stopped by command.
        Stopped = 6, "stopped";
    }
}

/// What can happen to a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceEvent {
    /// It is wanted: by a task, by a command, or after a pause.
    Wanted,
    /// Its process has started.
    Started,
    /// It reports that it is ready.
    BecameReady,
    /// It reports that it has completed, and ended well.
    Finished,
    /// It ended without having completed, or was lost with its worker.
    Died,
    /// A command or a new version stops it.
    StopAsked,
    /// It has stopped as asked.
    StopDone,
}

impl ServiceState {
    /// Whether a process of it may exist.
    #[must_use]
    pub const fn is_alive(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Ready | Self::Stopping)
    }

    /// The state that follows `event`.
    ///
    /// # Errors
    /// [`IllegalTransition`] when the lifecycle has no such step.
    pub const fn after(self, event: ServiceEvent) -> Result<Self, IllegalTransition> {
        use ServiceEvent as E;
        let next = match (self, event) {
            (Self::BackOff | Self::Stopped | Self::Completed, E::Wanted) => Self::Starting,
            (Self::Starting, E::Started) => Self::Running,
            (Self::Starting | Self::Running | Self::Ready, E::BecameReady) => Self::Ready,
            (Self::Starting | Self::Running | Self::Ready, E::Finished) => Self::Completed,
            (Self::Starting | Self::Running | Self::Ready, E::Died) => Self::BackOff,
            (Self::Starting | Self::Running | Self::Ready, E::StopAsked) => Self::Stopping,
            (Self::BackOff | Self::Completed | Self::Stopped, E::StopAsked) => Self::Stopped,
            (Self::Stopping, E::StopDone | E::Died | E::Finished) => Self::Stopped,
            (Self::Stopping, E::Started | E::BecameReady | E::StopAsked) => Self::Stopping,
            (from, event) => return Err(IllegalTransition { from: from.name(), event: event.name() }),
        };
        Ok(next)
    }
}

impl ServiceEvent {
    /// A word for messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Started => "started",
            Self::BecameReady => "became_ready",
            Self::Finished => "finished",
            Self::Died => "died",
            Self::StopAsked => "stop_asked",
            Self::StopDone => "stop_done",
        }
    }
}
