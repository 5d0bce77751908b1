//! Setting task instances to a state by hand, one, a group or many, and leaving remarks on them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{Extension, extract::State, response::Response};
use model::{
    Command, MapIndex, TaskState, TiKey,
    command::{ClearEffect, MarkTaskInstances, Relatives, SetNote, TaskSelector},
    door::Note,
};
use serde_json::Value;
use utoipa::openapi::{RefOr, schema::Schema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    body::Body,
    bulk::UpdateMask,
    clear::collection,
    declare::{Errors, Flag, Member, Sent, body, path_params, query_params, schema, words::task_states},
    instance_answer::TaskInstanceCollectionResponse,
    instance_filter::is_in_group,
    instances::{MappedPath, TaskPath},
    lookup_run,
    span::Span,
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    changes::{
        Mask,
        clear::{Touched, named},
        commands,
    },
    error::{ApiError, ApiResult},
    reads::{
        instances::{self, TaskOfRun},
        preview,
    },
};

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(one))
        .routes(routes!(one_mapped))
        .routes(routes!(dry_run))
        .routes(routes!(dry_run_mapped))
        .routes(routes!(group))
        .routes(routes!(group_dry_run))
}

path_params! {
    /// A task group in a run.
    pub struct GroupPath {
        dag_id: String,
        dag_run_id: String,
        group_id: String,
    }
}

query_params! {
    /// Which instance of a task is changed, and what a change is limited to.
    pub struct InstanceMask {
        map_index: MapIndex,
        /// The fields that are changed; without any, all that are sent.
        update_mask: Mask,
    }
}

body! {
    /// What task instances are to be changed to.
    pub struct PatchTaskInstanceBody {
        /// success, failed or skipped.
        new_state: NewState,
        /// Null or an empty text takes the note away.
        note: Sent<Option<Note>>,
        include_upstream: Flag<false>,
        include_downstream: Flag<false>,
        /// In runs of later dates, too.
        include_future: Flag<false>,
        /// In runs of earlier dates, too.
        include_past: Flag<false>,
    }
}

/// `new_state`; a null is not the same as an absent one.
#[derive(Debug, Clone, Copy)]
pub struct NewState(Option<TaskState>);

impl Member for NewState {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        if !body.has(name) {
            return Self(None);
        }
        let word = body.text(name);
        match word.as_deref() {
            Some("success") => return Self(Some(TaskState::Success)),
            Some("failed") => return Self(Some(TaskState::Failed)),
            Some("skipped") => return Self(Some(TaskState::Skipped)),
            Some(_) | None => {}
        }
        let given = word.map_or(Value::Null, Value::from);
        let message = format!("'{}' is not one of ['success', 'failed', 'skipped']", given.as_str().unwrap_or("None"));
        body.wrong(name, "value_error", message, given);
        Self(None)
    }

    fn schema() -> RefOr<Schema> {
        schema::nullable(schema::words(task_states())).into()
    }
}

/// Patch Task Instance
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}",
    operation_id = "patch_task_instance", tag = "Task Instance",
    params(TaskPath, InstanceMask),
    request_body = PatchTaskInstanceBody,
    responses(
        (status = 200, description = "Successful Response", body = TaskInstanceCollectionResponse), Errors<404, 409>
    ),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn one(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: TaskPath,
    InstanceMask { map_index, update_mask: mask }: InstanceMask,
    body: PatchTaskInstanceBody,
) -> ApiResult<Response> {
    let targets = Targets::one(path.instance(&app, map_index).await?);
    let wish = Wish::from(body).limited_to(&mask);
    collection(wish.carry_out(&app, targets, ClearEffect::Apply, &who).await?).await
}

/// Patch Task Instance By Map Index
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}",
    operation_id = "patch_task_instance_by_map_index", tag = "Task Instance",
    params(MappedPath, UpdateMask),
    request_body = PatchTaskInstanceBody,
    responses(
        (status = 200, description = "Successful Response", body = TaskInstanceCollectionResponse), Errors<404, 409>
    ),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn one_mapped(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: MappedPath,
    UpdateMask { update_mask: mask }: UpdateMask,
    body: PatchTaskInstanceBody,
) -> ApiResult<Response> {
    let targets = Targets::one(path.instance(&app).await?);
    let wish = Wish::from(body).limited_to(&mask);
    collection(wish.carry_out(&app, targets, ClearEffect::Apply, &who).await?).await
}

/// Patch Task Instance Dry Run
///
/// Which instances would be set.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/dry_run",
    operation_id = "patch_task_instance_dry_run", tag = "Task Instance",
    params(TaskPath, InstanceMask),
    request_body = PatchTaskInstanceBody,
    responses(
        (status = 200, description = "Successful Response", body = TaskInstanceCollectionResponse), Errors<404>
    ),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn dry_run(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: TaskPath,
    InstanceMask { map_index, update_mask: mask }: InstanceMask,
    body: PatchTaskInstanceBody,
) -> ApiResult<Response> {
    let targets = Targets::one(path.instance(&app, map_index).await?);
    let wish = Wish::from(body).limited_to(&mask);
    collection(wish.carry_out(&app, targets, ClearEffect::DryRun, &who).await?).await
}

/// Patch Task Instance Dry Run By Map Index
///
/// Which instances would be set.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}/dry_run",
    operation_id = "patch_task_instance_dry_run_by_map_index", tag = "Task Instance",
    params(MappedPath, UpdateMask),
    request_body = PatchTaskInstanceBody,
    responses(
        (status = 200, description = "Successful Response", body = TaskInstanceCollectionResponse), Errors<404>
    ),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn dry_run_mapped(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: MappedPath,
    UpdateMask { update_mask: mask }: UpdateMask,
    body: PatchTaskInstanceBody,
) -> ApiResult<Response> {
    let targets = Targets::one(path.instance(&app).await?);
    let wish = Wish::from(body).limited_to(&mask);
    collection(wish.carry_out(&app, targets, ClearEffect::DryRun, &who).await?).await
}

/// Patch Task Group Instances
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskGroupInstances/{group_id}",
    operation_id = "patch_task_group_instances", tag = "Task Instance",
    params(GroupPath, UpdateMask),
    request_body = PatchTaskInstanceBody,
    responses(
        (status = 200, description = "Successful Response", body = TaskInstanceCollectionResponse), Errors<404, 409>
    ),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn group(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: GroupPath,
    UpdateMask { update_mask: mask }: UpdateMask,
    body: PatchTaskInstanceBody,
) -> ApiResult<Response> {
    let targets = Targets::group(&app, &path).await?;
    let wish = Wish::from(body).limited_to(&mask);
    collection(wish.carry_out(&app, targets, ClearEffect::Apply, &who).await?).await
}

/// Patch Task Group Instances Dry Run
///
/// Which instances would be set.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskGroupInstances/{group_id}/dry_run",
    operation_id = "patch_task_group_instances_dry_run", tag = "Task Instance",
    params(GroupPath, UpdateMask),
    request_body = PatchTaskInstanceBody,
    responses(
        (status = 200, description = "Successful Response", body = TaskInstanceCollectionResponse), Errors<404>
    ),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn group_dry_run(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: GroupPath,
    UpdateMask { update_mask: mask }: UpdateMask,
    body: PatchTaskInstanceBody,
) -> ApiResult<Response> {
    let targets = Targets::group(&app, &path).await?;
    let wish = Wish::from(body).limited_to(&mask);
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
    async fn group(app: &App, path: &GroupPath) -> ApiResult<Self> {
        let GroupPath { dag_id, dag_run_id, group_id: group } = path;
        let run = lookup_run(app, dag_id, dag_run_id).await?;
        let version = app.versions.one(&app.pool, run.version).await?;
        let positions = version.dag.positions().filter(|pos| is_in_group(version.dag.task(*pos), group)).collect();
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

/// The remark on these instances.
fn note_of(targets: &Targets, note: Option<Note>) -> SetNote {
    let run = &targets.first.run;
    let (dag_id, run_id) = (run.dag_id.clone(), run.run_id.clone());
    SetNote { dag_id, run_id, tasks: targets.selectors(), note }
}

/// What is to be changed.
pub struct Wish {
    state: Option<TaskState>,
    /// The remark, when it was sent: none takes an earlier one away.
    note: Option<Option<Note>>,
    relatives: Relatives,
    span: Span,
}

impl From<PatchTaskInstanceBody> for Wish {
    fn from(body: PatchTaskInstanceBody) -> Self {
        Self {
            state: body.new_state.0,
            note: body.note.0,
            relatives: Relatives { upstream: body.include_upstream.0, downstream: body.include_downstream.0 },
            span: Span { past: body.include_past.0, future: body.include_future.0 },
        }
    }
}

impl Wish {
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
            commands::send(app, &Command::SetNote(note_of(&targets, note)), who).await?;
            let mut fresh = targets.again(app).await?;
            let seen: BTreeSet<TiKey> = fresh.iter().map(|one| one.key).collect();
            let (described, count) = (touched.described, touched.count);
            fresh.extend(described.into_iter().filter(|other| !seen.contains(&other.key)));
            touched = Touched { count: count.max(fresh.len()), described: fresh };
        }
        Ok(touched)
    }

    /// The state that is wished, as a word.
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        self.state.map_or("no", TaskState::name)
    }

    /// The commands that do it, without looking at what they touch: the state first.
    ///
    /// # Errors
    /// When the runs that are meant can not be read.
    pub async fn commands(self, app: &App, targets: &Targets) -> ApiResult<Vec<Command>> {
        let mut commands = Vec::new();
        if let Some(state) = self.state {
            let mark = self.mark_of(app, targets, state, ClearEffect::Apply).await?;
            commands.push(Command::MarkTaskInstances(mark));
        }
        commands.extend(self.note.map(|note| Command::SetNote(note_of(targets, note))));
        Ok(commands)
    }

    async fn mark_of(
        &self,
        app: &App,
        targets: &Targets,
        state: TaskState,
        effect: ClearEffect,
    ) -> ApiResult<MarkTaskInstances> {
        let run = &targets.first.run;
        Ok(MarkTaskInstances {
            dag_id: run.dag_id.clone(),
            run_id: run.run_id.clone(),
            also: self.span.others(app, run).await?,
            tasks: targets.selectors(),
            relatives: self.relatives,
            state,
            effect,
        })
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
        let wish = self.mark_of(app, targets, state, effect).await?;
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
