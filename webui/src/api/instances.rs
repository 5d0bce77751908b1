//! Task instances and their tries.
//!
//! Instances without a row are made from the DAG version, so filters and order work on whole runs in memory; over all
//! runs (`~`) only the newest are looked at, within a bound.

use std::cmp::Ordering;

use axum::{
    Json,
    extract::{Path, State},
};
use engine::RunRow;
use model::{MapIndex, TaskState};
use serde_json::{Value, json};
use store::read::{self, Direction, Pattern, Range, RunFilter, RunOrder};

use super::{
    ALL, lookup_dag, lookup_run, parse_task,
    query::{Query, matches},
    shapes::{self, Times},
};
use crate::{
    app::App,
    error::{ApiError, ApiResult},
    instances::{self, TaskOfRun},
};

/// How many of the newest runs a list over all runs looks at: with 1,000 tasks a run this is 200,000 instances.
const RUNS_MAX: i64 = 200;

#[derive(Debug, Clone, Copy)]
enum Key {
    Id,
    State,
    Duration,
    StartDate,
    EndDate,
    MapIndex,
    TryNumber,
    LogicalDate,
    RunAfter,
    IntervalStart,
    IntervalEnd,
    Operator,
}

fn key(name: &str) -> Option<Key> {
    Some(match name {
        "id" => Key::Id,
        "state" => Key::State,
        "duration" => Key::Duration,
        "start_date" => Key::StartDate,
        "end_date" => Key::EndDate,
        "map_index" | "rendered_map_index" => Key::MapIndex,
        "try_number" => Key::TryNumber,
        "logical_date" => Key::LogicalDate,
        "run_after" => Key::RunAfter,
        "data_interval_start" => Key::IntervalStart,
        "data_interval_end" => Key::IntervalEnd,
        "operator" => Key::Operator,
        _ => return None,
    })
}

/// `GET …/dagRuns/{dag_run_id}/taskInstances`; `~` for all runs, and with it for all DAGs.
pub async fn list(
    State(app): State<App>,
    Path((dag_id, run_id)): Path<(String, String)>,
    mut query: Query,
) -> ApiResult<Json<Value>> {
    let page = query.page();
    let order = query.order(key)?;
    let keep = Keep::of(&mut query)?;
    query.finish()?;
    let runs = runs_of(&app, &dag_id, &run_id, keep.run_after).await?;
    let mut found = instances::of_runs(&app, runs).await?;
    found.retain(|of| keep.keeps(of));
    found.sort_by(|a, b| compare(a, b, &order));
    let total = found.len();
    let shaped: Vec<Value> = page.of(found).iter().map(shapes::instance).collect();
    Ok(Json(json!({
        "task_instances": shaped, "total_entries": total,
        "next_cursor": null, "previous_cursor": null, "total_entries_limit": null,
    })))
}

async fn runs_of(app: &App, dag_id: &str, run_id: &str, run_after: Range) -> ApiResult<Vec<RunRow>> {
    if run_id != ALL {
        if dag_id == ALL {
            let text = "A run id names a run of one DAG: give the dag_id, or `~` for both";
            return Err(ApiError::BadRequest(text.to_owned()));
        }
        return Ok(vec![lookup_run(app, dag_id, run_id).await?]);
    }
    let dag_id = if dag_id == ALL { None } else { Some(lookup_dag(app, dag_id).await?.0.dag_id) };
    let order = vec![(RunOrder::RunAfter, Direction::Descending)];
    let filter = RunFilter { dag_id, run_after, order, limit: RUNS_MAX, ..RunFilter::default() };
    Ok(read::runs(&app.pool, &filter).await?.0)
}

/// Which instances a list is limited to.
struct Keep {
    states: Vec<Option<TaskState>>,
    task_id: Option<String>,
    task_pattern: Pattern,
    pools: Vec<String>,
    queues: Vec<String>,
    operators: Vec<String>,
    map_indexes: Vec<String>,
    run_after: Range,
    start_date: Range,
    end_date: Range,
}

impl Keep {
    fn of(query: &mut Query) -> ApiResult<Self> {
        let own = |name: &str, query: &Query| query.all(name).map(str::to_owned).collect();
        Ok(Self {
            states: query.all("state").map(parse_state).collect::<ApiResult<_>>()?,
            task_id: query.text("task_id").map(str::to_owned),
            task_pattern: query.pattern("task_display_name_pattern"),
            pools: own("pool", query),
            queues: own("queue", query),
            operators: own("operator", query),
            map_indexes: own("map_index", query),
            run_after: query.range("run_after"),
            start_date: query.range("start_date"),
            end_date: query.range("end_date"),
        })
    }

    fn keeps(&self, of: &TaskOfRun) -> bool {
        let task = of.task();
        let row = of.stored.as_ref().map(|stored| &stored.row);
        let state = Some(of.state()).filter(|state| *state != TaskState::NoStatus);
        let among = |list: &[String], text: &str| list.is_empty() || list.iter().any(|one| one == text);
        (self.states.is_empty() || self.states.contains(&state))
            && self.task_id.as_ref().is_none_or(|id| id == task.task_id.as_str())
            && matches(&self.task_pattern, task.task_id.as_str())
            && among(&self.pools, &task.pool)
            && among(&self.queues, &task.queue)
            && among(&self.operators, task.operator.name())
            && among(&self.map_indexes, &of.key.map.to_string())
            && within(self.run_after, Some(of.run.run_after))
            && within(self.start_date, row.and_then(|row| row.started_at))
            && within(self.end_date, row.and_then(|row| row.ended_at))
    }
}

/// Airflow writes no state as `none` in filters, and answers an unknown one with a text.
fn parse_state(text: &str) -> ApiResult<Option<TaskState>> {
    match text {
        "none" | "no_status" => Ok(None),
        text => text.parse().map(Some).map_err(|error: model::UnknownCode| ApiError::MalformedText(error.to_string())),
    }
}

fn within(range: Range, at: Option<model::Timestamp>) -> bool {
    let holds = |bound: Option<model::Timestamp>, fits: &dyn Fn(Ordering) -> bool| {
        bound.is_none_or(|bound| at.is_some_and(|at| fits(at.cmp(&bound))))
    };
    holds(range.gte, &Ordering::is_ge)
        && holds(range.gt, &Ordering::is_gt)
        && holds(range.lte, &Ordering::is_le)
        && holds(range.lt, &Ordering::is_lt)
}

fn compare(a: &TaskOfRun, b: &TaskOfRun, order: &[(Key, Direction)]) -> Ordering {
    let row = |of: &TaskOfRun| of.stored.as_ref().map(|stored| stored.row.clone());
    let started = |of: &TaskOfRun| row(of).and_then(|row| row.started_at);
    let ended = |of: &TaskOfRun| row(of).and_then(|row| row.ended_at);
    let took = |of: &TaskOfRun| started(of).zip(ended(of)).map(|(from, to)| to - from);
    let turned = |ordering: Ordering, direction| match direction {
        Direction::Ascending => ordering,
        Direction::Descending => ordering.reverse(),
    };
    let keys = order.iter().map(|(key, direction)| {
        let ordering = match key {
            Key::Id => a.key.uuid().cmp(&b.key.uuid()),
            Key::State => a.state().name().cmp(b.state().name()),
            Key::Duration => took(a).cmp(&took(b)),
            Key::StartDate => started(a).cmp(&started(b)),
            Key::EndDate => ended(a).cmp(&ended(b)),
            Key::MapIndex => a.key.map.cmp(&b.key.map),
            Key::TryNumber => a.try_number().cmp(&b.try_number()),
            Key::LogicalDate => a.run.logical_date.cmp(&b.run.logical_date),
            Key::RunAfter => a.run.run_after.cmp(&b.run.run_after),
            Key::IntervalStart => {
                a.run.data_interval.map(|(start, _)| start).cmp(&b.run.data_interval.map(|(start, _)| start))
            }
            Key::IntervalEnd => a.run.data_interval.map(|(_, end)| end).cmp(&b.run.data_interval.map(|(_, end)| end)),
            Key::Operator => a.task().operator.name().cmp(b.task().operator.name()),
        };
        turned(ordering, *direction)
    });
    // The sort is stable: what is equal stays in the order of runs and tasks.
    keys.fold(Ordering::Equal, Ordering::then)
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

/// `GET …/taskInstances/{task_id}`.
pub async fn one(
    State(app): State<App>,
    Path((dag_id, run_id, task_id)): Path<(String, String, String)>,
) -> ApiResult<Json<Value>> {
    Ok(Json(shapes::instance(&lookup(&app, &dag_id, &run_id, &task_id, MapIndex::UNMAPPED).await?)))
}

/// `GET …/taskInstances/{task_id}/{map_index}`.
pub async fn mapped(
    State(app): State<App>,
    Path((dag_id, run_id, task_id, map_index)): Path<(String, String, String, i32)>,
) -> ApiResult<Json<Value>> {
    Ok(Json(shapes::instance(&lookup(&app, &dag_id, &run_id, &task_id, MapIndex(map_index)).await?)))
}

/// `GET …/taskInstances/{task_id}/tries`: all tries, the current one last.
pub async fn tries(
    State(app): State<App>,
    Path((dag_id, run_id, task_id)): Path<(String, String, String)>,
) -> ApiResult<Json<Value>> {
    let of = lookup(&app, &dag_id, &run_id, &task_id, MapIndex::UNMAPPED).await?;
    let past = read::tries(&app.pool, of.key).await?;
    let mut tries: Vec<Value> = past
        .iter()
        .filter(|past| past.try_number.get() != of.try_number())
        .map(|past| shapes::superseded(&of, past))
        .collect();
    if let Some(stored) = of.stored.as_ref().filter(|_| of.try_number() > 0) {
        let row = &stored.row;
        let times = Times { queued: row.queued_at, started: row.started_at, ended: row.ended_at };
        tries.push(shapes::try_body(&of, of.try_number(), of.state(), times, stored.worker.as_deref()));
    }
    Ok(Json(json!({ "total_entries": tries.len(), "task_instances": tries })))
}
