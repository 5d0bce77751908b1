//! Setting task instances to a state by hand, one, a group or many, and leaving remarks on them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    Extension,
    extract::{FromRequest, Request, State},
    response::Response,
};
use dag::Task;
use model::{
    Command, TaskState, TiKey,
    command::{ClearEffect, MarkTaskInstances, Relatives, SetNote, TaskSelector},
    door::Note,
};
use serde_json::Value;

use super::{
    body::Body,
    bulk::Mask,
    clear::{Touched, collection, named, relatives},
    lookup_run,
    path::Names,
    query::Query,
    runs::note_of,
    span::Span,
};
use crate::{
    app::App,
    auth::Principal,
    commands,
    error::{ApiError, ApiResult},
    instances::{self, TaskOfRun},
    preview,
};

/// `PATCH …/taskInstances/{task_id}`, with and without a map index.
pub async fn one(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    names: Names,
    wish: Wish,
) -> ApiResult<Response> {
    let targets = Targets::one(names.instance(&app).await?);
    collection(wish.carry_out(&app, targets, ClearEffect::Apply, &who).await?).await
}

/// `PATCH …/taskInstances/{task_id}/dry_run`, with and without a map index: which instances would be set.
pub async fn dry_run(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    names: Names,
    wish: Wish,
) -> ApiResult<Response> {
    let targets = Targets::one(names.instance(&app).await?);
    collection(wish.carry_out(&app, targets, ClearEffect::DryRun, &who).await?).await
}

/// `PATCH …/taskGroupInstances/{group_id}`.
pub async fn group(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    names: Names,
    wish: Wish,
) -> ApiResult<Response> {
    let targets = Targets::group(&app, &names).await?;
    collection(wish.carry_out(&app, targets, ClearEffect::Apply, &who).await?).await
}

/// `PATCH …/taskGroupInstances/{group_id}/dry_run`.
pub async fn group_dry_run(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    names: Names,
    wish: Wish,
) -> ApiResult<Response> {
    let targets = Targets::group(&app, &names).await?;
    collection(wish.carry_out(&app, targets, ClearEffect::DryRun, &who).await?).await
}

/// Instances of one run, at least one.
pub struct Targets {
    first: TaskOfRun,
    rest: Vec<TaskOfRun>,
    /// What they are called when nothing is left to do.
    label: String,
}

impl Targets {
    /// A single instance.
    #[must_use]
    pub fn one(first: TaskOfRun) -> Self {
        let label = format!("Task id {} is", first.task().task_id);
        Self { first, rest: Vec::new(), label }
    }

    /// The instances of a task group and of the groups in it.
    async fn group(app: &App, names: &Names) -> ApiResult<Self> {
        let (dag_id, group) = (names.text("dag_id"), names.text("group_id"));
        let run = lookup_run(app, dag_id, names.text("dag_run_id")).await?;
        let is_in = |task: &Task| {
            let inner = task.group.as_deref().and_then(|own| own.strip_prefix(group));
            inner.is_some_and(|inner| inner.is_empty() || inner.starts_with('.'))
        };
        let version = app.versions.one(&app.pool, run.version).await?;
        let positions = version.dag.positions().filter(|pos| is_in(version.dag.task(*pos))).collect();
        let members = instances::of_tasks(app, Arc::new(run), Arc::clone(&version), &positions).await?;
        let mut members = members.into_iter();
        let missing = || ApiError::NotFound(format!("Task group '{group}' not found in DAG '{dag_id}'"));
        let first = members.next().ok_or_else(missing)?;
        let label = "All task instances in the group are".to_owned();
        Ok(Self { first, rest: members.collect(), label })
    }

    fn all(&self) -> impl Iterator<Item = &TaskOfRun> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    fn selectors(&self) -> Vec<TaskSelector> {
        let selector =
            |of: &TaskOfRun| TaskSelector { task_id: of.task().task_id.clone(), map_index: Some(of.key.map) };
        self.all().map(selector).collect()
    }

    /// The same instances as they are now.
    async fn again(&self, app: &App) -> ApiResult<Vec<TaskOfRun>> {
        let run = lookup_run(app, self.first.run.dag_id.as_str(), self.first.run.run_id.as_str()).await?;
        let keys: Vec<TiKey> = self.all().map(|target| target.key).collect();
        instances::at(app, &BTreeMap::from([(run.key, Arc::new(run))]), &keys).await
    }
}

/// What is to be changed.
pub struct Wish {
    state: Option<TaskState>,
    /// The remark, when it was sent: none takes an earlier one away.
    note: Option<Option<Note>>,
    relatives: Relatives,
    span: Span,
}

impl<S: Send + Sync> FromRequest<S> for Wish {
    type Rejection = ApiError;

    /// The body as far as `update_mask` means it.
    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let mut body = Body::from_request(request, state).await?;
        let wish = Self::read(&mut body);
        body.finish()?;
        Ok(wish.limited_to(&Mask::of(query.all("update_mask"))))
    }
}

impl Wish {
    /// Reads it out of a body; what is wrong is noted there.
    pub fn read(body: &mut Body) -> Self {
        Self { note: note_of(body), state: wanted_state(body), relatives: relatives(body), span: Span::of(body) }
    }

    /// What a mask leaves of it.
    #[must_use]
    pub fn limited_to(&self, mask: &Mask) -> Self {
        Self {
            state: self.state.filter(|_| mask.has("new_state")),
            note: self.note.clone().filter(|_| mask.has("note")),
            relatives: self.relatives,
            span: self.span,
        }
    }

    /// Does it, or tells what it would do: the instances that are touched.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when all are in the state already, and what the leader answers.
    pub async fn carry_out(
        self,
        app: &App,
        targets: Targets,
        effect: ClearEffect,
        who: &Principal,
    ) -> ApiResult<Touched> {
        let all: Vec<TaskOfRun> = targets.all().cloned().collect();
        let mut touched = Touched { count: all.len(), described: all };
        if let Some(state) = self.state {
            touched = self.mark(app, &targets, state, effect, who).await?;
        }
        if let (Some(note), ClearEffect::Apply) = (self.note, effect) {
            let run = &targets.first.run;
            let (dag_id, run_id) = (run.dag_id.clone(), run.run_id.clone());
            let wish = SetNote { dag_id, run_id, tasks: targets.selectors(), note };
            commands::send(app, &Command::SetNote(wish), who).await?;
            let mut fresh = targets.again(app).await?;
            let seen: BTreeSet<TiKey> = fresh.iter().map(|one| one.key).collect();
            let (described, count) = (touched.described, touched.count);
            fresh.extend(described.into_iter().filter(|other| !seen.contains(&other.key)));
            touched = Touched { count: count.max(fresh.len()), described: fresh };
        }
        Ok(touched)
    }

    async fn mark(
        &self,
        app: &App,
        targets: &Targets,
        state: TaskState,
        effect: ClearEffect,
        who: &Principal,
    ) -> ApiResult<Touched> {
        let run = &targets.first.run;
        let wish = MarkTaskInstances {
            dag_id: run.dag_id.clone(),
            run_id: run.run_id.clone(),
            also: self.span.others(app, run).await?,
            tasks: targets.selectors(),
            relatives: self.relatives,
            state,
            effect,
        };
        if effect == ClearEffect::DryRun {
            return preview::of_mark(app, &wish).await.map(Touched::of);
        }
        let answer = commands::send(app, &Command::MarkTaskInstances(wish), who).await?;
        let touched = named(app, (**run).clone(), &answer).await?;
        if touched.count == 0 {
            return Err(ApiError::Conflict(format!("{} already in {state} state", targets.label)));
        }
        Ok(touched)
    }
}

/// `new_state`; a null is not the same as an absent one.
fn wanted_state(body: &mut Body) -> Option<TaskState> {
    let was_sent = body.has("new_state");
    let word = body.text("new_state");
    match word.as_deref() {
        Some("success") => return Some(TaskState::Success),
        Some("failed") => return Some(TaskState::Failed),
        Some("skipped") => return Some(TaskState::Skipped),
        Some(_) | None => {}
    }
    if was_sent {
        let given = word.map_or(Value::Null, Value::from);
        let message = format!("'{}' is not one of ['success', 'failed', 'skipped']", given.as_str().unwrap_or("None"));
        body.wrong("new_state", "value_error", message, given);
    }
    None
}
