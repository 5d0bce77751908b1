//! Filters and order of lists of task instances, from a query or from the body of a batch request.

use std::cmp::Ordering;

use model::{DagId, RunId, TaskState, Timestamp};
use store::read::{Direction, Pattern, Range, SecondsRange};

use super::{
    body::Body,
    query::{Query, by_keys, matches},
};
use crate::{
    error::{ApiError, ApiResult},
    instances::TaskOfRun,
};

/// What lists can be ordered by.
#[derive(Debug, Clone, Copy)]
pub enum Key {
    /// The instance's id.
    Id,
    /// Its state's name.
    State,
    /// How long it took.
    Duration,
    /// When it began.
    StartDate,
    /// When it ended.
    EndDate,
    /// Its map index.
    MapIndex,
    /// Its try.
    TryNumber,
    /// Its run's date.
    LogicalDate,
    /// Its run's earliest start.
    RunAfter,
    /// The start of its run's data interval.
    IntervalStart,
    /// The end of its run's data interval.
    IntervalEnd,
    /// Its operator.
    Operator,
}

/// The attribute of a name.
#[must_use]
pub fn key(name: &str) -> Option<Key> {
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

/// Which instances a list is limited to.
#[derive(Debug, Default)]
pub struct Keep {
    /// Of these DAGs; of any when empty.
    pub dag_ids: Vec<DagId>,
    /// Of runs with these ids; of any when empty.
    pub run_ids: Vec<RunId>,
    /// Of runs that start at the earliest in this range.
    pub run_after: Range,
    /// Of runs that stand for a date in this range.
    pub logical_date: Range,
    states: Vec<Option<TaskState>>,
    task_ids: Vec<String>,
    task_pattern: Pattern,
    pools: Vec<String>,
    queues: Vec<String>,
    operators: Vec<String>,
    map_indexes: Vec<i32>,
    try_numbers: Vec<i32>,
    versions: Vec<i32>,
    start_date: Range,
    end_date: Range,
    duration: SecondsRange,
}

impl Keep {
    /// The filters of a query.
    ///
    /// # Errors
    /// [`ApiError::MalformedText`] for a state that is none.
    pub fn of_query(query: &mut Query) -> ApiResult<Self> {
        let own = |name: &str, query: &Query| query.all(name).map(str::to_owned).collect::<Vec<String>>();
        Ok(Self {
            states: query.all("state").map(parse_state).collect::<ApiResult<_>>()?,
            task_ids: own("task_id", query),
            task_pattern: query.pattern("task_display_name_pattern"),
            pools: own("pool", query),
            queues: own("queue", query),
            operators: own("operator", query),
            map_indexes: query.numbers("map_index"),
            try_numbers: query.numbers("try_number"),
            versions: query.numbers("version_number"),
            run_after: query.range("run_after"),
            logical_date: query.range("logical_date"),
            start_date: query.range("start_date"),
            end_date: query.range("end_date"),
            duration: query.seconds("duration"),
            ..Self::default()
        })
    }

    /// The filters of a batch request.
    ///
    /// # Errors
    /// [`ApiError::MalformedText`] for a state that is none.
    pub fn of_body(body: &mut Body) -> ApiResult<Self> {
        let states = body.list("state");
        Ok(Self {
            dag_ids: body.texts("dag_ids").into_iter().filter_map(|id| DagId::new(id).ok()).collect(),
            run_ids: body.texts("dag_run_ids").into_iter().filter_map(|id| RunId::new(id).ok()).collect(),
            task_ids: body.texts("task_ids"),
            states: states.iter().map(|word| parse_state(word.as_str().unwrap_or("none"))).collect::<ApiResult<_>>()?,
            pools: body.texts("pool"),
            queues: body.texts("queue"),
            run_after: body.range("run_after"),
            logical_date: body.range("logical_date"),
            start_date: body.range("start_date"),
            end_date: body.range("end_date"),
            duration: body.seconds("duration"),
            ..Self::default()
        })
    }

    /// Whether an instance is among them. What its run is limited to has been asked of the store.
    #[must_use]
    pub fn keeps(&self, of: &TaskOfRun) -> bool {
        let task = of.task();
        let row = of.stored.as_ref().map(|stored| &stored.row);
        let state = Some(of.state()).filter(|state| *state != TaskState::NoStatus);
        let (started, ended) = (row.and_then(|row| row.started_at), row.and_then(|row| row.ended_at));
        let took = started.zip(ended).map(|(from, to)| (to - from).as_seconds_f64());
        (self.states.is_empty() || self.states.contains(&state))
            && among(&self.task_ids, task.task_id.as_str())
            && matches(&self.task_pattern, task.task_id.as_str())
            && among(&self.pools, &task.pool)
            && among(&self.queues, &task.queue)
            && among(&self.operators, task.operator.name())
            && (self.map_indexes.is_empty() || self.map_indexes.contains(&of.key.map.get()))
            && (self.try_numbers.is_empty() || self.try_numbers.contains(&i32::from(of.try_number())))
            && (self.versions.is_empty() || self.versions.contains(&of.version.number))
            && within(self.start_date, started)
            && within(self.end_date, ended)
            && lasts(self.duration, took)
    }
}

fn among(list: &[String], text: &str) -> bool {
    list.is_empty() || list.iter().any(|one| one == text)
}

/// Airflow writes no state as `none` in filters, and answers an unknown one with a text.
fn parse_state(text: &str) -> ApiResult<Option<TaskState>> {
    match text {
        "none" | "no_status" => Ok(None),
        text => text.parse().map(Some).map_err(|error: model::UnknownCode| ApiError::MalformedText(error.to_string())),
    }
}

fn within(range: Range, at: Option<Timestamp>) -> bool {
    let holds = |bound: Option<Timestamp>, fits: &dyn Fn(Ordering) -> bool| {
        bound.is_none_or(|bound| at.is_some_and(|at| fits(at.cmp(&bound))))
    };
    holds(range.gte, &Ordering::is_ge)
        && holds(range.gt, &Ordering::is_gt)
        && holds(range.lte, &Ordering::is_le)
        && holds(range.lt, &Ordering::is_lt)
}

fn lasts(range: SecondsRange, seconds: Option<f64>) -> bool {
    let holds = |bound: Option<f64>, fits: &dyn Fn(f64, f64) -> bool| {
        bound.is_none_or(|bound| seconds.is_some_and(|seconds| fits(seconds, bound)))
    };
    holds(range.gte, &|took, bound| took >= bound)
        && holds(range.gt, &|took, bound| took > bound)
        && holds(range.lte, &|took, bound| took <= bound)
        && holds(range.lt, &|took, bound| took < bound)
}

/// The order of two instances; what is equal stays in the order of runs and tasks, because the sort is stable.
#[must_use]
pub fn compare(a: &TaskOfRun, b: &TaskOfRun, order: &[(Key, Direction)]) -> Ordering {
    let started = |of: &TaskOfRun| of.stored.as_ref().and_then(|stored| stored.row.started_at);
    let ended = |of: &TaskOfRun| of.stored.as_ref().and_then(|stored| stored.row.ended_at);
    let took = |of: &TaskOfRun| started(of).zip(ended(of)).map(|(from, to)| to - from);
    by_keys(order.iter().copied(), |key| match key {
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
    })
}
