//! What an installation decides for all of its DAGs.

use std::time::Duration;

/// What an installation decides for all of its DAGs; [`Default`] has Airflow's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How many elements a task may leave for one that is expanded over them (`[core] max_map_length`).
    pub max_map_length: u32,
    /// How long an attempt may be queued, which is given to a worker and has not begun, before it is taken back
    /// (`[scheduler] task_queued_timeout`). A task may say its own.
    pub task_queued_timeout: Duration,
    /// By how long a run has to be older than another one for its tasks to go before those of the other one whose weight is larger by
    /// one; none when weights alone decide.
    pub priority_aging: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_map_length: 1_024, task_queued_timeout: Duration::from_secs(600), priority_aging: None }
    }
}
