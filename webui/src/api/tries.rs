//! The tries of a task instance, and what keeps it from its next one.

use axum::{Json, extract::State};
use link::{Query as Question, Reply};
use model::TaskState;
use serde_json::{Value, json};
use store::read;

use super::{
    path::Names,
    shapes::{self, Times},
};
use crate::{
    app::App,
    error::{ApiError, ApiResult},
    instances::TaskOfRun,
};

/// `GET …/taskInstances/{task_id}/tries`, with and without a map index: all tries, the current one last.
pub async fn list(State(app): State<App>, names: Names) -> ApiResult<Json<Value>> {
    let tries: Vec<Value> =
        shaped(&app, &names.instance(&app).await?).await?.into_iter().map(|(_, shape)| shape).collect();
    Ok(Json(json!({ "total_entries": tries.len(), "task_instances": tries })))
}

/// `GET …/taskInstances/{task_id}/tries/{task_try_number}`, with and without a map index.
pub async fn one(State(app): State<App>, names: Names) -> ApiResult<Json<Value>> {
    let number: i16 = names.number("task_try_number")?;
    let of = names.instance(&app).await?;
    let found = shaped(&app, &of).await?.into_iter().find(|(of, _)| *of == number);
    found.map(|(_, shape)| Json(shape)).ok_or_else(|| {
        ApiError::NotFound(format!(
            "The Task Instance with dag_id: `{}`, run_id: `{}`, task_id: `{}`, try_number: `{number}` and map_index: `{}` was not found",
            of.run.dag_id, of.run.run_id, of.task().task_id, of.key.map
        ))
    })
}

async fn shaped(app: &App, of: &TaskOfRun) -> ApiResult<Vec<(i16, Value)>> {
    let past = read::tries(&app.pool, of.key).await?;
    let mut tries: Vec<(i16, Value)> = past
        .iter()
        .filter(|past| past.try_number.get() != of.try_number())
        .map(|past| (past.try_number.get(), shapes::superseded(of, past)))
        .collect();
    if let Some(stored) = of.stored.as_ref().filter(|_| of.try_number() > 0) {
        let row = &stored.row;
        let times = Times { queued: row.queued_at, started: row.started_at, ended: row.ended_at };
        let current = shapes::try_body(of, of.try_number(), of.state(), times, stored.worker.as_deref());
        tries.push((of.try_number(), current));
    }
    Ok(tries)
}

/// `GET …/taskInstances/{task_id}/dependencies`, with and without a map index: what it waits for, in the scheduler's words.
pub async fn dependencies(State(app): State<App>, names: Names) -> ApiResult<Json<Value>> {
    let of = names.instance(&app).await?;
    let waits = !of.state().is_finished() && of.state() != TaskState::Running && !of.run.state.is_finished();
    let mut found = Vec::new();
    if waits {
        let question = Question::WhyTask {
            dag_id: of.run.dag_id.clone(),
            run_id: of.run.run_id.clone(),
            task_id: of.task().task_id.clone(),
            map_index: of.key.map,
        };
        if let Reply::Why { sentence, .. } = app.leader.ask(question).await? {
            found.push(json!({ "name": "Scheduler", "reason": sentence }));
        }
    }
    Ok(Json(json!({ "dependencies": found })))
}
