//! Filters and order of lists of task instances, from a query or from the body of a batch request.

use dag::Task;
use model::{DagId, RunId, TaskId, TaskIdx, TaskState};
use store::read::{Direction, InstanceFilter, InstanceOrder, InstancesOf, Pattern, Range, SecondsRange, Version};

use super::{
    body::Body,
    query::{Page, Query, matches},
};
use crate::error::{ApiError, ApiResult};

/// What lists can be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// By what PostgreSQL has.
    Stored(InstanceOrder),
    /// By the operator, which only a definition has.
    Operator,
}

/// The attribute of a name.
#[must_use]
pub fn key(name: &str) -> Option<Key> {
    Some(Key::Stored(match name {
        "id" => InstanceOrder::Id,
        "state" => InstanceOrder::State,
        "duration" => InstanceOrder::Duration,
        "start_date" => InstanceOrder::StartDate,
        "end_date" => InstanceOrder::EndDate,
        "map_index" | "rendered_map_index" => InstanceOrder::MapIndex,
        "try_number" => InstanceOrder::TryNumber,
        "logical_date" => InstanceOrder::LogicalDate,
        "run_after" => InstanceOrder::RunAfter,
        "data_interval_start" => InstanceOrder::IntervalStart,
        "data_interval_end" => InstanceOrder::IntervalEnd,
        "operator" => return Some(Key::Operator),
        _ => return None,
    }))
}

/// Which instances a list is limited to.
#[derive(Debug, Default)]
pub struct Keep {
    /// Of these DAGs; of any when empty.
    pub dag_ids: Vec<DagId>,
    /// Whether DAGs or runs were named that can not be: nothing is meant then.
    pub names_nothing: bool,
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
        let (dag_ids, run_ids) = (body.texts("dag_ids"), body.texts("dag_run_ids"));
        let dags: Vec<DagId> = dag_ids.iter().filter_map(|id| DagId::new(id.as_str()).ok()).collect();
        let runs: Vec<RunId> = run_ids.iter().filter_map(|id| RunId::new(id.as_str()).ok()).collect();
        Ok(Self {
            names_nothing: (dags.is_empty() && !dag_ids.is_empty()) || (runs.is_empty() && !run_ids.is_empty()),
            dag_ids: dags,
            run_ids: runs,
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

    /// The same for one task.
    #[must_use]
    pub fn of_task(self, task: TaskId) -> Self {
        Self { task_ids: vec![task.to_string()], ..self }
    }

    /// Whether tasks are limited by what only a definition has.
    #[must_use]
    pub fn limits_tasks(&self) -> bool {
        let lists = [&self.task_ids, &self.pools, &self.queues, &self.operators];
        lists.iter().any(|list| !list.is_empty()) || !self.task_pattern.0.is_empty() || !self.versions.is_empty()
    }

    /// The tasks of a version that are meant, in its order.
    #[must_use]
    pub fn tasks_of(&self, version: &Version) -> Vec<TaskIdx> {
        if !self.versions.is_empty() && !self.versions.contains(&version.number) {
            return Vec::new();
        }
        let is_meant = |task: &Task| {
            among(&self.task_ids, task.task_id.as_str())
                && matches(&self.task_pattern, task.task_id.as_str())
                && among(&self.pools, &task.pool)
                && among(&self.queues, &task.queue)
                && among(&self.operators, task.operator.name())
        };
        let numbered = version.dag.tasks.iter().zip(&version.task_idx);
        numbered.filter(|(task, _)| is_meant(task)).map(|(_, number)| *number).collect()
    }

    /// What is left to PostgreSQL, of instances of these.
    #[must_use]
    pub fn filter(&self, of: InstancesOf, order: Vec<(InstanceOrder, Direction)>, page: Page) -> InstanceFilter {
        InstanceFilter {
            of,
            states: self.states.iter().map(|state| state.unwrap_or(TaskState::NoStatus)).collect(),
            map_indexes: self.map_indexes.clone(),
            try_numbers: self.try_numbers.clone(),
            start_date: self.start_date,
            end_date: self.end_date,
            duration: self.duration,
            order,
            window: page.window(),
        }
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
