//! The tasks of a DAG's current version.

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};

use super::{lookup_dag, parse_task, query::Query, shapes};
use crate::{
    app::App,
    error::{ApiError, ApiResult},
};

/// `GET /api/v2/dags/{dag_id}/tasks`.
pub async fn list(State(app): State<App>, Path(dag_id): Path<String>, query: Query) -> ApiResult<Json<Value>> {
    let (_, version) = lookup_dag(&app, &dag_id).await?;
    let dag = &version.dag;
    let mut tasks: Vec<_> = dag.tasks.iter().collect();
    match query.text("order_by").unwrap_or("task_id") {
        "task_id" => tasks.sort_by(|a, b| a.task_id.cmp(&b.task_id)),
        "-task_id" => tasks.sort_by(|a, b| b.task_id.cmp(&a.task_id)),
        other => return Err(ApiError::BadRequest(format!("'Task' object has no attribute '{other}'"))),
    }
    let tasks: Vec<Value> = tasks.into_iter().map(|task| shapes::task(dag, task)).collect();
    Ok(Json(json!({ "total_entries": tasks.len(), "tasks": tasks })))
}

/// `GET /api/v2/dags/{dag_id}/tasks/{task_id}`.
pub async fn one(State(app): State<App>, Path((dag_id, task_id)): Path<(String, String)>) -> ApiResult<Json<Value>> {
    let (_, version) = lookup_dag(&app, &dag_id).await?;
    let task = parse_task(&task_id)?;
    let pos = version.dag.position(&task);
    let pos = pos.ok_or_else(|| ApiError::NotFound(format!("Task with ID {task_id} not found")))?;
    Ok(Json(shapes::task(&version.dag, version.dag.task(pos))))
}
