//! Task instances: lists of them, and one.
//!
//! What limits rows is PostgreSQL's to find; what only a definition has (pool, queue, operator) becomes the numbers of the
//! tasks that are meant, version by version. Instances without a row come from there, too ([`read::instance_list`]).

use std::{collections::BTreeMap, sync::Arc};

use axum::{Extension, Json, extract::State};
use engine::RunRow;
use model::{DagId, DagVersionId, MapIndex, RunKey, TaskIdx};
use store::read::{self, Direction, InstanceOrder, InstancesOf, RunFilter, Version};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ALL,
    cursor::CursorPage,
    declare::{Errors, path_params, schema},
    instance_answer::{TaskInstanceCollectionResponse, TaskInstanceResponse},
    instance_filter::{InstancesQuery, Keep, Key, MappedQuery, TaskInstancesBatchBody},
    lookup_dag, lookup_run, parse_task,
    runs::{RunPath, one_key, only_all},
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    error::{ApiError, ApiResult},
    reads::{
        instances::{self, Found, TaskOfRun},
        lookup::lookup_instance,
        rendered,
        versions::{VERSIONS_MAX, Versions},
    },
};

/// Versions that a filter by what definitions have may look at: as many as are kept in memory.
const VERSIONS_LOOKED_AT_MAX: i64 = VERSIONS_MAX as i64 / 2;

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(batch))
        .routes(routes!(one))
        .routes(routes!(one_mapped))
        .routes(routes!(mapped_list))
}

path_params! {
    /// What a batch request is about: its body says it.
    pub struct EveryRunPath {
        dag_id: String => schema::words([ALL]),
        dag_run_id: String => schema::words([ALL]),
    }
}

path_params! {
    /// A task instance that is not expanded, or a task of a run.
    pub struct TaskPath {
        dag_id: String,
        dag_run_id: String,
        task_id: String,
    }
}

path_params! {
    /// An instance of an expanded task; -1 is one that is not expanded.
    pub struct MappedPath {
        dag_id: String,
        dag_run_id: String,
        task_id: String,
        map_index: MapIndex,
    }
}

impl TaskPath {
    /// The instance with an index.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub async fn instance(&self, app: &App, map: MapIndex) -> ApiResult<TaskOfRun> {
        lookup_instance(app, &self.dag_id, &self.dag_run_id, &self.task_id, map).await
    }
}

impl MappedPath {
    /// The instance.
    ///
    /// # Errors
    /// [`ApiError::NotFound`].
    pub async fn instance(&self, app: &App) -> ApiResult<TaskOfRun> {
        lookup_instance(app, &self.dag_id, &self.dag_run_id, &self.task_id, self.map_index).await
    }
}

/// Get Task Instances
///
/// `~` stands for all runs, and with it for all DAGs.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances",
    operation_id = "get_task_instances", tag = "Task Instance",
    params(RunPath, InstancesQuery),
    responses((status = 200, description = "Successful Response", body = TaskInstanceCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn list(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    RunPath { dag_id, dag_run_id }: RunPath,
    query: InstancesQuery,
) -> ApiResult<Json<TaskInstanceCollectionResponse>> {
    let (page, order) = (query.page.clone(), query.order_by.0.clone());
    let mut keep = Keep::from(query);
    match scope(&app, &dag_id, &dag_run_id).await? {
        Scope::Run(run) => of_run(&app, *run, &keep, &order, &page).await,
        Scope::Runs(dag_ids) => {
            keep.dag_ids = dag_ids;
            of_runs(&app, &who, &keep, &order, &page).await
        }
    }
}

/// Get Task Instances Batch
///
/// The same with its filters in the body.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/list",
    operation_id = "get_task_instances_batch", tag = "Task Instance",
    params(EveryRunPath),
    request_body = TaskInstancesBatchBody,
    responses((status = 200, description = "Successful Response", body = TaskInstanceCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn batch(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    EveryRunPath { dag_id, dag_run_id }: EveryRunPath,
    body: TaskInstancesBatchBody,
) -> ApiResult<Json<TaskInstanceCollectionResponse>> {
    only_all(&dag_id, "dag_id")?;
    only_all(&dag_run_id, "dag_run_id")?;
    let order = one_key(body.order_by.as_deref())?;
    let page = CursorPage::of(body.page);
    of_runs(&app, &who, &Keep::from(body), order.as_slice(), &page).await
}

/// Get Mapped Task Instances
///
/// The instances of an expanded task.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/listMapped",
    operation_id = "get_mapped_task_instances", tag = "Task Instance",
    params(TaskPath, MappedQuery),
    responses((status = 200, description = "Successful Response", body = TaskInstanceCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn mapped_list(
    State(app): State<App>,
    path: TaskPath,
    query: MappedQuery,
) -> ApiResult<Json<TaskInstanceCollectionResponse>> {
    let run = lookup_run(&app, &path.dag_id, &path.dag_run_id).await?;
    let task = parse_task(&path.task_id)?;
    let not_mapped = || ApiError::NotFound(format!("Task id {task} is not mapped"));
    let page = CursorPage::of(query.page);
    match instances::find(&app, run.clone(), &task, MapIndex::UNMAPPED).await? {
        Found::Expanded => of_run(&app, run, &Keep::from(query.rows).of_task(&task), &query.order_by.0, &page).await,
        Found::One(_) | Found::Nothing => Err(not_mapped()),
    }
}

/// What a path of a list means.
pub enum Scope {
    /// One run.
    Run(Box<RunRow>),
    /// All runs of these DAGs; of all DAGs when none is named.
    Runs(Vec<DagId>),
}

/// What a path means, `~` for all.
///
/// # Errors
/// [`ApiError::NotFound`], and [`ApiError::BadRequest`] for a run of no DAG.
pub async fn scope(app: &App, dag_id: &str, run_id: &str) -> ApiResult<Scope> {
    match (dag_id, run_id) {
        (ALL, ALL) => Ok(Scope::Runs(Vec::new())),
        (ALL, _) => {
            let text = "A run id names a run of one DAG: give the dag_id, or `~` for both";
            Err(ApiError::BadRequest(text.to_owned()))
        }
        (dag_id, ALL) => Ok(Scope::Runs(vec![lookup_dag(app, dag_id).await?.0.dag_id])),
        (dag_id, run_id) => Ok(Scope::Run(Box::new(lookup_run(app, dag_id, run_id).await?))),
    }
}

async fn of_run(
    app: &App,
    run: RunRow,
    keep: &Keep,
    order: &[(Key, Direction)],
    page: &CursorPage,
) -> ApiResult<Json<TaskInstanceCollectionResponse>> {
    let version = app.versions.one(&app.pool, run.version).await?;
    let mut tasks = if keep.means_none || !keep.means(&run) { Vec::new() } else { keep.tasks_of(&version) };
    let order = match order {
        // The order of definitions is made here, the rest follows it.
        [(Key::Operator, direction)] => {
            by_operator(&version, &mut tasks, *direction);
            Vec::new()
        }
        order => stored_order(order)?,
    };
    let filter = keep.filter(InstancesOf::Run(run.key, tasks), order, page.page);
    let run = Arc::new(run);
    let mut part = read::instance_part(&app.pool, &filter, &page.walk).await?;
    let rows = std::mem::take(&mut part.rows);
    let found = rows.into_iter().filter_map(|one| TaskOfRun::listed(&run, &version, one));
    Ok(Json(TaskInstanceCollectionResponse::of(page, &part, found)))
}

fn by_operator(version: &Version, tasks: &mut [TaskIdx], direction: Direction) {
    let name = |task: &TaskIdx| version.position_of(*task).map(|pos| version.dag.task(pos).operator.name());
    tasks.sort_by(|a, b| direction.turned(name(a).cmp(&name(b))));
}

fn stored_order(order: &[(Key, Direction)]) -> ApiResult<Vec<(InstanceOrder, Direction)>> {
    let stored = |(key, direction): &(Key, Direction)| match key {
        Key::Stored(key) => Ok((*key, *direction)),
        Key::Operator => {
            let text = "Ordering by 'operator' is for one run, and by nothing else beside it";
            Err(ApiError::BadRequest(text.to_owned()))
        }
    };
    order.iter().map(stored).collect()
}

/// The instances of many runs: those of runs that have not ended are completed with the tasks of their versions.
async fn of_runs(
    app: &App,
    who: &Principal,
    keep: &Keep,
    order: &[(Key, Direction)],
    page: &CursorPage,
) -> ApiResult<Json<TaskInstanceCollectionResponse>> {
    if keep.means_none {
        return Ok(Json(TaskInstanceCollectionResponse::whole(Vec::new(), 0)));
    }
    let runs = Box::new(RunFilter { visible: who.visible(), ..keep.runs() });
    let of = InstancesOf::Runs { filter: runs, tasks: BTreeMap::new(), only_these: keep.limits_tasks() };
    let mut filter = keep.filter(of, stored_order(order)?, page.page);
    let completes = filter.means_missing_rows();
    if let InstancesOf::Runs { tasks, .. } = &mut filter.of {
        *tasks = tasks_of_versions(app, keep, completes).await?;
    }
    let _search = app.searches.enter().await?;
    let mut part = read::instance_part(&app.pool, &filter, &page.walk).await?;
    let rows = std::mem::take(&mut part.rows);
    let keys: Vec<RunKey> = rows.iter().map(|one| one.key.run).collect();
    let runs: BTreeMap<RunKey, Arc<RunRow>> =
        read::runs_of(&app.pool, &keys).await?.into_iter().map(|run| (run.key, Arc::new(run))).collect();
    let versions: Versions = app.versions.all(&app.pool, runs.values().map(|run| run.version)).await?;
    let found = rows.into_iter().filter_map(|one| {
        let run = runs.get(&one.key.run)?;
        TaskOfRun::listed(run, versions.get(&run.version)?, one)
    });
    Ok(Json(TaskInstanceCollectionResponse::of(page, &part, found)))
}

/// The tasks that are meant, by version: of all versions when a filter needs definitions; else of those of open runs, when
/// those are completed with instances that have no row.
async fn tasks_of_versions(app: &App, keep: &Keep, completes: bool) -> ApiResult<BTreeMap<DagVersionId, Vec<TaskIdx>>> {
    const MAX: i64 = VERSIONS_LOOKED_AT_MAX;
    let (ids, reason) = if keep.limits_tasks() {
        let reason = format!("These filters look into definitions, and more than {MAX} DAG versions are meant");
        (read::version_ids(&app.pool, &keep.dag_ids, MAX + 1).await?, reason)
    } else if completes {
        let reason = format!(
            "DagRuns of more than {MAX} DAG versions have not ended, and what they have not begun is known from these alone"
        );
        (read::open_versions(&app.pool, &keep.dag_ids, MAX + 1).await?, reason)
    } else {
        return Ok(BTreeMap::new());
    };
    if i64::try_from(ids.len()).is_ok_and(|count| count > MAX) {
        let way_out = if keep.limits_tasks() { "" } else { ", or states (any but no_status)" };
        return Err(ApiError::BadRequest(format!("{reason}: name a DAG in the path, or DAGs in dag_ids{way_out}")));
    }
    let versions = app.versions.all(&app.pool, ids).await?;
    let meant = versions.into_iter().map(|(id, version)| (id, keep.tasks_of(&version)));
    Ok(meant.filter(|(_, tasks)| !tasks.is_empty()).collect())
}

/// Get Task Instance
///
/// With its rendered fields.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}",
    operation_id = "get_task_instance", tag = "Task Instance",
    params(TaskPath),
    responses((status = 200, description = "Successful Response", body = TaskInstanceResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn one(State(app): State<App>, path: TaskPath) -> ApiResult<Json<TaskInstanceResponse>> {
    let of = path.instance(&app, MapIndex::UNMAPPED).await?;
    Ok(Json(with_fields(&app, &of).await))
}

/// Get Mapped Task Instance
///
/// With its rendered fields.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/{map_index}",
    operation_id = "get_mapped_task_instance", tag = "Task Instance",
    params(MappedPath),
    responses((status = 200, description = "Successful Response", body = TaskInstanceResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn one_mapped(State(app): State<App>, path: MappedPath) -> ApiResult<Json<TaskInstanceResponse>> {
    let of = path.instance(&app).await?;
    Ok(Json(with_fields(&app, &of).await))
}

/// Rendered fields stand in the log of an attempt alone.
async fn with_fields(app: &App, of: &TaskOfRun) -> TaskInstanceResponse {
    let answer = TaskInstanceResponse::of(of);
    let row = of.stored.as_ref().map(|stored| &stored.row);
    match row.and_then(|row| Some((row.attempt?, row.worker))) {
        Some((attempt, worker)) => answer.with_fields(rendered::fields(app, attempt, worker).await),
        None => answer,
    }
}
