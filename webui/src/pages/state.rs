//! The one badge of every state: class, glyph and word.

use model::{DagRunState, ServiceState, TaskState};
use schemars::JsonSchema;
use serde::Serialize;

/// How a state shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Badge {
    /// The class that gives it its colour.
    pub class: &'static str,
    /// Its glyph: colour is never the only sign.
    pub glyph: &'static str,
    /// Its word.
    pub word: &'static str,
}

const fn badge(class: &'static str, glyph: &'static str, word: &'static str) -> Badge {
    Badge { class, glyph, word }
}

impl From<TaskState> for Badge {
    fn from(state: TaskState) -> Self {
        match state {
            TaskState::NoStatus => badge("none", "·", "waits"),
            TaskState::Scheduled => badge("scheduled", "·", "scheduled"),
            TaskState::Queued => badge("queued", "•", "queued"),
            TaskState::Running => badge("running", "", "running"),
            TaskState::Success => badge("success", "✓", "success"),
            TaskState::Failed => badge("failed", "✕", "failed"),
            TaskState::Skipped => badge("skipped", "–", "skipped"),
            TaskState::UpstreamFailed => badge("upstream-failed", "↑", "upstream failed"),
            TaskState::Removed => badge("removed", "–", "removed"),
            TaskState::Restarting => badge("retry", "↻", "restarting"),
            TaskState::UpForRetry => badge("retry", "↻", "up for retry"),
            TaskState::UpForReschedule => badge("retry", "↻", "up for reschedule"),
            TaskState::Deferred => badge("deferred", "z", "deferred"),
            TaskState::AwaitingInput => badge("awaiting", "?", "awaiting input"),
        }
    }
}

impl From<DagRunState> for Badge {
    fn from(state: DagRunState) -> Self {
        match state {
            DagRunState::Queued => badge("queued", "•", "queued"),
            DagRunState::Running => badge("running", "", "running"),
            DagRunState::Success => badge("success", "✓", "success"),
            DagRunState::Failed => badge("failed", "✕", "failed"),
        }
    }
}

impl From<ServiceState> for Badge {
    fn from(state: ServiceState) -> Self {
        match state {
            ServiceState::Starting => badge("queued", "•", "starting"),
            ServiceState::Running => badge("running", "", "running"),
            ServiceState::Ready => badge("success", "✓", "ready"),
            ServiceState::Completed => badge("success", "✓", "completed"),
            ServiceState::BackOff => badge("failed", "✕", "back-off"),
            ServiceState::Stopping => badge("retry", "↻", "stopping"),
            ServiceState::Stopped => badge("skipped", "–", "stopped"),
        }
    }
}
