//! Keys of the sensors: tasks that look for something again and again until it is there.

use serde::{Deserialize, Serialize};

use super::{HttpRequest, SqlParameters, SqlSource};
use crate::{DagId, TaskId, TaskState};

/// What all sensors share, as Airflow's BaseSensorOperator has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Poking {
    /// The pause between two looks, in seconds.
    pub poke_interval_secs: f64,
    /// After so long, in seconds from the first look, the task fails without a further try.
    pub timeout_secs: f64,
    /// Whether the pause doubles from look to look.
    pub exponential_backoff: bool,
    /// The longest pause of one that grows.
    pub max_wait_secs: Option<f64>,
    /// Whether the task is skipped, not failed, when the time is over.
    pub soft_fail: bool,
    /// Whether a look that fails is only logged.
    pub silent_fail: bool,
    /// Whether the task is skipped, not failed, whatever goes wrong.
    pub never_fail: bool,
    /// Whether it holds its slots while it waits.
    #[serde(default, skip_serializing_if = "PokeMode::is_default")]
    pub mode: PokeMode,
}

/// What a sensor does between two looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PokeMode {
    /// It holds its slots.
    #[default]
    Poke,
    /// Its attempt ends, and the next look is a new one: it holds nothing.
    Reschedule,
    /// Its attempt goes on without a slot, in its worker (`deferrable: true`).
    Deferrable,
}

impl PokeMode {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Poking {
    fn default() -> Self {
        Self {
            poke_interval_secs: 60.0,
            timeout_secs: 604_800.0,
            exponential_backoff: false,
            max_wait_secs: None,
            soft_fail: false,
            silent_fail: false,
            never_fail: false,
            mode: PokeMode::Poke,
        }
    }
}

/// Keys of `file_sensor`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileSensor {
    /// A file, a folder, or a pattern with `*`, `?` and `[…]`, on the worker's machine.
    pub filepath: String,
    /// The connection whose extra setting `path` a relative name is below.
    #[serde(default)]
    pub fs_conn_id: Option<String>,
    /// Whether `**` stands for any number of folders.
    #[serde(default)]
    pub recursive: bool,
    /// How it waits.
    pub poking: Poking,
}

/// Keys of `date_time_sensor`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DateTimeSensor {
    /// The moment that is waited for; a template.
    pub target_time: String,
    /// How it waits.
    pub poking: Poking,
}

/// Keys of `time_delta_sensor`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimeDeltaSensor {
    /// How long after the end of the run's data interval, in seconds; of a run without one, after it was due.
    pub delta_secs: f64,
    /// How it waits.
    pub poking: Poking,
}

/// Keys of `http_sensor`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HttpSensor {
    /// What is asked.
    pub request: HttpRequest,
    /// A template with the name `response` that says whether it is there; any answer below 400 when absent.
    #[serde(default)]
    pub response_check: Option<String>,
    /// Statuses of 400 and more that mean: not yet.
    pub response_error_codes_allowlist: Vec<u16>,
    /// How it waits.
    pub poking: Poking,
}

/// Keys of `sql_sensor`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SqlSensor {
    /// The connection to ask.
    pub conn_id: String,
    /// The query; its first row's first value decides.
    pub sql: SqlSource,
    /// Bound parameters (`:name` in the text).
    #[serde(default)]
    pub parameters: SqlParameters,
    /// A template with the names `value` and `row` that says whether it is there; the value's truth when absent.
    #[serde(default)]
    pub success: Option<String>,
    /// A template with the same names; the task fails when it holds.
    #[serde(default)]
    pub failure: Option<String>,
    /// Whether the task fails when no row comes back.
    #[serde(default)]
    pub fail_on_empty: bool,
    /// How it waits.
    pub poking: Poking,
}

/// Keys of `external_task_sensor`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExternalTaskSensor {
    /// The other DAG.
    pub external_dag_id: DagId,
    /// Its tasks; its run when empty.
    #[serde(default)]
    pub external_task_ids: Vec<TaskId>,
    /// By how much the other run's logical date is earlier, in seconds.
    #[serde(default)]
    pub execution_delta_secs: f64,
    /// States that mean: it is there.
    pub allowed_states: Vec<TaskState>,
    /// States that fail the task.
    #[serde(default)]
    pub failed_states: Vec<TaskState>,
    /// States that skip the task.
    #[serde(default)]
    pub skipped_states: Vec<TaskState>,
    /// Whether the task fails when there is no such DAG or task.
    #[serde(default)]
    pub check_existence: bool,
    /// How it waits.
    pub poking: Poking,
}
