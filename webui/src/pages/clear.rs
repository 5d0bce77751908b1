//! Clearing from the page: first what will run again, then the button that does it.

use axum::{
    Extension,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use engine::RunRow;
use model::{
    Command, DagRunState, MapIndex,
    command::{ClearEffect, ClearOnly, ClearTaskInstances, Relatives, TaskSelector},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Frame, Place, error::PageResult, run_url, show as print, state::Badge, words};
use crate::{
    app::App,
    auth::{Principal, form::PageForm},
    changes::{
        clear::{cleared, version},
        commands,
    },
    error::{ApiError, ApiResult},
    http::query::Query,
    reads::lookup::{lookup_run, parse_task},
};

/// Task instances that the question names; it tells how many there are.
const AFFECTED_MAX: usize = 500;

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    dag_id: String,
    run_id: String,
    url: String,
    task: Option<String>,
    /// Which instance of an expanded task; empty for all.
    map_index: String,
    choice: Choice,
    affected: Vec<Affected>,
    count: String,
}

/// What is to be cleared.
#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
struct Choice {
    upstream: bool,
    downstream: bool,
    only_failed: bool,
    latest: bool,
}

impl Choice {
    fn of(ticked: impl Fn(&str) -> bool) -> Self {
        Self {
            upstream: ticked("upstream"),
            downstream: ticked("downstream"),
            only_failed: ticked("only_failed"),
            latest: ticked("latest"),
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct Affected {
    badge: Badge,
    label: String,
}

fn wish(run: &RunRow, task: Option<TaskSelector>, choice: Choice, effect: ClearEffect) -> ClearTaskInstances {
    ClearTaskInstances {
        tasks: task.into_iter().collect(),
        relatives: Relatives { upstream: choice.upstream, downstream: choice.downstream },
        only: if choice.only_failed { ClearOnly::Failed } else { ClearOnly::All },
        effect,
        version: version(choice.latest),
        ..ClearTaskInstances::of_run(run.dag_id.clone(), run.run_id.clone())
    }
}

/// The task that is named, and which of its instances when it is expanded.
fn task_of(task: &str, map: &str) -> ApiResult<Option<TaskSelector>> {
    if task.is_empty() {
        return Ok(None);
    }
    let map_index =
        match map {
            "" => None,
            text => Some(text.parse().map(MapIndex).map_err(|_| {
                ApiError::BadRequest(format!("map_index is the number of an instance, and not {text:?}"))
            })?),
        };
    Ok(Some(TaskSelector { task_id: parse_task(task)?, map_index }))
}

/// `GET …/clear?task=…&downstream=1`: what will run again.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id)): Path<(String, String)>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let run = lookup_run(&app, &dag_id, &run_id).await?;
    let task = task_of(query.text("task").unwrap_or_default(), query.text("map_index").unwrap_or_default())?;
    let choice = Choice::of(|name| query.text(name).is_some());
    let url = run_url(&run.dag_id, &run.run_id);
    let asked = wish(&run, task.clone(), choice, ClearEffect::DryRun);
    let found = cleared(&app, run.clone(), asked, &who).await?;
    let affected: Vec<Affected> = found
        .described
        .iter()
        .take(AFFECTED_MAX)
        .map(|of| Affected { badge: Badge::from(of.state()), label: super::run::name(of) })
        .collect();
    let view = View {
        frame: Frame::new(&app, &who, Place::Dags, "Clear").await?.about(&who, &run.dag_id),
        dag_id: run.dag_id.to_string(),
        run_id: run.run_id.to_string(),
        url,
        map_index: task.as_ref().and_then(|task| task.map_index).map(|map| map.to_string()).unwrap_or_default(),
        task: task.map(|task| task.task_id.to_string()),
        choice,
        count: words::count(found.count, "task instance"),
        affected,
    };
    Ok(print(&headers, &view)?)
}

/// `POST …/clear`: does it.
pub async fn submit(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id)): Path<(String, String)>,
    form: PageForm,
) -> PageResult<Response> {
    let run = lookup_run(&app, &dag_id, &run_id).await?;
    let task = task_of(form.text("task"), form.text("map_index"))?;
    let choice = Choice::of(|name| form.ticked(name));
    let url = run_url(&run.dag_id, &run.run_id);
    let asked = wish(&run, task, choice, ClearEffect::Apply);
    cleared(&app, run, asked, &who).await?;
    Ok(Redirect::to(&url).into_response())
}

/// `POST …/mark`: sets the run to success or failed.
pub async fn mark(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id)): Path<(String, String)>,
    form: PageForm,
) -> PageResult<Response> {
    let run = lookup_run(&app, &dag_id, &run_id).await?;
    let state = match form.text("state") {
        "success" => DagRunState::Success,
        "failed" => DagRunState::Failed,
        other => return Err(ApiError::BadRequest(format!("a run can not be marked {other:?}")).into()),
    };
    let url = run_url(&run.dag_id, &run.run_id);
    let command = Command::MarkDagRun { dag_id: run.dag_id, run_id: run.run_id, state };
    commands::send(&app, &command, &who).await?;
    Ok(Redirect::to(&url).into_response())
}
