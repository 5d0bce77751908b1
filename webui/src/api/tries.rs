//! The tries of a task instance, and what keeps it from its next one.

use axum::{Json, extract::State};
use link::{Query as Question, Reply};
use model::{MapIndex, TaskState};
use store::read;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    declare::{Errors, answer, path_params, query_params},
    instance_answer::TaskInstanceHistoryResponse,
    instances::{MappedPath, TaskPath},
};
use crate::{
    app::App,
    auth::rights::Right,
    error::{ApiError, ApiResult},
    reads::instances::TaskOfRun,
};

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(list_mapped))
        .routes(routes!(one))
        .routes(routes!(one_mapped))
        .routes(routes!(dependencies))
        .routes(routes!(dependencies_mapped))
}

path_params! {
    /// A try of a task instance.
    pub struct TryPath {
        dag_id: String,
        dag_run_id: String,
        task_id: String,
        task_try_number: i16,
    }
}

path_params! {
    /// A try of an instance of an expanded task.
    pub struct MappedTryPath {
        dag_id: String,
        dag_run_id: String,
        task_id: String,
        map_index: MapIndex,
        task_try_number: i16,
    }
}

query_params! {
    /// Which instance of a task is meant.
    pub struct OfIndex {
        map_index: MapIndex,
    }
}

answer! {
    /// The tries of a task instance.
    pub struct TaskInstanceHistoryCollectionResponse {
        task_instances: Vec<TaskInstanceHistoryResponse>,
        total_entries: usize,
    }
}

answer! {
    /// What a task instance waits for.
    pub struct TaskDependencyCollectionResponse {
        dependencies: Vec<TaskDependencyResponse>,
    }
}

answer! {
    /// One reason why a task instance waits.
    pub struct TaskDependencyResponse {
        name: String,
        reason: String,
    }
}

/// Get Task Instance Tries
///
/// All tries, the current one last.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/tries",
    operation_id = "get_task_instance_tries", tag = "Task Instance",
    params(TaskPath, OfIndex),
    responses(
        (status = 200, description = "Successful Response", body = TaskInstanceHistoryCollectionResponse), Errors<404>
    ),
    security(("token" = [Right::Read]))
)]
pub async fn list(
    State(app): State<App>,
    path: TaskPath,
    OfIndex { map_index }: OfIndex,
) -> ApiResult<Json<TaskInstanceHistoryCollectionResponse>> {
    all(&app, &path.instance(&app, map_index).await?).await
}

/// Get Mapped Task Instance Tries
///
/// All tries, the current one last.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/tries",
    operation_id = "get_mapped_task_instance_tries", tag = "Task Instance",
    params(MappedPath),
    responses(
        (status = 200, description = "Successful Response", body = TaskInstanceHistoryCollectionResponse), Errors<404>
    ),
    security(("token" = [Right::Read]))
)]
pub async fn list_mapped(
    State(app): State<App>,
    path: MappedPath,
) -> ApiResult<Json<TaskInstanceHistoryCollectionResponse>> {
    all(&app, &path.instance(&app).await?).await
}

/// Get Task Instance Try Details
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/tries/{task_try_number}",
    operation_id = "get_task_instance_try_details", tag = "Task Instance",
    params(TryPath, OfIndex),
    responses((status = 200, description = "Successful Response", body = TaskInstanceHistoryResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn one(
    State(app): State<App>,
    TryPath { dag_id, dag_run_id, task_id, task_try_number }: TryPath,
    OfIndex { map_index }: OfIndex,
) -> ApiResult<Json<TaskInstanceHistoryResponse>> {
    let path = TaskPath { dag_id, dag_run_id, task_id };
    of_number(&app, &path.instance(&app, map_index).await?, task_try_number).await
}

/// Get Mapped Task Instance Try Details
#[utoipa::path(
    get,
    path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/tries/{task_try_number}",
    operation_id = "get_mapped_task_instance_try_details", tag = "Task Instance",
    params(MappedTryPath),
    responses((status = 200, description = "Successful Response", body = TaskInstanceHistoryResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn one_mapped(
    State(app): State<App>,
    MappedTryPath { dag_id, dag_run_id, task_id, map_index, task_try_number }: MappedTryPath,
) -> ApiResult<Json<TaskInstanceHistoryResponse>> {
    let path = TaskPath { dag_id, dag_run_id, task_id };
    of_number(&app, &path.instance(&app, map_index).await?, task_try_number).await
}

async fn all(app: &App, of: &TaskOfRun) -> ApiResult<Json<TaskInstanceHistoryCollectionResponse>> {
    let task_instances = tries(app, of).await?;
    Ok(Json(TaskInstanceHistoryCollectionResponse { total_entries: task_instances.len(), task_instances }))
}

async fn of_number(app: &App, of: &TaskOfRun, number: i16) -> ApiResult<Json<TaskInstanceHistoryResponse>> {
    let found = tries(app, of).await?.into_iter().find(|one| one.try_number == number);
    found.map(Json).ok_or_else(|| {
        ApiError::NotFound(format!(
            "The Task Instance with dag_id: `{}`, run_id: `{}`, task_id: `{}`, try_number: `{number}` and map_index: `{}` was not found",
            of.run.dag_id, of.run.run_id, of.task().task_id, of.key.map
        ))
    })
}

async fn tries(app: &App, of: &TaskOfRun) -> ApiResult<Vec<TaskInstanceHistoryResponse>> {
    let past = read::tries(&app.pool, of.key).await?;
    let superseded = past.iter().filter(|past| past.try_number.get() != of.try_number());
    let current = (of.try_number() > 0).then(|| TaskInstanceHistoryResponse::current(of));
    Ok(superseded.map(|past| TaskInstanceHistoryResponse::superseded(of, past)).chain(current).collect())
}

/// Get Task Instance Dependencies
///
/// What it waits for, in the scheduler's words.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/dependencies",
    operation_id = "get_task_instance_dependencies", tag = "Task Instance",
    params(TaskPath, OfIndex),
    responses((status = 200, description = "Successful Response", body = TaskDependencyCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn dependencies(
    State(app): State<App>,
    path: TaskPath,
    OfIndex { map_index }: OfIndex,
) -> ApiResult<Json<TaskDependencyCollectionResponse>> {
    waits(&app, &path.instance(&app, map_index).await?).await
}

/// Get Task Instance Dependencies By Map Index
///
/// What it waits for, in the scheduler's words.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/dependencies",
    operation_id = "get_task_instance_dependencies_by_map_index", tag = "Task Instance",
    params(MappedPath),
    responses((status = 200, description = "Successful Response", body = TaskDependencyCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn dependencies_mapped(
    State(app): State<App>,
    path: MappedPath,
) -> ApiResult<Json<TaskDependencyCollectionResponse>> {
    waits(&app, &path.instance(&app).await?).await
}

async fn waits(app: &App, of: &TaskOfRun) -> ApiResult<Json<TaskDependencyCollectionResponse>> {
    let waits = !of.state().is_finished() && of.state() != TaskState::Running && !of.run.state.is_finished();
    let mut dependencies = Vec::new();
    if waits {
        let question = Question::WhyTask {
            dag_id: of.run.dag_id.clone(),
            run_id: of.run.run_id.clone(),
            task_id: of.task().task_id.clone(),
            map_index: of.key.map,
        };
        if let Reply::Why { sentence, .. } = app.leader.ask(question).await? {
            dependencies.push(TaskDependencyResponse { name: "Scheduler".to_owned(), reason: sentence });
        }
    }
    Ok(Json(TaskDependencyCollectionResponse { dependencies }))
}
