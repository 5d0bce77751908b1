//! Runs and task instances in bulk requests: they are changed and deleted by them, never created.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use axum::{Extension, Json, extract::State};
use engine::RunRow;
use model::{Command, DagId, MapIndex, RunId, TaskId, TiKey, door::Note};
use serde_json::Value;
use store::read;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ALL,
    body::Body,
    bulk::{self, BulkResponse, bulk_body},
    declare::{Errors, Flag, Sent, body},
    lookup_run,
    mark::{self, NewState, PatchTaskInstanceBody, Targets},
    runs::{DagPath, MutableState, RunChange, RunPath},
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    changes::{Change, Managed, Mask, commands, name_in, of_one},
    error::{ApiError, ApiResult},
    reads::lookup::lookup_instance,
};

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(runs)).routes(routes!(task_instances))
}

body! {
    /// A run, and what it is to be changed to.
    pub struct BulkDAGRunBody {
        dag_run_id: String,
        /// The DAG of the path when it is left out.
        dag_id: Option<String>,
        state: Option<MutableState>,
        /// Null or an empty text takes the note away.
        note: Sent<Option<Note>>,
    }
}

body! {
    /// A task instance, and what it is to be changed to.
    pub struct BulkTaskInstanceBody {
        task_id: String,
        map_index: MapIndex,
        /// The DAG of the path when it is left out.
        dag_id: Option<String>,
        /// The run of the path when it is left out.
        dag_run_id: Option<String>,
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

bulk_body!(BulkBodyDAGRun of BulkDAGRunBody);
bulk_body!(BulkBodyTaskInstance of BulkTaskInstanceBody);

/// Bulk Dag Runs
///
/// `~` in the path when each entity names its DAG.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns", operation_id = "bulk_dag_runs", tag = "DagRun",
    params(DagPath),
    request_body = BulkBodyDAGRun,
    responses((status = 200, description = "Successful Response", body = BulkResponse), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn runs(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    DagPath { dag_id }: DagPath,
    body: Body,
) -> ApiResult<Json<BulkResponse>> {
    bulk::apply(&Runs { dag_id }, &app, &who, body).await.map(Json)
}

/// Bulk Task Instances
///
/// `~` in the path where each entity names its own.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances",
    operation_id = "bulk_task_instances", tag = "Task Instance",
    params(RunPath),
    request_body = BulkBodyTaskInstance,
    responses((status = 200, description = "Successful Response", body = BulkResponse), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn task_instances(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    RunPath { dag_id, dag_run_id }: RunPath,
    body: Body,
) -> ApiResult<Json<BulkResponse>> {
    bulk::apply(&TaskInstances { runs: Runs { dag_id }, run_id: dag_run_id }, &app, &who, body).await.map(Json)
}

/// The runs of a path.
struct Runs {
    dag_id: String,
}

/// A run by the texts of a client.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct RunName {
    dag_id: String,
    run_id: String,
}

impl fmt::Display for RunName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.dag_id, self.run_id)
    }
}

impl RunName {
    /// Notes when it names no run: an entity has to say what the path leaves open.
    fn check(&self, body: &mut Body) {
        if self.dag_id == ALL || self.run_id == ALL {
            let why = format!("`~` names no run: say which dag_id and dag_run_id are meant, not {self}");
            body.wrong("dag_id", "value_error", why, Value::Null);
        }
    }

    /// The ids, when they can be some.
    fn parsed(&self) -> Option<(DagId, RunId)> {
        Some((DagId::new(self.dag_id.as_str()).ok()?, RunId::new(self.run_id.as_str()).ok()?))
    }

    /// The ids, when who asks may change the DAG.
    fn changeable(&self, who: &Principal) -> ApiResult<(DagId, RunId)> {
        who.must_change(&self.dag_id)?;
        self.parsed().ok_or_else(|| {
            ApiError::NotFound(format!(
                "The DagRun with dag_id: `{}` and run_id: `{}` was not found",
                self.dag_id, self.run_id
            ))
        })
    }

    /// The run, if there is one.
    async fn row(&self, app: &App) -> ApiResult<Option<RunRow>> {
        match lookup_run(app, &self.dag_id, &self.run_id).await {
            Ok(run) => Ok(Some(run)),
            Err(ApiError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

struct RunWish {
    name: RunName,
    change: RunChange,
}

impl Managed for Runs {
    type Id = RunName;
    type Wish = RunWish;
    const SEVERAL: &'static str = "DagRuns with these identifiers";

    fn read(&self, body: &mut Body, _: &Mask) -> RunWish {
        let wish = BulkDAGRunBody::read(body);
        let dag_id = wish.dag_id.unwrap_or_else(|| self.dag_id.clone());
        let name = RunName { dag_id, run_id: wish.dag_run_id };
        name.check(body);
        RunWish { name, change: RunChange::of(wish.state, wish.note) }
    }

    fn id<'w>(&self, wish: &'w RunWish) -> &'w RunName {
        &wish.name
    }

    fn named(&self, entity: &Value) -> Option<RunName> {
        let dag_id = entity.get("dag_id").and_then(Value::as_str).unwrap_or(&self.dag_id).to_owned();
        Some(RunName { dag_id, run_id: name_in(entity, "dag_run_id")? })
    }

    async fn known(&self, app: &App, of: BTreeSet<RunName>) -> ApiResult<BTreeSet<RunName>> {
        let names = of.iter().filter_map(RunName::parsed);
        let known: BTreeSet<(DagId, RunId)> = read::runs_known(&app.pool, names).await?.into_iter().collect();
        Ok(of.into_iter().filter(|name| name.parsed().is_some_and(|name| known.contains(&name))).collect())
    }

    async fn carry_out(
        &self,
        app: &App,
        who: &Principal,
        changes: &[Change<'_, Self>],
    ) -> ApiResult<Vec<ApiResult<()>>> {
        let mut wanted = Vec::with_capacity(changes.len());
        for change in changes {
            wanted.push(match change {
                Change::Create(_) => {
                    let text = "Dag Runs bulk create is not supported. Use the trigger Dag Run endpoint instead.";
                    Err(ApiError::NotAllowed(text.to_owned()))
                }
                Change::Update(wish, mask) => {
                    wish.name.changeable(who).map(|(dag_id, run_id)| wish.change.commands(dag_id, run_id, mask))
                }
                Change::Delete(name) => {
                    name.changeable(who).map(|(dag_id, run_id)| vec![Command::DeleteDagRun { dag_id, run_id }])
                }
            });
        }
        Ok(commands::send_groups(app, wanted, who).await?.into_iter().map(|done| done.map(drop)).collect())
    }
}

/// The task instances of a path.
struct TaskInstances {
    runs: Runs,
    run_id: String,
}

/// A task instance by the texts of a client.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct InstanceName {
    run: RunName,
    task_id: String,
    map: MapIndex,
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}[{}]", self.run, self.task_id, self.map)
    }
}

struct InstanceWish {
    name: InstanceName,
    wish: mark::Wish,
}

impl Managed for TaskInstances {
    type Id = InstanceName;
    type Wish = InstanceWish;
    const SEVERAL: &'static str = "task instances with these identifiers";

    fn read(&self, body: &mut Body, _: &Mask) -> InstanceWish {
        let wish = BulkTaskInstanceBody::read(body);
        let dag_id = wish.dag_id.unwrap_or_else(|| self.runs.dag_id.clone());
        let run_id = wish.dag_run_id.unwrap_or_else(|| self.run_id.clone());
        let run = RunName { dag_id, run_id };
        run.check(body);
        let change = PatchTaskInstanceBody {
            new_state: wish.new_state,
            note: wish.note,
            include_upstream: wish.include_upstream,
            include_downstream: wish.include_downstream,
            include_future: wish.include_future,
            include_past: wish.include_past,
        };
        InstanceWish {
            name: InstanceName { run, task_id: wish.task_id, map: wish.map_index },
            wish: mark::Wish::from(change),
        }
    }

    fn id<'w>(&self, wish: &'w InstanceWish) -> &'w InstanceName {
        &wish.name
    }

    fn named(&self, entity: &Value) -> Option<InstanceName> {
        let text = |name: &str, path: &str| entity.get(name).and_then(Value::as_str).unwrap_or(path).to_owned();
        Some(InstanceName {
            run: RunName { dag_id: text("dag_id", &self.runs.dag_id), run_id: text("dag_run_id", &self.run_id) },
            task_id: name_in(entity, "task_id")?,
            map: match entity.get("map_index") {
                None | Some(Value::Null) => MapIndex::UNMAPPED,
                Some(map) => MapIndex(map.as_i64().and_then(|map| i32::try_from(map).ok())?),
            },
        })
    }

    /// Each run is read once, however many of its instances are named.
    async fn known(&self, app: &App, of: BTreeSet<InstanceName>) -> ApiResult<BTreeSet<InstanceName>> {
        let mut by_run: BTreeMap<RunName, Vec<InstanceName>> = BTreeMap::new();
        for name in of {
            by_run.entry(name.run.clone()).or_default().push(name);
        }
        let mut known = BTreeSet::new();
        for (run, names) in by_run {
            let Some(row) = run.row(app).await? else { continue };
            let version = app.versions.one(&app.pool, row.version).await?;
            let key = |name: &InstanceName| {
                let pos = version.dag.position(&TaskId::new(name.task_id.as_str()).ok()?)?;
                Some(TiKey { run: row.key, task: version.task_idx[pos.0], map: name.map })
            };
            let keyed: Vec<(TiKey, InstanceName)> =
                names.into_iter().filter_map(|name| Some((key(&name)?, name))).collect();
            let stored: BTreeSet<TiKey> = read::instances_at(&app.pool, keyed.iter().map(|(key, _)| *key))
                .await?
                .into_iter()
                .map(|one| one.row.key)
                .collect();
            // A task without a row is one instance, which has not begun; an expanded one has rows.
            let is_there = |key: &TiKey| stored.contains(key) || key.map == MapIndex::UNMAPPED;
            known.extend(keyed.into_iter().filter(|(key, _)| is_there(key)).map(|(_, name)| name));
        }
        Ok(known)
    }

    async fn carry_out(
        &self,
        app: &App,
        who: &Principal,
        changes: &[Change<'_, Self>],
    ) -> ApiResult<Vec<ApiResult<()>>> {
        let mut wanted = Vec::with_capacity(changes.len());
        for change in changes {
            wanted.push(match change {
                Change::Create(_) => {
                    Err(ApiError::NotAllowed("Task instances bulk create is not supported".to_owned()))
                }
                Change::Update(wish, mask) => of_one(commands_of(app, who, wish, mask).await)?,
                Change::Delete(name) => of_one(deletion_of(app, who, name).await)?,
            });
        }
        let done = commands::send_groups(app, wanted, who).await?;
        Ok(changes.iter().zip(done).map(|(change, done)| done.and_then(|answers| said(change, &answers))).collect())
    }
}

/// A mark that has touched nothing found everything in its state.
fn said(change: &Change<'_, TaskInstances>, answers: &[Value]) -> ApiResult<()> {
    let touched = answers.first().and_then(|answer| answer.get("task_instances")).and_then(Value::as_array);
    match change {
        Change::Update(wish, mask) if touched.is_some_and(Vec::is_empty) && mask.has("new_state") => {
            let (task, state) = (&wish.name.task_id, wish.wish.state_name());
            Err(ApiError::Conflict(format!("Task id {task} is already in {state} state")))
        }
        Change::Create(_) | Change::Update(..) | Change::Delete(_) => Ok(()),
    }
}

/// The command that deletes a task instance.
async fn deletion_of(app: &App, who: &Principal, name: &InstanceName) -> ApiResult<Vec<Command>> {
    let InstanceName { run, task_id, map } = name;
    who.must_change(&run.dag_id)?;
    let of = lookup_instance(app, &run.dag_id, &run.run_id, task_id, *map).await?;
    Ok(vec![Command::DeleteTaskInstance(of.name())])
}

/// The commands that carry out what is wished of a task instance.
async fn commands_of(app: &App, who: &Principal, wish: &InstanceWish, mask: &Mask) -> ApiResult<Vec<Command>> {
    let InstanceName { run, task_id, map } = &wish.name;
    who.must_change(&run.dag_id)?;
    let of = lookup_instance(app, &run.dag_id, &run.run_id, task_id, *map).await?;
    wish.wish.limited_to(mask).commands(app, &Targets::one(of)).await
}
