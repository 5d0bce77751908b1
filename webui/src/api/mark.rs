//! Setting task instances to a state by hand, and leaving remarks on them.

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use model::{
    Command, MapIndex, TaskState,
    command::{ClearEffect, MarkTaskInstances, Relatives, SetNote, TaskSelector},
};
use serde_json::Value;

use super::{
    body::Body,
    clear::{collection, named},
    instances::lookup,
    query::Query,
    runs::check_note_member,
    span::Span,
};
use crate::{
    app::App,
    auth::Principal,
    commands,
    error::{ApiError, ApiResult},
    instances::TaskOfRun,
};

type OfTask = Path<(String, String, String)>;
type OfInstance = Path<(String, String, String, i32)>;

/// `PATCH …/taskInstances/{task_id}`.
pub async fn one(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id, task_id)): OfTask,
    query: Query,
    body: Body,
) -> ApiResult<Json<Value>> {
    let wish = Wish::of(body, &query)?;
    let of = lookup(&app, &dag_id, &run_id, &task_id, MapIndex::UNMAPPED).await?;
    wish.carry_out(&app, of, ClearEffect::Apply, &who).await
}

/// `PATCH …/taskInstances/{task_id}/{map_index}`.
pub async fn mapped(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id, task_id, map)): OfInstance,
    query: Query,
    body: Body,
) -> ApiResult<Json<Value>> {
    let wish = Wish::of(body, &query)?;
    let of = lookup(&app, &dag_id, &run_id, &task_id, MapIndex(map)).await?;
    wish.carry_out(&app, of, ClearEffect::Apply, &who).await
}

/// `PATCH …/taskInstances/{task_id}/dry_run`: which instances would be set.
pub async fn dry_run(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id, task_id)): OfTask,
    query: Query,
    body: Body,
) -> ApiResult<Json<Value>> {
    let wish = Wish::of(body, &query)?;
    let of = lookup(&app, &dag_id, &run_id, &task_id, MapIndex::UNMAPPED).await?;
    wish.carry_out(&app, of, ClearEffect::DryRun, &who).await
}

/// `PATCH …/taskInstances/{task_id}/{map_index}/dry_run`.
pub async fn mapped_dry_run(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id, task_id, map)): OfInstance,
    query: Query,
    body: Body,
) -> ApiResult<Json<Value>> {
    let wish = Wish::of(body, &query)?;
    let of = lookup(&app, &dag_id, &run_id, &task_id, MapIndex(map)).await?;
    wish.carry_out(&app, of, ClearEffect::DryRun, &who).await
}

/// What is to be changed.
struct Wish {
    state: Option<TaskState>,
    /// The remark, when it was sent: none takes an earlier one away.
    note: Option<Option<String>>,
    relatives: Relatives,
    span: Span,
}

impl Wish {
    fn of(mut body: Body, query: &Query) -> ApiResult<Self> {
        let has_note = body.has("note");
        let note = body.text("note");
        check_note_member(&mut body, note.as_deref());
        let state = wanted_state(&mut body);
        let relatives = Relatives {
            upstream: body.flag("include_upstream", false),
            downstream: body.flag("include_downstream", false),
        };
        let span = Span::of(&mut body);
        body.finish()?;
        let mask: Vec<&str> = query.all("update_mask").collect();
        let is_meant = |field: &str| mask.is_empty() || mask.contains(&field);
        Ok(Self {
            state: state.filter(|_| is_meant("new_state")),
            note: (has_note && is_meant("note")).then_some(note),
            relatives,
            span,
        })
    }

    async fn carry_out(self, app: &App, of: TaskOfRun, effect: ClearEffect, who: &Principal) -> ApiResult<Json<Value>> {
        let mut touched = vec![of.clone()];
        if let Some(state) = self.state {
            touched = self.mark(app, &of, state, effect, who).await?;
        }
        if let (Some(note), ClearEffect::Apply) = (self.note, effect) {
            let wish = SetNote {
                dag_id: of.run.dag_id.clone(),
                run_id: of.run.run_id.clone(),
                tasks: vec![selector(&of)],
                note,
            };
            commands::send(app, &Command::SetNote(wish), who).await?;
            let fresh =
                lookup(app, of.run.dag_id.as_str(), of.run.run_id.as_str(), of.task().task_id.as_str(), of.key.map);
            let fresh = fresh.await?;
            touched.retain(|other| other.key != fresh.key);
            touched.insert(0, fresh);
        }
        Ok(collection(&touched))
    }

    async fn mark(
        &self,
        app: &App,
        of: &TaskOfRun,
        state: TaskState,
        effect: ClearEffect,
        who: &Principal,
    ) -> ApiResult<Vec<TaskOfRun>> {
        let wish = MarkTaskInstances {
            dag_id: of.run.dag_id.clone(),
            run_id: of.run.run_id.clone(),
            also: self.span.others(app, &of.run).await?,
            tasks: vec![selector(of)],
            relatives: self.relatives,
            state,
            effect,
        };
        let answer = commands::send(app, &Command::MarkTaskInstances(wish), who).await?;
        let touched = named(app, (*of.run).clone(), &answer).await?;
        if touched.is_empty() && effect == ClearEffect::Apply {
            return Err(ApiError::Conflict(format!("Task id {} is already in {state} state", of.task().task_id)));
        }
        Ok(touched)
    }
}

fn selector(of: &TaskOfRun) -> TaskSelector {
    TaskSelector { task_id: of.task().task_id.clone(), map_index: Some(of.key.map) }
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
