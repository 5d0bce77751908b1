//! The lifecycle of a task instance: its states, what can happen to it, and what follows.
//!
//! This and [`crate::run`] are the only places that decide a state; everything else asks them.

use crate::{IllegalTransition, codes::coded_enum};

coded_enum! {
    /// The state of a task instance, in Airflow's words.
    TaskState, "task state" {
        /// Nothing has happened to it yet. The API writes it as null.
        NoStatus = 0, "no_status";
        /// All dependencies are met; it waits for a slot. Held in memory, never stored.
        Scheduled = 1, "scheduled";
        /// It has a slot and a worker.
        Queued = 2, "queued";
        /// Its worker has started it.
        Running = 3, "running";
        /// It did what it should.
        Success = 4, "success";
        /// It failed, and no try is left.
        Failed = 5, "failed";
        /// It was passed over: by a branch, by a rule, by itself.
        Skipped = 6, "skipped";
        /// It can not run, because something before it failed.
        UpstreamFailed = 7, "upstream_failed";
        /// The task has left the DAG, or its map has shrunk.
        Removed = 8, "removed";
        /// It was cleared while running: it is being stopped and runs again.
        Restarting = 9, "restarting";
        /// It failed and waits for its next try.
        UpForRetry = 10, "up_for_retry";
        /// A sensor that looks again later.
        UpForReschedule = 11, "up_for_reschedule";
        /// It waits outside of any slot.
        Deferred = 12, "deferred";
        /// It waits for a person.
        AwaitingInput = 13, "awaiting_input";
    }
}

impl TaskState {
    /// Whether nothing more happens to it by itself.
    #[must_use]
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::Skipped | Self::UpstreamFailed | Self::Removed)
    }

    /// Whether it counts as well ended for a run: success or skipped.
    #[must_use]
    pub const fn is_success_like(self) -> bool {
        matches!(self, Self::Success | Self::Skipped)
    }

    /// Whether it counts as badly ended for a run: failed or upstream_failed.
    #[must_use]
    pub const fn is_failed_like(self) -> bool {
        matches!(self, Self::Failed | Self::UpstreamFailed)
    }
}

/// What can happen to a task instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskEvent {
    /// Its rule and its other conditions hold.
    DependenciesMet,
    /// It was given a slot and a worker.
    SlotGranted,
    /// The worker has started the attempt.
    Started,
    /// The attempt succeeded.
    Succeeded,
    /// The attempt failed.
    Failed(Retry),
    /// The attempt asked to be skipped, or a branch or a rule passed it over.
    Skipped,
    /// A rule found that it can not run any more.
    UpstreamFailed,
    /// Its task is no longer in the DAG.
    Removed,
    /// The attempt waits outside of a slot.
    Deferred,
    /// The attempt wants to look again later.
    Rescheduled,
    /// The attempt has put a question to people.
    Asked,
    /// The attempt was lost with its worker, and may be tried again at no cost to the user's retries.
    Lost,
    /// Someone cleared it.
    Cleared,
    /// Someone, or the end of its run, set it to a final state.
    Marked(Mark),
}

/// Whether a failed try is followed by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// There will be another try.
    Again,
    /// That was the last.
    Exhausted,
}

/// The final states that can be set from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// As if it had succeeded.
    Success,
    /// As if it had failed.
    Failed,
    /// As if it had been passed over.
    Skipped,
}

impl TaskEvent {
    /// A word for messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DependenciesMet => "dependencies_met",
            Self::SlotGranted => "slot_granted",
            Self::Started => "started",
            Self::Succeeded => "succeeded",
            Self::Failed(Retry::Again) => "failed_with_retry",
            Self::Failed(Retry::Exhausted) => "failed",
            Self::Skipped => "skipped",
            Self::UpstreamFailed => "upstream_failed",
            Self::Removed => "removed",
            Self::Deferred => "deferred",
            Self::Rescheduled => "rescheduled",
            Self::Asked => "asked",
            Self::Lost => "lost",
            Self::Cleared => "cleared",
            Self::Marked(_) => "marked",
        }
    }
}

impl TaskState {
    /// The state that follows `event` (Airflow 3.3's table, with fewer states on the way: an attempt may end before its start was
    /// reported, because a worker sends both at once for short tasks, and an answer, or the end of a deferred wait, ends what it
    /// is about without a further attempt).
    ///
    /// # Errors
    /// [`IllegalTransition`] when the lifecycle has no such step.
    pub const fn after(self, event: TaskEvent) -> Result<Self, IllegalTransition> {
        use TaskEvent as E;
        let next = match (self, event) {
            (Self::NoStatus | Self::UpForRetry | Self::UpForReschedule, E::DependenciesMet) => Self::Scheduled,
            (Self::Scheduled, E::SlotGranted) => Self::Queued,
            (Self::Queued | Self::Restarting, E::Started) => Self::Running,
            (Self::Queued | Self::Running | Self::Deferred | Self::AwaitingInput, E::Succeeded) => Self::Success,
            (Self::Queued | Self::Running | Self::Deferred | Self::AwaitingInput, E::Failed(Retry::Again)) => {
                Self::UpForRetry
            }
            (Self::Queued | Self::Running | Self::Deferred | Self::AwaitingInput, E::Failed(Retry::Exhausted)) => {
                Self::Failed
            }
            (
                Self::Queued
                | Self::Running
                | Self::NoStatus
                | Self::Scheduled
                | Self::UpForRetry
                | Self::UpForReschedule
                | Self::Deferred,
                E::Skipped,
            ) => Self::Skipped,
            (Self::Queued | Self::Running, E::Deferred) => Self::Deferred,
            (Self::Queued | Self::Running, E::Rescheduled) => Self::UpForReschedule,
            (Self::Queued | Self::Running, E::Asked) => Self::AwaitingInput,
            (Self::Queued | Self::Running, E::Lost) => Self::UpForRetry,
            (
                Self::NoStatus | Self::Scheduled | Self::Deferred | Self::UpForRetry | Self::UpForReschedule,
                E::UpstreamFailed,
            ) => Self::UpstreamFailed,
            (from, E::Removed) if !matches!(from, Self::Queued | Self::Running | Self::Restarting) => Self::Removed,
            (Self::Running | Self::Queued, E::Cleared) => Self::Restarting,
            // A restarting attempt is being stopped: however it ends, the task begins anew.
            (
                Self::Restarting,
                E::Succeeded
                | E::Failed(_)
                | E::Skipped
                | E::Deferred
                | E::Rescheduled
                | E::Asked
                | E::Lost
                | E::Cleared,
            ) => Self::NoStatus,
            (_, E::Cleared) => Self::NoStatus,
            (_, E::Marked(Mark::Success)) => Self::Success,
            (_, E::Marked(Mark::Failed)) => Self::Failed,
            (_, E::Marked(Mark::Skipped)) => Self::Skipped,
            (from, event) => return Err(IllegalTransition { from: from.name(), event: event.name() }),
        };
        Ok(next)
    }
}
