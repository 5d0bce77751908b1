//! The lifecycle of a DagRun, and the words that say where a run comes from.

use crate::{IllegalTransition, codes::coded_enum};

coded_enum! {
    /// The state of a DagRun.
    DagRunState, "run state" {
        /// It exists, and waits: for its DAG to be unpaused, for max_active_runs, for its run_after.
        Queued = 0, "queued";
        /// Its tasks are being decided.
        Running = 1, "running";
        /// All its leaves ended well.
        Success = 2, "success";
        /// A leaf failed, or nothing could run any more.
        Failed = 3, "failed";
    }
}

coded_enum! {
    /// What made a run.
    RunType, "run type" {
        /// Its DAG's schedule.
        Scheduled = 0, "scheduled";
        /// A person or a client.
        Manual = 1, "manual";
        /// A backfill.
        Backfill = 2, "backfill";
        /// A task of another run.
        OperatorTriggered = 3, "operator_triggered";
        /// The news that assets changed.
        AssetTriggered = 4, "asset_triggered";
        /// A request to make an asset.
        AssetMaterialization = 5, "asset_materialization";
    }
}

coded_enum! {
    /// Through which door a run came.
    TriggeredBy, "triggered_by" {
        /// The command line.
        Cli = 0, "cli";
        /// An operator in another run.
        Operator = 1, "operator";
        /// The REST API.
        RestApi = 2, "rest_api";
        /// The web pages.
        Ui = 3, "ui";
        /// A test run in the foreground.
        Test = 4, "test";
        /// The schedule.
        Timetable = 5, "timetable";
        /// An asset event.
        Asset = 6, "asset";
        /// A backfill.
        Backfill = 7, "backfill";
    }
}

impl DagRunState {
    /// Whether the run has ended.
    #[must_use]
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Success | Self::Failed)
    }

    /// The state that follows `event`.
    ///
    /// # Errors
    /// [`IllegalTransition`] when the lifecycle has no such step.
    pub const fn after(self, event: DagRunEvent) -> Result<Self, IllegalTransition> {
        use DagRunEvent as E;
        let next = match (self, event) {
            (Self::Queued, E::Started) => Self::Running,
            (Self::Running, E::Succeeded) => Self::Success,
            (Self::Running | Self::Queued, E::Failed) => Self::Failed,
            (_, E::Cleared) => Self::Queued,
            (_, E::MarkedSuccess) => Self::Success,
            (_, E::MarkedFailed) => Self::Failed,
            (from, event) => return Err(IllegalTransition { from: from.name(), event: event.name() }),
        };
        Ok(next)
    }
}

/// What can happen to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DagRunEvent {
    /// Its limits allow it to begin.
    Started,
    /// Nothing is unfinished, and every leaf ended well.
    Succeeded,
    /// A leaf failed, nothing can run, or it took too long.
    Failed,
    /// Some of its tasks were cleared.
    Cleared,
    /// Someone set it to success.
    MarkedSuccess,
    /// Someone set it to failed.
    MarkedFailed,
}

impl DagRunEvent {
    /// A word for messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cleared => "cleared",
            Self::MarkedSuccess => "marked_success",
            Self::MarkedFailed => "marked_failed",
        }
    }
}
