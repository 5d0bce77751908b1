//! The REST API: one file per resource, in Airflow 3's shapes.
//!
//! What [`declare`] declares is typed; the rest follows. Members that are null are written as null; instants are ISO 8601 in UTC with `Z`. The `lookup` functions are the only
//! way from a text of the client to a row, so that a text that can not be an id is simply not found.

pub mod absent;
pub mod accept;
pub mod assets;
pub mod backfills;
pub mod body;
pub mod bulk;
pub mod bulk_runs;
pub mod clear;
pub mod clear_runs;
pub mod connection_tests;
pub mod connections;
pub mod cursor;
pub mod dag_shapes;
pub mod dag_versions;
pub mod dag_warnings;
pub mod dags;
pub mod declare;
pub mod event_logs;
pub mod favorites;
pub mod hitl;
pub mod import_errors;
pub mod instance_answer;
pub mod instance_filter;
pub mod instances;
pub mod link;
pub mod logs;
pub mod mark;
pub mod monitor;
pub mod openapi;
pub mod path;
pub mod pools;
pub mod quarantine;
pub mod query;
pub mod run_answer;
pub mod runs;
pub mod shapes;
pub mod span;
pub mod state_stores;
pub mod tasks;
pub mod tries;
pub mod variables;
pub mod wait;
pub mod xcoms;

use std::sync::Arc;

use engine::RunRow;
use model::{DagId, MapIndex, RunId, TaskId};
use serde_json::Value;
use store::read::{self, DagView, Version};

use crate::{
    app::App,
    error::{ApiError, ApiResult},
};

/// The id that stands for all in paths of lists.
pub const ALL: &str = "~";

/// A DAG with its current version.
///
/// # Errors
/// [`ApiError::NotFound`].
pub async fn lookup_dag(app: &App, dag_id: &str) -> ApiResult<(DagView, Arc<Version>)> {
    let missing = || ApiError::NotFound(format!("The Dag with ID: `{dag_id}` was not found"));
    let id = DagId::new(dag_id).map_err(|_| missing())?;
    let dag = read::dag(&app.pool, &id).await?.ok_or_else(missing)?;
    let version = app.versions.one(&app.pool, dag.current).await?;
    Ok((dag, version))
}

/// A run.
///
/// # Errors
/// [`ApiError::NotFound`].
pub async fn lookup_run(app: &App, dag_id: &str, run_id: &str) -> ApiResult<RunRow> {
    let missing =
        || ApiError::NotFound(format!("The DagRun with dag_id: `{dag_id}` and run_id: `{run_id}` was not found"));
    let dag = DagId::new(dag_id).map_err(|_| missing())?;
    let run = RunId::new(run_id).map_err(|_| missing())?;
    read::run(&app.pool, &dag, &run).await?.ok_or_else(missing)
}

/// A task id of the client.
///
/// # Errors
/// [`ApiError::NotFound`] when it can not be one.
pub fn parse_task(task_id: &str) -> ApiResult<TaskId> {
    TaskId::new(task_id).map_err(|_| ApiError::NotFound(format!("Task with ID {task_id} not found")))
}

/// The map index in JSON; what is missing or no such number stands for a task that is not expanded.
#[must_use]
pub fn map_index_of(value: Option<&Value>) -> MapIndex {
    value.and_then(Value::as_i64).and_then(|map| i32::try_from(map).ok()).map_or(MapIndex::UNMAPPED, MapIndex)
}
