//! The words of Windlass as types: ids, states, events and the transitions between states.
//!
//! Plain values only: nothing here does I/O, reads a clock or draws a random number. The names are Airflow's.

pub mod asset;
pub mod backfill;
pub mod callback;
mod codes;
pub mod command;
pub mod container;
pub mod door;
pub mod ids;
pub mod masking;
pub mod operator;
pub mod outcome;
pub mod page;
pub mod rate_limit;
mod retry_policy;
pub mod rule;
pub mod run;
pub mod service;
pub mod task;

pub use asset::{AssetKey, AssetNews};
pub use backfill::{BackfillOrder, NotMade, ReprocessBehavior};
pub use callback::{Callback, CallbackEvent, NotificationState};
pub use codes::UnknownCode;
pub use command::{Answer, AnswerStatus, Command, Pool};
pub use ids::{
    AttemptId, BackfillId, BundleFile, BundleName, CommandId, DagId, DagVersionId, Epoch, ID_CHARS_MAX, InvalidId,
    MapIndex, NotificationId, RunId, RunKey, TaskId, TaskIdx, TiKey, TryNumber, TurnNumber, WorkerId,
};
pub use operator::{Capability, Operator};
pub use outcome::{AttemptEnd, EndKind, Question, XComValue};
pub use rate_limit::{NoRateLimit, RateLimit};
pub use retry_policy::{RetryAction, RetryRule};
pub use rule::{TriggerRule, WeightRule};
pub use run::{DagRunEvent, DagRunState, RunType, TriggeredBy};
pub use service::{ServiceEvent, ServiceKey, ServiceState};
pub use task::{TaskEvent, TaskState};

/// An instant, always UTC. PostgreSQL keeps microseconds, so everything that is stored is cut to them.
pub type Timestamp = chrono::DateTime<chrono::Utc>;

/// A state was asked to change in a way that its lifecycle does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no transition from {from} by {event}")]
pub struct IllegalTransition {
    /// The state that was left alone.
    pub from: &'static str,
    /// The event that does not fit it.
    pub event: &'static str,
}
