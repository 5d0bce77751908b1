//! Rules of a task that say for some failures whether another try follows, and when.

use serde::{Deserialize, Serialize};

/// One rule. The first one that fits a failure decides; no rule leads to more tries than the task's `retries`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryRule {
    /// Exit codes that it fits; any, and none, when empty.
    #[serde(default)]
    pub exit_codes: Vec<i32>,
    /// A regular expression that it fits when a line of the attempt's log, or the reason of its failure, has it.
    #[serde(default)]
    pub log_matches: Option<String>,
    /// What follows.
    pub action: RetryAction,
}

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAction {
    /// No further try.
    Fail,
    /// A further try as long as there are any, after so many seconds; after the task's own pause when none are named.
    Retry {
        /// The pause.
        delay_secs: Option<f64>,
    },
}
