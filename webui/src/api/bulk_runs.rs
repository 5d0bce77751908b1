//! Runs and task instances in bulk requests: they are changed and deleted by them, never created.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use axum::{
    Extension, Json,
    extract::{Path, State},
};
use engine::RunRow;
use model::{Command, DagId, MapIndex, RunId, TaskId, TiKey, command::ClearEffect};
use serde_json::Value;
use store::read;

use super::{
    ALL,
    body::Body,
    bulk::{self, Managed, Mask},
    instances::lookup,
    lookup_run,
    mark::{self, Targets},
    runs::RunChange,
};
use crate::{
    app::App,
    auth::Principal,
    commands,
    error::{ApiError, ApiResult},
};

/// `PATCH /api/v2/dags/{dag_id}/dagRuns`; `~` when each entity names its DAG.
pub async fn runs(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(dag_id): Path<String>,
    body: Body,
) -> ApiResult<Json<bulk::BulkResponse>> {
    bulk::apply(&Runs { dag_id }, &app, &who, body).await.map(Json)
}

/// `PATCH …/dagRuns/{dag_run_id}/taskInstances`; `~` where each entity names its own.
pub async fn task_instances(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id)): Path<(String, String)>,
    body: Body,
) -> ApiResult<Json<bulk::BulkResponse>> {
    bulk::apply(&TaskInstances { runs: Runs { dag_id }, run_id }, &app, &who, body).await.map(Json)
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
        let dag_id = body.text("dag_id").unwrap_or_else(|| self.dag_id.clone());
        let name = RunName { dag_id, run_id: body.required_text("dag_run_id") };
        name.check(body);
        RunWish { name, change: RunChange::read(body) }
    }

    fn id<'w>(&self, wish: &'w RunWish) -> &'w RunName {
        &wish.name
    }

    fn named(&self, entity: &Value) -> Option<RunName> {
        let dag_id = entity.get("dag_id").and_then(Value::as_str).unwrap_or(&self.dag_id).to_owned();
        Some(RunName { dag_id, run_id: bulk::name_in(entity, "dag_run_id")? })
    }

    async fn known(&self, app: &App, of: BTreeSet<RunName>) -> ApiResult<BTreeSet<RunName>> {
        let names = of.iter().filter_map(RunName::parsed);
        let known: BTreeSet<(DagId, RunId)> = read::runs_known(&app.pool, names).await?.into_iter().collect();
        Ok(of.into_iter().filter(|name| name.parsed().is_some_and(|name| known.contains(&name))).collect())
    }

    async fn create(&self, _: &App, _: &Principal, _: &RunWish) -> ApiResult<()> {
        let text = "Dag Runs bulk create is not supported. Use the trigger Dag Run endpoint instead.";
        Err(ApiError::NotAllowed(text.to_owned()))
    }

    async fn update(&self, app: &App, who: &Principal, wish: &RunWish, mask: &Mask) -> ApiResult<()> {
        let run = lookup_run(app, &wish.name.dag_id, &wish.name.run_id).await?;
        wish.change.carry_out(app, &run, mask, who).await
    }

    async fn delete(&self, app: &App, who: &Principal, name: &RunName) -> ApiResult<()> {
        let run = lookup_run(app, &name.dag_id, &name.run_id).await?;
        let command = Command::DeleteDagRun { dag_id: run.dag_id, run_id: run.run_id };
        commands::send(app, &command, who).await.map(drop)
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
        let dag_id = body.text("dag_id").unwrap_or_else(|| self.runs.dag_id.clone());
        let run_id = body.text("dag_run_id").unwrap_or_else(|| self.run_id.clone());
        let run = RunName { dag_id, run_id };
        run.check(body);
        let map = body.map_index();
        let name = InstanceName { run, task_id: body.required_text("task_id"), map };
        InstanceWish { name, wish: mark::Wish::read(body) }
    }

    fn id<'w>(&self, wish: &'w InstanceWish) -> &'w InstanceName {
        &wish.name
    }

    fn named(&self, entity: &Value) -> Option<InstanceName> {
        let text = |name: &str, path: &str| entity.get(name).and_then(Value::as_str).unwrap_or(path).to_owned();
        Some(InstanceName {
            run: RunName { dag_id: text("dag_id", &self.runs.dag_id), run_id: text("dag_run_id", &self.run_id) },
            task_id: bulk::name_in(entity, "task_id")?,
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

    async fn create(&self, _: &App, _: &Principal, _: &InstanceWish) -> ApiResult<()> {
        Err(ApiError::NotAllowed("Task instances bulk create is not supported".to_owned()))
    }

    async fn update(&self, app: &App, who: &Principal, wish: &InstanceWish, mask: &Mask) -> ApiResult<()> {
        let InstanceName { run, task_id, map } = &wish.name;
        let of = lookup(app, &run.dag_id, &run.run_id, task_id, *map).await?;
        let wish = wish.wish.limited_to(mask);
        wish.carry_out(app, Targets::one(of), ClearEffect::Apply, who).await.map(drop)
    }

    async fn delete(&self, _: &App, _: &Principal, _: &InstanceName) -> ApiResult<()> {
        Err(ApiError::NotAllowed(super::absent::INSTANCE_STAYS.to_owned()))
    }
}
