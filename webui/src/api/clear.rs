//! Clearing: letting task instances run again. Every door defaults to telling only what would happen, as in Airflow.

use std::collections::BTreeSet;

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use engine::RunRow;
use model::{
    Command, DagId, MapIndex, RunId, TaskId,
    command::{ClearEffect, ClearOnly, ClearTaskInstances, ClearVersion, EndedRuns, Relatives, SetNote, TaskSelector},
    door::Note,
};
use serde_json::{Value, json};
use store::read::{self, Direction, Range, RunFilter, RunOrder};

use super::{
    body::Body,
    lookup_dag, lookup_run, map_index_of,
    runs::note_of,
    shapes,
    span::{self, Span},
};
use crate::{
    app::App,
    auth::Principal,
    commands,
    error::{ApiError, ApiResult},
    instances::{self, TaskOfRun},
    preview,
};

/// `POST /api/v2/dags/{dag_id}/clearTaskInstances`.
pub async fn task_instances(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(dag_id): Path<String>,
    mut body: Body,
) -> ApiResult<Json<Value>> {
    let asked = Asked::of(&mut body);
    body.finish()?;
    let (dag, _) = lookup_dag(&app, &dag_id).await?;
    let mut runs = asked.runs(&app, &dag.dag_id).await?.into_iter();
    let Some(first) = runs.next() else { return Ok(collection(&[])) };
    let run = lookup_run(&app, &dag_id, first.as_str()).await?;
    let wish = ClearTaskInstances { also: runs.collect(), ..asked.wish(dag.dag_id, first) };
    if asked.refuses_running && asked.effect == ClearEffect::Apply {
        refuse_running(&app, &run, &wish, &who).await?;
    }
    let found = cleared(&app, run, wish, &who).await?;
    if let (Some(_), ClearEffect::Apply) = (&asked.note, asked.effect) {
        note_all(&app, &found, asked.note.as_ref(), &who).await?;
    }
    Ok(collection(&found))
}

/// What the body asks for.
struct Asked {
    run_id: Option<String>,
    span: Span,
    dates: Range,
    tasks: Vec<TaskSelector>,
    relatives: Relatives,
    only: ClearOnly,
    effect: ClearEffect,
    version: ClearVersion,
    ended_runs: EndedRuns,
    refuses_running: bool,
    note: Option<Note>,
}

impl Asked {
    fn of(body: &mut Body) -> Self {
        let only = (body.flag("only_failed", true), body.flag("only_running", false));
        let span = Span::of(body);
        let has_tasks = body.has("task_ids");
        let tasks = body.list("task_ids");
        if has_tasks && tasks.is_empty() {
            body.wrong("task_ids", "value_error", "task_ids list should have at least 1 element.", json!([]));
        }
        let note = note_of(body).flatten();
        Self {
            run_id: body.text("dag_run_id"),
            span,
            dates: span::dates(body, span),
            tasks: selectors(body, tasks),
            relatives: relatives(body),
            only: match only {
                (_, true) => ClearOnly::Running,
                (true, false) => ClearOnly::Failed,
                (false, false) => ClearOnly::All,
            },
            effect: effect(body.flag("dry_run", true)),
            version: version(body.flag("run_on_latest_version", false)),
            ended_runs: if body.flag("reset_dag_runs", true) { EndedRuns::GoOn } else { EndedRuns::StayEnded },
            refuses_running: body.flag("prevent_running_task", false),
            note,
        }
    }

    /// The runs that are meant: the one that is named and its span, or those of the dates.
    async fn runs(&self, app: &App, dag_id: &DagId) -> ApiResult<Vec<RunId>> {
        let Some(run_id) = &self.run_id else { return span::dated(app, dag_id, self.dates).await };
        if self.dates != Range::default() {
            let text = "Name a run with dag_run_id, or runs with start_date and end_date, not both";
            return Err(ApiError::BadRequest(text.to_owned()));
        }
        let run = lookup_run(app, dag_id.as_str(), run_id).await?;
        let others = self.span.others(app, &run).await?;
        Ok(std::iter::once(run.run_id).chain(others).collect())
    }

    /// The command for one run.
    fn wish(&self, dag_id: DagId, run_id: RunId) -> ClearTaskInstances {
        ClearTaskInstances {
            tasks: self.tasks.clone(),
            relatives: self.relatives,
            only: self.only,
            effect: self.effect,
            version: self.version,
            ended_runs: self.ended_runs,
            ..ClearTaskInstances::of_run(dag_id, run_id)
        }
    }
}

async fn note_all(app: &App, found: &[TaskOfRun], note: Option<&Note>, who: &Principal) -> ApiResult<()> {
    for of in found {
        let wish = SetNote {
            dag_id: of.run.dag_id.clone(),
            run_id: of.run.run_id.clone(),
            tasks: vec![TaskSelector { task_id: of.task().task_id.clone(), map_index: Some(of.key.map) }],
            note: note.cloned(),
        };
        commands::send(app, &Command::SetNote(wish), who).await?;
    }
    Ok(())
}

/// `include_upstream` and `include_downstream`.
pub fn relatives(body: &mut Body) -> Relatives {
    Relatives { upstream: body.flag("include_upstream", false), downstream: body.flag("include_downstream", false) }
}

/// Whether it is done or only told.
#[must_use]
pub const fn effect(dry_run: bool) -> ClearEffect {
    if dry_run { ClearEffect::DryRun } else { ClearEffect::Apply }
}

/// Which version a cleared run goes on with.
#[must_use]
pub const fn version(latest: bool) -> ClearVersion {
    if latest { ClearVersion::Latest } else { ClearVersion::Own }
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

/// Sends a clear and finds the instances that it names; both doors, REST and page, come here. What is only to be told is
/// read, and nobody is asked.
///
/// # Errors
/// What the leader answers.
pub async fn cleared(app: &App, run: RunRow, wish: ClearTaskInstances, who: &Principal) -> ApiResult<Vec<TaskOfRun>> {
    if wish.effect == ClearEffect::DryRun {
        return preview::of_clear(app, &wish).await;
    }
    let answer = commands::send(app, &Command::ClearTaskInstances(wish), who).await?;
    named(app, run, &answer).await
}

/// The instances that an answer of the leader names, of this run and of others of its DAG.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn named(app: &App, run: RunRow, answer: &Value) -> ApiResult<Vec<TaskOfRun>> {
    let entries = answer.get("task_instances").and_then(Value::as_array).into_iter().flatten();
    let named: Vec<(RunId, &str, MapIndex)> = entries
        .filter_map(|one| {
            let of = one.get("run_id").and_then(Value::as_str).and_then(|id| RunId::new(id).ok());
            let map = map_index_of(one.get("map_index"));
            Some((of.unwrap_or_else(|| run.run_id.clone()), one.get("task_id")?.as_str()?, map))
        })
        .collect();
    let others: BTreeSet<&RunId> = named.iter().map(|(of, ..)| of).filter(|of| **of != run.run_id).collect();
    let filter = RunFilter {
        dag_ids: vec![run.dag_id.clone()],
        run_ids: others.iter().copied().cloned().collect(),
        order: vec![(RunOrder::LogicalDate, Direction::Ascending)],
        limit: i64::try_from(others.len()).unwrap_or(i64::MAX),
        ..RunFilter::default()
    };
    let mut runs = vec![run];
    if !others.is_empty() {
        runs.extend(read::runs(&app.pool, &filter).await?.0);
    }
    let is_named = |of: &TaskOfRun| {
        let is_it = |(run, task, map): &(RunId, &str, MapIndex)| {
            *run == of.run.run_id && *task == of.task().task_id.as_str() && *map == of.key.map
        };
        named.iter().any(is_it)
    };
    Ok(instances::of_runs(app, runs).await?.into_iter().filter(is_named).collect())
}

/// The answer that lists instances.
pub fn collection(found: &[TaskOfRun]) -> Json<Value> {
    let shaped: Vec<Value> = found.iter().map(shapes::instance).collect();
    Json(json!({ "task_instances": shaped, "total_entries": found.len() }))
}
