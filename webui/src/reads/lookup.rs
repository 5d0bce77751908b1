//! The only way from a text of a client to a row: a text that can not be an id is simply not found.

use std::sync::Arc;

use engine::{BackfillRow, RunRow};
use model::{BackfillId, DagId, MapIndex, RunId, TaskId};
use store::read::{self, DagView, Version};

use super::instances::{self, Found, TaskOfRun};
use crate::{
    app::App,
    error::{ApiError, ApiResult},
};

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

/// A backfill.
///
/// # Errors
/// [`ApiError::NotFound`].
pub async fn lookup_backfill(app: &App, id: i64) -> ApiResult<BackfillRow> {
    let found = read::backfill(&app.pool, BackfillId(id)).await?;
    found.ok_or_else(|| ApiError::NotFound(format!("Backfill with id {id} not found")))
}

/// A task id of the client.
///
/// # Errors
/// [`ApiError::NotFound`] when it can not be one.
pub fn parse_task(task_id: &str) -> ApiResult<TaskId> {
    TaskId::new(task_id).map_err(|_| ApiError::NotFound(format!("Task with ID {task_id} not found")))
}

/// One instance, by the texts of a path.
///
/// # Errors
/// [`ApiError::NotFound`], for an expanded task without an index, too.
pub async fn lookup_instance(
    app: &App,
    dag_id: &str,
    run_id: &str,
    task_id: &str,
    map: MapIndex,
) -> ApiResult<TaskOfRun> {
    let missing = || {
        ApiError::NotFound(format!(
            "The Task Instance with dag_id: `{dag_id}`, run_id: `{run_id}` and task_id: `{task_id}` was not found"
        ))
    };
    let run = lookup_run(app, dag_id, run_id).await?;
    let task = parse_task(task_id).map_err(|_| missing())?;
    match instances::find(app, run, &task, map).await? {
        Found::One(found) => Ok(*found),
        Found::Expanded => {
            Err(ApiError::NotFound("Task instance is mapped, add the map_index value to the URL".to_owned()))
        }
        Found::Nothing => Err(missing()),
    }
}
