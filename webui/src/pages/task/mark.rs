//! Setting a task instance to success, failed or skipped.

use axum::{
    Extension,
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use model::{
    Command, MapIndex, TaskState,
    command::{ClearEffect, MarkTaskInstances, Relatives, TaskSelector},
};

use super::super::{error::PageResult, task_url};
use crate::{
    app::App,
    auth::{Principal, form::PageForm},
    changes::commands,
    error::ApiError,
    reads::lookup::lookup_instance,
};

/// `POST …/tasks/{task_id}/mark`.
pub async fn submit(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id, task_id)): Path<(String, String, String)>,
    form: PageForm,
) -> PageResult<Response> {
    let map = form.text("map_index").parse().map_or(MapIndex::UNMAPPED, MapIndex);
    let of = lookup_instance(&app, &dag_id, &run_id, &task_id, map).await?;
    let state = match form.text("state") {
        "success" => TaskState::Success,
        "failed" => TaskState::Failed,
        "skipped" => TaskState::Skipped,
        other => return Err(ApiError::BadRequest(format!("a task instance can not be marked {other:?}")).into()),
    };
    let map_index = (of.key.map != MapIndex::UNMAPPED).then_some(of.key.map);
    let command = Command::MarkTaskInstances(MarkTaskInstances {
        dag_id: of.run.dag_id.clone(),
        run_id: of.run.run_id.clone(),
        also: Vec::new(),
        tasks: vec![TaskSelector { task_id: of.task().task_id.clone(), map_index }],
        relatives: Relatives::default(),
        state,
        effect: ClearEffect::Apply,
    });
    commands::send(&app, &command, &who).await?;
    Ok(Redirect::to(&task_url(&of)).into_response())
}
