//! Runs of other DAGs, as attempts ask for them: to start one, and to see how one stands.

use std::collections::BTreeMap;

use model::{DagId, DagRunState, RunId, TaskId, TaskState, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A run that an attempt wants. However often the same attempt says it, there is one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunWish {
    /// The DAG.
    pub dag_id: DagId,
    /// The run's id.
    pub run_id: RunId,
    /// The date that it stands for.
    pub logical_date: Option<Timestamp>,
    /// Values for the DAG's params.
    pub conf: Map<String, Value>,
    /// What is to happen when the run exists already.
    pub existing: IfExists,
    /// What is to happen when the DAG is paused.
    pub paused: IfPaused,
}

/// What is to happen when a wanted run exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IfExists {
    /// It stays as it is.
    Keep,
    /// It is cleared, and runs again.
    Reset,
}

/// What is to happen when the DAG of a wanted run is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IfPaused {
    /// The run is made, and waits for the DAG.
    Wait,
    /// No run is made.
    Refuse,
}

/// Which run is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhichRun {
    /// The one of this id.
    Id(RunId),
    /// The one of this logical date.
    LogicalDate(Timestamp),
    /// The last successful one before this logical date.
    SuccessBefore(Timestamp),
}

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunView {
    /// Its id.
    pub run_id: RunId,
    /// Its state.
    pub state: DagRunState,
    /// Whether its DAG is paused.
    pub dag_is_paused: bool,
    /// Those tasks that were asked for and that its DAG has, with their states.
    #[serde(default)]
    pub tasks: BTreeMap<TaskId, TaskState>,
    /// The data that it covers.
    #[serde(default)]
    pub data_interval: Option<(Timestamp, Timestamp)>,
    /// Its start.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// Its end.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
}

/// What became of a wanted run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Triggered {
    /// The attempt that asks has made it, or had it cleared.
    Made,
    /// It was there before.
    Existed,
}
