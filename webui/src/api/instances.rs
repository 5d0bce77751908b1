//! Task instances: lists of them, and one.
//!
//! What limits rows is PostgreSQL's to find; what only a definition has (pool, queue, operator) becomes the numbers of the
//! tasks that are meant, version by version. Instances without a row come from there, too ([`read::instance_list`]).

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
};
use engine::RunRow;
use model::{DagId, DagVersionId, MapIndex, RunKey, TaskIdx};
use serde_json::{Value, json};
use store::read::{self, Direction, InstanceOrder, InstancesOf, RunFilter, Version};

use super::{
    ALL,
    body::Body,
    instance_filter::{Keep, Key, key},
    lookup_dag, lookup_run, parse_task,
    path::Names,
    query::{Page, Query, sort_key},
    runs::only_all,
    shapes,
};
use crate::{
    app::App,
    error::{ApiError, ApiResult},
    instances::{self, Found, TaskOfRun},
    rendered,
    versions::{VERSIONS_MAX, Versions},
};

/// Versions that a filter by what definitions have may look at: as many as are kept in memory.
const VERSIONS_LOOKED_AT_MAX: i64 = VERSIONS_MAX as i64 / 2;

/// `GET …/dagRuns/{dag_run_id}/taskInstances`; `~` for all runs, and with it for all DAGs.
pub async fn list(
    State(app): State<App>,
    Path((dag_id, run_id)): Path<(String, String)>,
    mut query: Query,
) -> ApiResult<Json<Value>> {
    let page = query.page();
    let order = query.order(key)?;
    let mut keep = Keep::of_query(&mut query)?;
    query.finish()?;
    match scope(&app, &dag_id, &run_id).await? {
        Scope::Run(run) => of_run(&app, *run, &keep, &order, page).await,
        Scope::Runs(dag_ids) => {
            keep.dag_ids = dag_ids;
            of_runs(&app, &keep, &order, page).await
        }
    }
}

/// `POST /api/v2/dags/~/dagRuns/~/taskInstances/list`: the same with its filters in the body.
pub async fn batch(
    State(app): State<App>,
    Path((dag_id, run_id)): Path<(String, String)>,
    mut body: Body,
) -> ApiResult<Json<Value>> {
    only_all(&dag_id, "dag_id")?;
    only_all(&run_id, "dag_run_id")?;
    let page = body.page();
    let order = body.text("order_by").map(|text| sort_key(&text, key)).transpose()?;
    let keep = Keep::of_body(&mut body)?;
    body.take("executor");
    body.finish()?;
    of_runs(&app, &keep, order.as_slice(), page).await
}

/// `GET …/taskInstances/{task_id}/listMapped`: the instances of an expanded task.
pub async fn mapped_list(
    State(app): State<App>,
    Path((dag_id, run_id, task_id)): Path<(String, String, String)>,
    mut query: Query,
) -> ApiResult<Json<Value>> {
    let page = query.page();
    let order = query.order(key)?;
    let keep = Keep::of_query(&mut query)?;
    query.finish()?;
    let run = lookup_run(&app, &dag_id, &run_id).await?;
    let task = parse_task(&task_id)?;
    let not_mapped = || ApiError::NotFound(format!("Task id {task_id} is not mapped"));
    match instances::find(&app, run.clone(), &task, MapIndex::UNMAPPED).await? {
        Found::Expanded => of_run(&app, run, &keep.of_task(task), &order, page).await,
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

/// The runs that a list over many is limited to.
#[must_use]
pub fn runs_of(keep: &Keep) -> RunFilter {
    RunFilter {
        dag_ids: keep.dag_ids.clone(),
        run_ids: keep.run_ids.clone(),
        run_after: keep.run_after,
        logical_date: keep.logical_date,
        ..RunFilter::default()
    }
}

async fn of_run(app: &App, run: RunRow, keep: &Keep, order: &[(Key, Direction)], page: Page) -> ApiResult<Json<Value>> {
    let version = app.versions.one(&app.pool, run.version).await?;
    let mut tasks = keep.tasks_of(&version);
    let order = match order {
        // The order of definitions is made here, the rest follows it.
        [(Key::Operator, direction)] => {
            by_operator(&version, &mut tasks, *direction);
            Vec::new()
        }
        order => stored_order(order)?,
    };
    let filter = keep.filter(InstancesOf::Run(run.key, tasks), order, page);
    let run = Arc::new(run);
    let (listed, total) = read::instance_list(&app.pool, &filter).await?;
    let found = listed.into_iter().filter_map(|one| TaskOfRun::listed(&run, &version, one));
    Ok(Json(page.answer("task_instances", found.map(|of| shapes::instance(&of)).collect(), total)))
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
async fn of_runs(app: &App, keep: &Keep, order: &[(Key, Direction)], page: Page) -> ApiResult<Json<Value>> {
    if keep.names_nothing {
        return Ok(Json(page.answer("task_instances", Vec::new(), 0)));
    }
    let runs = Box::new(runs_of(keep));
    let of = InstancesOf::Runs { filter: runs, tasks: BTreeMap::new(), only_these: keep.limits_tasks() };
    let mut filter = keep.filter(of, stored_order(order)?, page);
    let completes = filter.means_missing_rows();
    if let InstancesOf::Runs { tasks, .. } = &mut filter.of {
        *tasks = tasks_of_versions(app, keep, completes).await?;
    }
    let _search = app.searches.enter().await?;
    let (listed, total) = read::instance_list(&app.pool, &filter).await?;
    let keys: Vec<RunKey> = listed.iter().map(|one| one.key.run).collect();
    let runs: BTreeMap<RunKey, Arc<RunRow>> =
        read::runs_of(&app.pool, &keys).await?.into_iter().map(|run| (run.key, Arc::new(run))).collect();
    let versions: Versions = app.versions.all(&app.pool, runs.values().map(|run| run.version)).await?;
    let found = listed.into_iter().filter_map(|one| {
        let run = runs.get(&one.key.run)?;
        TaskOfRun::listed(run, versions.get(&run.version)?, one)
    });
    let shaped = found.map(|of| shapes::instance(&of)).collect();
    Ok(Json(page.answer("task_instances", shaped, total)))
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

/// One instance, by the texts of a path.
///
/// # Errors
/// [`ApiError::NotFound`], for an expanded task without an index, too.
pub async fn lookup(app: &App, dag_id: &str, run_id: &str, task_id: &str, map: MapIndex) -> ApiResult<TaskOfRun> {
    let missing = || {
        ApiError::NotFound(format!(
            "The Task Instance with dag_id: `{dag_id}`, run_id: `{run_id}` and task_id: `{task_id}` was not found"
        ))
    };
    let run = lookup_run(app, dag_id, run_id).await?;
    let task = parse_task(task_id).map_err(|_| missing())?;
    match instances::find(app, run, &task, map).await? {
        Found::One(found) => Ok(*found),
        Found::Expanded => {
            Err(ApiError::NotFound("Task instance is mapped, add the map_index value to the URL".to_owned()))
        }
        Found::Nothing => Err(missing()),
    }
}

/// `GET …/taskInstances/{task_id}`, with and without a map index: with its rendered fields, which only its log has.
pub async fn one(State(app): State<App>, names: Names) -> ApiResult<Json<Value>> {
    let of = names.instance(&app).await?;
    let mut shaped = shapes::instance(&of);
    if let Some(row) = of.stored.as_ref().map(|stored| &stored.row)
        && let Some(attempt) = row.attempt
    {
        shaped["rendered_fields"] = json!(rendered::fields(&app, attempt, row.worker).await);
    }
    Ok(Json(shaped))
}
