//! Keys of `trigger_dag_run`.

use serde::{Deserialize, Serialize};

use crate::DagRunState;

/// Keys of `trigger_dag_run`, as Airflow's TriggerDagRunOperator has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TriggerDagRunTask {
    /// The DAG that is to run.
    pub trigger_dag_id: String,
    /// The id of its run; made from its type and date when absent.
    #[serde(default)]
    pub trigger_run_id: Option<String>,
    /// Values for its params: a mapping, or a template that gives one.
    #[serde(default)]
    pub conf: serde_json::Value,
    /// The date that its run stands for.
    #[serde(default)]
    pub logical_date: TriggerDate,
    /// Whether a run that exists already is cleared and runs again.
    #[serde(default)]
    pub reset_dag_run: bool,
    /// Whether the task is skipped when the run exists already.
    #[serde(default)]
    pub skip_when_already_exists: bool,
    /// Whether the task fails when the DAG is paused.
    #[serde(default)]
    pub fail_when_dag_is_paused: bool,
    /// Whether the task waits for the run's end.
    #[serde(default)]
    pub wait_for_completion: bool,
    /// Whether it waits without a slot; only with `wait_for_completion`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deferrable: bool,
    /// The pause between two looks at the run, in seconds.
    pub poke_interval_secs: f64,
    /// States of the run that end the wait well.
    pub allowed_states: Vec<DagRunState>,
    /// States of the run that fail the task.
    pub failed_states: Vec<DagRunState>,
}

/// The date that a triggered run stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerDate {
    /// The moment of triggering.
    #[default]
    Now,
    /// None (`logical_date: null`).
    None,
    /// What this template gives.
    At(String),
}
