//! Clearing: letting task instances run again. Every door defaults to telling only what would happen, as in Airflow.

use std::collections::BTreeMap;

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use model::{
    Command, DagId, MapIndex, RunId, TaskId,
    command::{ClearEffect, ClearOnly, ClearTaskInstances, ClearVersion, EndedRuns, Relatives, SetNote, TaskSelector},
    door::{Instant, Note},
};
use serde::Serialize;
use serde_json::{Value, json};
use store::read::Range;
use utoipa::openapi::{
    RefOr,
    schema::{AnyOfBuilder, ArrayBuilder, Schema},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    body::Body,
    declare::{Errors, Flag, Member, Sent, body, schema},
    instance_answer::{TaskInstanceCollectionResponse, TaskInstanceResponse},
    lookup_dag, lookup_run,
    runs::DagPath,
    span::{self, Span},
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    changes::{
        clear::{Named, Touched, cleared, described, names_in, version},
        commands,
    },
    error::{ApiError, ApiResult},
    reads::preview,
};

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(task_instances))
}

body! {
    /// Which task instances are to run again.
    pub struct ClearTaskInstancesBody {
        /// Whether it is only told what would be cleared.
        dry_run: Flag<true>,
        /// Of runs from this date on.
        start_date: Option<Instant>,
        /// Of runs up to this date.
        end_date: Option<Instant>,
        /// Failed ones and those whose upstream failed. It is off when `only_running` is on.
        only_failed: Sent<Flag<true>>,
        only_running: Flag<false>,
        /// Whether runs that have ended go on.
        reset_dag_runs: Flag<true>,
        /// Task ids, or pairs of a task id and a map index; all tasks when it is left out.
        task_ids: Option<Selectors>,
        dag_run_id: Option<String>,
        include_upstream: Flag<false>,
        include_downstream: Flag<false>,
        /// Of runs of later dates, too.
        include_future: Flag<false>,
        /// Of runs of earlier dates, too.
        include_past: Flag<false>,
        run_on_latest_version: Option<bool>,
        /// Whether it is refused when a running one is meant.
        prevent_running_task: Flag<false>,
        note: Option<Note>,
    }
}

/// `task_ids`.
pub struct Selectors(Vec<TaskSelector>);

impl Member for Option<Selectors> {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        if !body.has(name) {
            return None;
        }
        let entries = body.list(name);
        if entries.is_empty() {
            body.wrong(name, "value_error", "task_ids list should have at least 1 element.", json!([]));
        }
        Some(Selectors(selectors(body, entries)))
    }

    fn schema() -> RefOr<Schema> {
        let part = AnyOfBuilder::new().item(schema::text()).item(schema::integer(i32::MIN, i32::MAX));
        let pair = schema::list(Schema::from(part));
        let entry = AnyOfBuilder::new().item(schema::text()).item(pair);
        let list = ArrayBuilder::new().items(RefOr::from(Schema::from(entry))).min_items(Some(1));
        schema::nullable(Schema::from(list)).into()
    }
}

/// Post Clear Task Instances
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/clearTaskInstances",
    operation_id = "post_clear_task_instances", tag = "Task Instance",
    params(DagPath),
    request_body = ClearTaskInstancesBody,
    responses(
        (status = 200, description = "Successful Response", body = TaskInstanceCollectionResponse), Errors<404, 409>
    ),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn task_instances(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    DagPath { dag_id }: DagPath,
    mut body: Body,
) -> ApiResult<Response> {
    let asked = Asked::of(&mut body);
    body.finish()?;
    let (dag, _) = lookup_dag(&app, &dag_id).await?;
    let mut runs = asked.runs(&app, &dag.dag_id).await?.into_iter();
    let Some(first) = runs.next() else { return collection(Touched { described: Vec::new(), count: 0 }).await };
    let run = lookup_run(&app, &dag_id, first.as_str()).await?;
    let wish = ClearTaskInstances { also: runs.collect(), ..asked.wish(dag.dag_id, first) };
    if asked.refuses_running && asked.effect == ClearEffect::Apply {
        refuse_running(&app, &wish).await?;
    }
    if asked.effect == ClearEffect::DryRun {
        return collection(cleared(&app, run, wish, &who).await?).await;
    }
    let dag_id = run.dag_id.clone();
    let answer = commands::send(&app, &Command::ClearTaskInstances(wish), &who).await?;
    let touched = names_in(&run, &answer);
    if let Some(note) = &asked.note {
        commands::send_all(&app, notes(&dag_id, &touched, note), &who).await?;
    }
    collection(described(&app, run, &touched).await?).await
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
        let asked = ClearTaskInstancesBody::read(body);
        refuse_contradictions(&asked, body);
        Self {
            run_id: asked.dag_run_id,
            span: Span { past: asked.include_past.0, future: asked.include_future.0 },
            dates: Range {
                gte: asked.start_date.map(Instant::get),
                lte: asked.end_date.map(Instant::get),
                ..Range::default()
            },
            tasks: asked.task_ids.map(|tasks| tasks.0).unwrap_or_default(),
            relatives: Relatives { upstream: asked.include_upstream.0, downstream: asked.include_downstream.0 },
            only: match (asked.only_failed.0, asked.only_running) {
                (_, Flag(true)) => ClearOnly::Running,
                (Some(Flag(false)), Flag(false)) => ClearOnly::All,
                (Some(Flag(true)) | None, Flag(false)) => ClearOnly::Failed,
            },
            effect: effect(asked.dry_run.0),
            version: version(asked.run_on_latest_version.unwrap_or(false)),
            ended_runs: if asked.reset_dag_runs.0 { EndedRuns::GoOn } else { EndedRuns::StayEnded },
            refuses_running: asked.prevent_running_task.0,
            note: asked.note,
        }
    }

    /// The runs that are meant: the one that is named and its span, or those of the dates.
    async fn runs(&self, app: &App, dag_id: &DagId) -> ApiResult<Vec<RunId>> {
        let Some(run_id) = &self.run_id else { return span::dated(app, dag_id, self.dates).await };
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

/// Notes what can not be meant together.
fn refuse_contradictions(asked: &ClearTaskInstancesBody, body: &mut Body) {
    if asked.only_running.0 && asked.only_failed.0 == Some(Flag(true)) {
        let message = "Value error, only_failed and only_running both are set to True";
        body.wrong("only_running", "value_error", message, json!(true));
    }
    if asked.end_date < asked.start_date && asked.end_date.is_some() {
        body.wrong("end_date", "value_error", "Value error, end_date is sooner than start_date", Value::Null);
    }
    let dates = [
        ("start_date", asked.start_date, "include_past", asked.include_past.0),
        ("end_date", asked.end_date, "include_future", asked.include_future.0),
    ];
    for (date, given, span, is_set) in dates {
        if given.is_some() && asked.dag_run_id.is_some() {
            let message = format!("Value error, Exactly one of dag_run_id or {date} must be provided");
            body.wrong(date, "value_error", message, Value::Null);
        }
        if given.is_some() && is_set {
            let message = format!("Either {span} or {date} must be provided, not both");
            body.wrong(span, "value_error", message, json!(true));
        }
    }
}

/// What leaves a remark on all of these: a command a run, whatever the number of its instances.
fn notes(dag_id: &DagId, touched: &[Named], note: &Note) -> Vec<Command> {
    let mut by_run: BTreeMap<&RunId, Vec<TaskSelector>> = BTreeMap::new();
    for of in touched {
        let selector = TaskSelector { task_id: of.task_id.clone(), map_index: Some(of.map) };
        by_run.entry(&of.run_id).or_default().push(selector);
    }
    let command = |(run_id, tasks): (&RunId, _)| {
        let (dag_id, run_id) = (dag_id.clone(), run_id.clone());
        Command::SetNote(SetNote { dag_id, run_id, tasks, note: Some(note.clone()) })
    };
    by_run.into_iter().map(command).collect()
}

/// Whether it is done or only told.
#[must_use]
pub const fn effect(dry_run: bool) -> ClearEffect {
    if dry_run { ClearEffect::DryRun } else { ClearEffect::Apply }
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

/// Looks at all that would be cleared, not only at what an answer describes.
async fn refuse_running(app: &App, wish: &ClearTaskInstances) -> ApiResult<()> {
    let found = preview::of_clear(app, wish).await?;
    match found.iter().find(|of| of.state() == model::TaskState::Running) {
        Some(of) => Err(ApiError::Conflict(format!("Task {} is running and would be stopped", of.task().task_id))),
        None => Ok(()),
    }
}

/// The answer that lists instances.
///
/// # Errors
/// [`ApiError::Internal`] when the thread that writes it fails.
pub async fn collection(touched: Touched) -> ApiResult<Response> {
    written(touched, TaskInstanceCollectionResponse::whole).await
}

/// An answer that is made of instances and of how many there are. Many are written on a thread that may be busy for a while.
///
/// # Errors
/// [`ApiError::Internal`] when that thread fails.
pub async fn written<T: Serialize>(
    touched: Touched,
    answer: impl FnOnce(Vec<TaskInstanceResponse>, i64) -> T + Send + 'static,
) -> ApiResult<Response> {
    let written = tokio::task::spawn_blocking(move || {
        let shaped = touched.described.iter().map(TaskInstanceResponse::of).collect();
        Json(answer(shaped, i64::try_from(touched.count).unwrap_or(i64::MAX))).into_response()
    });
    written.await.map_err(|error| ApiError::Internal(format!("writing task instances failed: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_was_cleared_gets_the_note_with_a_command_a_run() {
        let named = |at: usize| Named {
            run_id: RunId::new(format!("r{}", at % 3)).unwrap(),
            task_id: TaskId::new(format!("t{at}")).unwrap(),
            map: MapIndex::UNMAPPED,
        };
        let touched: Vec<Named> = (0..crate::changes::clear::DESCRIBED_MAX + 2).map(named).collect();
        let commands = notes(&DagId::new("d").unwrap(), &touched, &Note::new("again").unwrap());
        let of = |command: &Command| match command {
            Command::SetNote(wish) => wish.tasks.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!(commands.iter().map(of).collect::<Vec<_>>(), [3334, 3334, 3334]);
    }
}
