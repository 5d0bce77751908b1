//! Clearing: letting task instances run again. Both doors default to telling only what would happen, as in Airflow.

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use engine::RunRow;
use model::{
    Command, MapIndex, TaskId,
    command::{ClearEffect, ClearOnly, ClearTaskInstances, ClearVersion, Relatives, TaskSelector},
};
use serde_json::{Value, json};

use super::{body::Body, lookup_run, runs::shaped, shapes};
use crate::{
    app::App,
    auth::Principal,
    commands,
    error::{ApiError, ApiResult},
    instances::{self, TaskOfRun},
};

/// `POST /api/v2/dags/{dag_id}/clearTaskInstances`.
pub async fn task_instances(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(dag_id): Path<String>,
    mut body: Body,
) -> ApiResult<Json<Value>> {
    let run_id = body.text("dag_run_id");
    let has_tasks = body.has("task_ids");
    let tasks = body.list("task_ids");
    let effect = effect(body.flag("dry_run", true));
    let only_failed = body.flag("only_failed", true);
    let only_running = body.flag("only_running", false);
    let relatives = Relatives {
        upstream: body.flag("include_upstream", false),
        downstream: body.flag("include_downstream", false),
    };
    let version = version(body.flag("run_on_latest_version", false));
    let refuses_running = body.flag("prevent_running_task", false);
    // A clear always lets its run go on; there is no other way here.
    body.flag("reset_dag_runs", true);
    refuse_ranges(&mut body);
    if has_tasks && tasks.is_empty() {
        body.wrong("task_ids", "value_error", "task_ids list should have at least 1 element.", json!([]));
    }
    let tasks = selectors(&mut body, tasks);
    body.finish()?;
    let run_id =
        run_id.ok_or_else(|| ApiError::BadRequest("dag_run_id is needed: name the run to clear".to_owned()))?;
    let run = lookup_run(&app, &dag_id, &run_id).await?;
    let only = match (only_failed, only_running) {
        (_, true) => ClearOnly::Running,
        (true, false) => ClearOnly::Failed,
        (false, false) => ClearOnly::All,
    };
    let wish = ClearTaskInstances {
        dag_id: run.dag_id.clone(),
        run_id: run.run_id.clone(),
        tasks,
        relatives,
        only,
        effect,
        version,
    };
    if refuses_running && effect == ClearEffect::Apply {
        refuse_running(&app, &run, &wish, &who).await?;
    }
    collection(&cleared(&app, run, wish, &who).await?)
}

/// `POST …/dagRuns/{dag_run_id}/clear`.
pub async fn run(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id)): Path<(String, String)>,
    mut body: Body,
) -> ApiResult<Json<Value>> {
    let effect = effect(body.flag("dry_run", true));
    let only = if body.flag("only_failed", false) { ClearOnly::Failed } else { ClearOnly::All };
    let version = version(body.flag("run_on_latest_version", false));
    if body.flag("only_new", false) {
        body.wrong("only_new", "value_error", "Tasks that are new in the latest version run with it", json!(true));
    }
    body.finish()?;
    let run = lookup_run(&app, &dag_id, &run_id).await?;
    let wish = ClearTaskInstances {
        dag_id: run.dag_id.clone(),
        run_id: run.run_id.clone(),
        tasks: Vec::new(),
        relatives: Relatives::default(),
        only,
        effect,
        version,
    };
    let found = cleared(&app, run, wish, &who).await?;
    match effect {
        ClearEffect::DryRun => collection(&found),
        ClearEffect::Apply => shaped(&app, &lookup_run(&app, &dag_id, &run_id).await?).await,
    }
}

const fn effect(dry_run: bool) -> ClearEffect {
    if dry_run { ClearEffect::DryRun } else { ClearEffect::Apply }
}

const fn version(latest: bool) -> ClearVersion {
    if latest { ClearVersion::Latest } else { ClearVersion::Own }
}

/// Clearing over several runs is one command a run; clients name the run.
fn refuse_ranges(body: &mut Body) {
    for name in ["include_past", "include_future"] {
        if body.flag(name, false) {
            body.wrong(name, "value_error", "Other runs are cleared by their own dag_run_id", json!(true));
        }
    }
    for name in ["start_date", "end_date"] {
        if let Some(value) = body.take(name) {
            body.wrong(name, "value_error", "Runs are cleared by their dag_run_id, not by dates", value);
        }
    }
}

/// Entries are a task id or `[task id, map index]`.
fn selectors(body: &mut Body, entries: Vec<Value>) -> Vec<TaskSelector> {
    let parse = |entry: &Value| -> Option<TaskSelector> {
        let (id, map) = match entry {
            Value::String(id) => (id.as_str(), None),
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(id), map] => (id.as_str(), Some(MapIndex(i32::try_from(map.as_i64()?).ok()?))),
                _ => return None,
            },
            _ => return None,
        };
        Some(TaskSelector { task_id: TaskId::new(id).ok()?, map_index: map })
    };
    let mut found = Vec::new();
    for entry in entries {
        match parse(&entry) {
            Some(selector) => found.push(selector),
            None => body.wrong("task_ids", "value_error", "An entry is a task id or [task id, map index]", entry),
        }
    }
    found
}

async fn refuse_running(app: &App, run: &RunRow, wish: &ClearTaskInstances, who: &Principal) -> ApiResult<()> {
    let asked = ClearTaskInstances { effect: ClearEffect::DryRun, ..wish.clone() };
    let found = cleared(app, run.clone(), asked, who).await?;
    match found.iter().find(|of| of.state() == model::TaskState::Running) {
        Some(of) => Err(ApiError::Conflict(format!("Task {} is running and would be stopped", of.task().task_id))),
        None => Ok(()),
    }
}

/// Sends a clear and finds the instances that it names; both doors, REST and page, come here.
///
/// # Errors
/// What the leader answers.
pub async fn cleared(app: &App, run: RunRow, wish: ClearTaskInstances, who: &Principal) -> ApiResult<Vec<TaskOfRun>> {
    let answer = commands::send(app, &Command::ClearTaskInstances(wish), who).await?;
    let named: Vec<(String, i32)> = answer
        .get("task_instances")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|one| {
            let map = one.get("map_index").and_then(Value::as_i64).and_then(|map| i32::try_from(map).ok());
            Some((one.get("task_id")?.as_str()?.to_owned(), map.unwrap_or(MapIndex::UNMAPPED.get())))
        })
        .collect();
    let is_named =
        |of: &TaskOfRun| named.iter().any(|(task, map)| task == of.task().task_id.as_str() && *map == of.key.map.get());
    Ok(instances::of_runs(app, vec![run]).await?.into_iter().filter(is_named).collect())
}

fn collection(found: &[TaskOfRun]) -> ApiResult<Json<Value>> {
    let shaped: Vec<Value> = found.iter().map(shapes::instance).collect();
    Ok(Json(json!({ "task_instances": shaped, "total_entries": found.len() })))
}
