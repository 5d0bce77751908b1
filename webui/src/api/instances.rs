//! Task instances: lists of them, and one.
//!
//! Instances without a row are made from the DAG version, so filters and order work on whole runs in memory; over all
//! runs (`~`) only the newest are looked at, within a bound.

use axum::{
    Json,
    extract::{Path, State},
};
use engine::RunRow;
use model::{DagId, MapIndex};
use serde_json::{Value, json};
use store::read::{self, Direction, RunFilter, RunOrder};

use super::{
    ALL,
    body::Body,
    instance_filter::{Keep, Key, compare, key},
    lookup_dag, lookup_run, parse_task,
    path::Names,
    query::{Page, Query, sort_key},
    runs::only_all,
    shapes,
};
use crate::{
    app::App,
    error::{ApiError, ApiResult},
    instances::{self, TaskOfRun},
    rendered,
};

/// How many of the newest runs a list over all runs looks at: with 1,000 tasks a run this is 200,000 instances.
const RUNS_MAX: i64 = 200;

/// `GET …/dagRuns/{dag_run_id}/taskInstances`; `~` for all runs, and with it for all DAGs.
pub async fn list(
    State(app): State<App>,
    Path((dag_id, run_id)): Path<(String, String)>,
    mut query: Query,
) -> ApiResult<Json<Value>> {
    let page = query.page();
    let order = query.order(key)?;
    let keep = Keep::of_query(&mut query)?;
    query.finish()?;
    let runs = runs_of(&app, &dag_id, &run_id, &keep).await?;
    listed(&app, runs, page, &keep, &order).await
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
    let runs = newest_runs(&app, keep.dag_ids.clone(), &keep).await?;
    listed(&app, runs, page, &keep, order.as_slice()).await
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
    let mut found = instances::of_runs(&app, vec![run]).await?;
    found.retain(|of| of.task().task_id == task && of.key.map != MapIndex::UNMAPPED);
    if found.is_empty() {
        return Err(ApiError::NotFound(format!("Task id {task_id} is not mapped")));
    }
    Ok(answer(found, page, &keep, &order))
}

async fn listed(
    app: &App,
    runs: Vec<RunRow>,
    page: Page,
    keep: &Keep,
    order: &[(Key, Direction)],
) -> ApiResult<Json<Value>> {
    Ok(answer(instances::of_runs(app, runs).await?, page, keep, order))
}

fn answer(mut found: Vec<TaskOfRun>, page: Page, keep: &Keep, order: &[(Key, Direction)]) -> Json<Value> {
    found.retain(|of| keep.keeps(of));
    found.sort_by(|a, b| compare(a, b, order));
    let total = i64::try_from(found.len()).unwrap_or(i64::MAX);
    Json(page.answer("task_instances", page.of(found).iter().map(shapes::instance).collect(), total))
}

/// The runs that a path of a list means, `~` for all: the newest of them.
///
/// # Errors
/// [`ApiError::NotFound`], and [`ApiError::BadRequest`] for a run of no DAG.
pub async fn runs_of(app: &App, dag_id: &str, run_id: &str, keep: &Keep) -> ApiResult<Vec<RunRow>> {
    if run_id != ALL {
        if dag_id == ALL {
            let text = "A run id names a run of one DAG: give the dag_id, or `~` for both";
            return Err(ApiError::BadRequest(text.to_owned()));
        }
        return Ok(vec![lookup_run(app, dag_id, run_id).await?]);
    }
    let dag_ids = if dag_id == ALL { Vec::new() } else { vec![lookup_dag(app, dag_id).await?.0.dag_id] };
    newest_runs(app, dag_ids, keep).await
}

async fn newest_runs(app: &App, dag_ids: Vec<DagId>, keep: &Keep) -> ApiResult<Vec<RunRow>> {
    let filter = RunFilter {
        dag_ids,
        run_ids: keep.run_ids.clone(),
        run_after: keep.run_after,
        logical_date: keep.logical_date,
        order: vec![(RunOrder::RunAfter, Direction::Descending)],
        limit: RUNS_MAX,
        ..RunFilter::default()
    };
    Ok(read::runs(&app.pool, &filter).await?.0)
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
    let of_task: Vec<TaskOfRun> =
        instances::of_runs(app, vec![run]).await?.into_iter().filter(|of| of.task().task_id == task).collect();
    let expanded = of_task.iter().any(|of| of.key.map != MapIndex::UNMAPPED);
    match of_task.into_iter().find(|of| of.key.map == map) {
        Some(found) => Ok(found),
        None if expanded && map == MapIndex::UNMAPPED => {
            Err(ApiError::NotFound("Task instance is mapped, add the map_index value to the URL".to_owned()))
        }
        None => Err(missing()),
    }
}

/// `GET …/taskInstances/{task_id}`, with and without a map index: with its rendered fields, which only its log has.
pub async fn one(State(app): State<App>, names: Names) -> ApiResult<Json<Value>> {
    let of = names.instance(&app).await?;
    let mut shaped = shapes::instance(&of);
    if let Some(attempt) = of.stored.as_ref().and_then(|stored| stored.row.attempt) {
        shaped["rendered_fields"] = json!(rendered::fields(&app, attempt).await);
    }
    Ok(Json(shaped))
}
