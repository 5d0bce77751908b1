//! Clearing whole runs, one or several.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use dag::TaskPos;
use engine::RunRow;
use model::{
    RunKey, TiKey,
    command::{ClearEffect, ClearOnly, ClearTaskInstances, ClearVersion, TaskSelector},
    door::{Instant, Note},
};
use serde::Serialize;
use serde_json::{Value, json};
use store::read::{self, Listed};
use utoipa::{
    ToSchema,
    openapi::{RefOr, schema::Schema},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ALL,
    body::Body,
    bulk_runs::BulkDAGRunBody,
    clear::{effect, written},
    declare::{Errors, Flag, Member, answer, body, schema},
    instance_answer::TaskInstanceResponse,
    lookup_dag, lookup_run,
    run_answer::{DAGRunCollectionResponse, DAGRunResponse, as_cleared},
    runs::{DagPath, RunPath, set_note},
    span::RUNS_MAX,
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    changes::clear::{DESCRIBED_MAX, Touched, cleared, version},
    error::{ApiError, ApiResult},
    reads::instances::TaskOfRun,
};

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(one)).routes(routes!(several))
}

body! {
    /// How a run is to be cleared.
    pub struct DAGRunClearBody {
        /// Whether it is only told what would be cleared.
        dry_run: Flag<true>,
        /// Failed ones and those whose upstream failed.
        only_failed: Flag<false>,
        /// Only tasks that are new in the latest version, on which the run goes on.
        only_new: Flag<false>,
        run_on_latest_version: Option<bool>,
        note: Option<Note>,
    }
}

body! {
    /// Which runs are to be cleared, and how.
    pub struct BulkDAGRunClearBody {
        dag_runs: Entries,
        /// There are no partitions yet.
        partition_key: Option<String>,
        partition_date_start: Option<Instant>,
        partition_date_end: Option<Instant>,
        /// Whether it is only told what would be cleared.
        dry_run: Flag<true>,
        /// Failed ones and those whose upstream failed.
        only_failed: Flag<false>,
        /// Only tasks that are new in the latest version, on which the run goes on.
        only_new: Flag<false>,
        run_on_latest_version: Option<bool>,
        note: Option<Note>,
    }
}

answer! {
    /// The task instances that would be cleared.
    pub struct ClearTaskInstanceCollectionResponse {
        task_instances: Vec<TaskInstanceResponse>,
        total_entries: i64,
    }
}

/// What came of clearing a run: what would be cleared, or the run as it was cleared.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum ClearedRun {
    /// When it is only told.
    DryRun(ClearTaskInstanceCollectionResponse),
    /// When it is done.
    Run(Box<DAGRunResponse>),
}

/// The same of several runs.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum ClearedRuns {
    /// When it is only told.
    DryRun(ClearTaskInstanceCollectionResponse),
    /// When it is done.
    Runs(DAGRunCollectionResponse),
}

/// Clear Dag Run
///
/// The answer is the run as it was cleared, and so it is queued.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/clear", operation_id = "clear_dag_run", tag = "DagRun",
    params(RunPath),
    request_body = DAGRunClearBody,
    responses((status = 200, description = "Successful Response", body = ClearedRun), Errors<404, 409>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn one(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: RunPath,
    body: DAGRunClearBody,
) -> ApiResult<Response> {
    let wish = Wish::from(body);
    let run = lookup_run(&app, &path.dag_id, &path.dag_run_id).await?;
    let found = wish.carry_out(&app, &run, &who).await?;
    if wish.effect == ClearEffect::DryRun {
        return would_clear(found, ClearedRun::DryRun).await;
    }
    let now = lookup_run(&app, &path.dag_id, &path.dag_run_id).await?;
    let answer = DAGRunResponse::read(&app, &as_cleared(&run, now)).await?;
    Ok(Json(ClearedRun::Run(Box::new(answer))).into_response())
}

async fn would_clear<T: Serialize + 'static>(
    found: Touched,
    answer: fn(ClearTaskInstanceCollectionResponse) -> T,
) -> ApiResult<Response> {
    let whole = |task_instances, total_entries| ClearTaskInstanceCollectionResponse { task_instances, total_entries };
    written(found, move |instances, total| answer(whole(instances, total))).await
}

/// Clear Dag Runs
///
/// `~` in the path when each entry names its DAG. Each run is cleared by itself.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/clearDagRuns", operation_id = "clear_dag_runs", tag = "DagRun",
    params(DagPath),
    request_body = BulkDAGRunClearBody,
    responses((status = 200, description = "Successful Response", body = ClearedRuns), Errors<404, 409>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn several(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    DagPath { dag_id }: DagPath,
    mut body: Body,
) -> ApiResult<Response> {
    let asked = BulkDAGRunClearBody::read(&mut body);
    let partition = [
        ("partition_key", asked.partition_key.is_some()),
        ("partition_date_start", asked.partition_date_start.is_some()),
        ("partition_date_end", asked.partition_date_end.is_some()),
    ];
    for (name, _) in partition.into_iter().filter(|(_, is_sent)| *is_sent) {
        body.wrong(name, "value_error", "Value error, runs have no partitions: name them in dag_runs", Value::Null);
    }
    body.finish()?;
    let entries = asked.dag_runs.0;
    let wish = Wish {
        effect: effect(asked.dry_run.0),
        only: only(asked.only_failed),
        version: version(asked.run_on_latest_version.unwrap_or(false)),
        is_of_new: asked.only_new.0,
        note: asked.note,
    };
    // All are looked up before anything is changed, each once.
    let mut seen = BTreeSet::new();
    let mut runs: Vec<RunRow> = Vec::new();
    for entry in &entries {
        let dag = entry.dag_of(&dag_id)?;
        if seen.insert((dag, entry.run_id.as_str())) {
            runs.push(lookup_run(&app, dag, &entry.run_id).await?);
        }
    }
    let mut found = Touched { described: Vec::new(), count: 0 };
    for run in &runs {
        let of_run = wish.carry_out(&app, run, &who).await?;
        found.count += of_run.count;
        let room = DESCRIBED_MAX.saturating_sub(found.described.len());
        found.described.extend(of_run.described.into_iter().take(room));
    }
    if wish.effect == ClearEffect::DryRun {
        return would_clear(found, ClearedRuns::DryRun).await;
    }
    let keys: Vec<RunKey> = runs.iter().map(|run| run.key).collect();
    let mut now: BTreeMap<RunKey, RunRow> =
        read::runs_of(&app.pool, &keys).await?.into_iter().map(|run| (run.key, run)).collect();
    let rows: Vec<RunRow> =
        runs.iter().filter_map(|before| Some(as_cleared(before, now.remove(&before.key)?))).collect();
    let answers = DAGRunResponse::read_all(&app, &rows).await?;
    let total = i64::try_from(answers.len()).unwrap_or(i64::MAX);
    Ok(Json(ClearedRuns::Runs(DAGRunCollectionResponse::whole(answers, total))).into_response())
}

/// How runs are to be cleared.
struct Wish {
    effect: ClearEffect,
    only: ClearOnly,
    version: ClearVersion,
    /// Only what the latest version has and the run has not.
    is_of_new: bool,
    note: Option<Note>,
}

const fn only(failed: Flag<false>) -> ClearOnly {
    if failed.0 { ClearOnly::Failed } else { ClearOnly::All }
}

impl From<DAGRunClearBody> for Wish {
    fn from(asked: DAGRunClearBody) -> Self {
        Self {
            effect: effect(asked.dry_run.0),
            only: only(asked.only_failed),
            version: version(asked.run_on_latest_version.unwrap_or(false)),
            is_of_new: asked.only_new.0,
            note: asked.note,
        }
    }
}

impl Wish {
    /// Clears a run, or tells which of its instances would be.
    async fn carry_out(&self, app: &App, run: &RunRow, who: &Principal) -> ApiResult<Touched> {
        let wish = ClearTaskInstances {
            only: self.only,
            effect: self.effect,
            version: self.version,
            ..ClearTaskInstances::of_run(run.dag_id.clone(), run.run_id.clone())
        };
        let found = if self.is_of_new {
            self.take_in_new(app, run, wish, who).await?
        } else {
            cleared(app, run.clone(), wish, who).await?
        };
        if let (Some(note), ClearEffect::Apply) = (&self.note, self.effect) {
            set_note(app, run, Some(note.clone()), who).await?;
        }
        Ok(found)
    }

    /// Lets the run go on with the latest version, and of that clears the tasks alone that the run's version has not; or tells
    /// which these are.
    async fn take_in_new(
        &self,
        app: &App,
        run: &RunRow,
        wish: ClearTaskInstances,
        who: &Principal,
    ) -> ApiResult<Touched> {
        let (_, latest) = lookup_dag(app, run.dag_id.as_str()).await?;
        let pinned = app.versions.one(&app.pool, run.version).await?;
        let is_new = |pos: &TaskPos| pinned.dag.position(&latest.dag.task(*pos).task_id).is_none();
        let new: Vec<TaskPos> = latest.dag.positions().filter(is_new).collect();
        if self.effect == ClearEffect::DryRun || new.is_empty() {
            let of = Arc::new(run.clone());
            let one = |pos: &TaskPos| {
                let key = TiKey::unmapped(run.key, latest.task_idx[pos.0]);
                TaskOfRun::listed(&of, &latest, Listed { key, stored: None })
            };
            return Ok(Touched { count: new.len(), described: new.iter().filter_map(one).collect() });
        }
        let selector = |pos: &TaskPos| TaskSelector { task_id: latest.dag.task(*pos).task_id.clone(), map_index: None };
        let tasks = new.iter().map(selector).collect();
        let wish = ClearTaskInstances { tasks, only: ClearOnly::All, version: version(true), ..wish };
        cleared(app, run.clone(), wish, who).await
    }
}

/// A run that is named in a body.
pub struct Entry {
    dag_id: Option<String>,
    run_id: String,
}

impl Entry {
    /// The DAG that is meant: that of the path, unless the path means all.
    fn dag_of<'a>(&'a self, path: &'a str) -> ApiResult<&'a str> {
        let own = self.dag_id.as_deref();
        if path == ALL {
            return own.filter(|own| *own != ALL).ok_or_else(|| {
                ApiError::BadRequest(format!(
                    "When the URL dag_id is '~', every entry must provide a concrete dag_id (missing on dag_run_id: '{}').",
                    self.run_id
                ))
            });
        }
        match own {
            Some(own) if own != path => {
                Err(ApiError::BadRequest(format!("Entry dag_id '{own}' does not match the URL dag_id '{path}'.")))
            }
            Some(_) | None => Ok(path),
        }
    }
}

/// `dag_runs`, the only way to say which: there are no partitions.
pub struct Entries(Vec<Entry>);

impl Member for Entries {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        let listed = body.list(name);
        if listed.is_empty() {
            body.wrong(name, "value_error", "Value error, dag_runs should have at least 1 element", json!([]));
        }
        if i64::try_from(listed.len()).is_ok_and(|count| count > RUNS_MAX) {
            let message = format!("List should have at most {RUNS_MAX} items");
            body.wrong(name, "too_long", message, Value::from(listed.len()));
            return Self(Vec::new());
        }
        let text = |entry: &Value, name: &str| entry.get(name).and_then(Value::as_str).map(str::to_owned);
        let mut found = Vec::new();
        for entry in listed {
            match text(&entry, "dag_run_id") {
                Some(run_id) => found.push(Entry { dag_id: text(&entry, "dag_id"), run_id }),
                None => body.wrong(name, "missing", "An entry has a dag_run_id", entry),
            }
        }
        Self(found)
    }

    fn schema() -> RefOr<Schema> {
        schema::list(<BulkDAGRunBody as utoipa::PartialSchema>::schema()).into()
    }
}
