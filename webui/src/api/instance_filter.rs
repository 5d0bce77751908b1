//! Filters and order of lists of task instances, from a query or from the body of a batch request.

use dag::Task;
use engine::RunRow;
use model::{DagId, RunId, TaskId, TaskIdx, TaskState};
use store::read::{
    Direction, InstanceFilter, InstanceOrder, InstancesOf, Pattern, Range, RunFilter, SecondsRange, Version,
};

use super::{
    cursor::CursorPage,
    declare::{
        Never, OrderBy, OrderKey, Prefix, Words, body, param::sort_words, query_params, schema, words::StateFilter,
    },
    query::{Page, matches},
};

/// What lists can be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// By what PostgreSQL has.
    Stored(InstanceOrder),
    /// By the operator, which only a definition has.
    Operator,
}

impl OrderKey for Key {
    const KEYS: &'static [(&'static str, Self)] = &[
        ("id", Self::Stored(InstanceOrder::Id)),
        ("state", Self::Stored(InstanceOrder::State)),
        ("duration", Self::Stored(InstanceOrder::Duration)),
        ("start_date", Self::Stored(InstanceOrder::StartDate)),
        ("end_date", Self::Stored(InstanceOrder::EndDate)),
        ("map_index", Self::Stored(InstanceOrder::MapIndex)),
        ("rendered_map_index", Self::Stored(InstanceOrder::MapIndex)),
        ("try_number", Self::Stored(InstanceOrder::TryNumber)),
        ("logical_date", Self::Stored(InstanceOrder::LogicalDate)),
        ("run_after", Self::Stored(InstanceOrder::RunAfter)),
        ("data_interval_start", Self::Stored(InstanceOrder::IntervalStart)),
        ("data_interval_end", Self::Stored(InstanceOrder::IntervalEnd)),
        ("operator", Self::Operator),
    ];
    const DEFAULT: &'static str = "map_index";
}

query_params! {
    /// What a list of task instances is limited to, whatever tasks it is about.
    pub struct RowsQuery {
        /// `none` is what has no state yet.
        state: Vec<StateFilter>,
        map_index: Vec<i32>,
        try_number: Vec<i32>,
        /// Numbers of the DAG versions that runs are pinned to.
        version_number: Vec<i32>,
        pool: Vec<String>,
        /// Part of the pool's name, whatever its case; `%` and `_` are wildcards, `|` separates alternatives.
        pool_name_pattern: Pattern,
        /// How the pool's name begins.
        pool_name_prefix_pattern: Prefix,
        queue: Vec<String>,
        /// Part of the queue's name.
        queue_name_pattern: Pattern,
        /// How the queue's name begins.
        queue_name_prefix_pattern: Prefix,
        operator: Vec<String>,
        /// Part of the operator's name.
        operator_name_pattern: Pattern,
        /// How the operator's name begins.
        operator_name_prefix_pattern: Prefix,
        /// No task names an executor: none fits.
        executor: Never,
        /// Part of what tells an instance of an expanded task from the others.
        rendered_map_index_pattern: Pattern,
        /// How that begins.
        rendered_map_index_prefix_pattern: Prefix,
        /// When the run starts at the earliest.
        run_after: Range,
        /// The date that the run stands for.
        logical_date: Range,
        start_date: Range,
        end_date: Range,
        updated_at: Range,
        duration: SecondsRange,
    }
}

query_params! {
    /// Which task instances a list has.
    pub struct InstancesQuery {
        page: CursorPage,
        order_by: OrderBy<Key>,
        task_id: Vec<String>,
        /// Part of the task's name, whatever its case; `%` and `_` are wildcards, `|` separates alternatives.
        task_display_name_pattern: Pattern,
        /// How the task's name begins.
        task_display_name_prefix_pattern: Prefix,
        /// The group that tasks are in, or in a group of it.
        task_group_id: Option<String>,
        /// Part of the DAG's id.
        dag_id_pattern: Pattern,
        /// How the DAG's id begins.
        dag_id_prefix_pattern: Prefix,
        /// Part of the run's id.
        run_id_pattern: Pattern,
        /// How the run's id begins.
        run_id_prefix_pattern: Prefix,
        rows: RowsQuery,
    }
}

query_params! {
    /// Which instances of an expanded task a list has.
    pub struct MappedQuery {
        page: Page,
        order_by: OrderBy<Key>,
        rows: RowsQuery,
    }
}

body! {
    /// Which task instances a list has, in the body of a batch request.
    pub struct TaskInstancesBatchBody {
        page: Page,
        /// An attribute to order by, descending after a `-`.
        order_by: Option<String> => schema::nullable(sort_words::<Key>()),
        dag_ids: Vec<String>,
        dag_run_ids: Vec<String>,
        task_ids: Vec<String>,
        /// Null is what has no state yet.
        state: Words<StateFilter>,
        pool: Vec<String>,
        queue: Vec<String>,
        /// No task names an executor: none fits.
        executor: Vec<String>,
        run_after: Range,
        logical_date: Range,
        start_date: Range,
        end_date: Range,
        duration: SecondsRange,
    }
}

/// A text that is looked for in three ways.
#[derive(Debug, Default)]
struct Named {
    one_of: Vec<String>,
    pattern: Pattern,
    prefix: Prefix,
}

impl Named {
    fn limits(&self) -> bool {
        !self.one_of.is_empty() || !self.pattern.0.is_empty() || self.prefix.0.is_some()
    }

    fn fits(&self, text: &str) -> bool {
        (self.one_of.is_empty() || self.one_of.iter().any(|one| one == text))
            && matches(&self.pattern, text)
            && self.prefix.fits(text)
    }
}

/// Which instances a list is limited to.
#[derive(Debug, Default)]
pub struct Keep {
    /// Of these DAGs; of any when empty.
    pub dag_ids: Vec<DagId>,
    /// Whether what is asked for can not be: DAGs or runs by ids that are none, or what no instance has.
    pub means_none: bool,
    run_ids: Vec<RunId>,
    dag: Named,
    run: Named,
    run_after: Range,
    logical_date: Range,
    states: Vec<TaskState>,
    task: Named,
    group: Option<String>,
    pool: Named,
    queue: Named,
    operator: Named,
    map_indexes: Vec<i32>,
    mapped: Named,
    try_numbers: Vec<i32>,
    versions: Vec<i32>,
    start_date: Range,
    end_date: Range,
    updated_at: Range,
    duration: SecondsRange,
}

impl From<RowsQuery> for Keep {
    fn from(rows: RowsQuery) -> Self {
        Self {
            means_none: rows.executor.is_asked,
            states: rows.state.into_iter().map(|state| state.0).collect(),
            pool: Named { one_of: rows.pool, pattern: rows.pool_name_pattern, prefix: rows.pool_name_prefix_pattern },
            queue: Named {
                one_of: rows.queue,
                pattern: rows.queue_name_pattern,
                prefix: rows.queue_name_prefix_pattern,
            },
            operator: Named {
                one_of: rows.operator,
                pattern: rows.operator_name_pattern,
                prefix: rows.operator_name_prefix_pattern,
            },
            map_indexes: rows.map_index,
            mapped: Named {
                one_of: Vec::new(),
                pattern: rows.rendered_map_index_pattern,
                prefix: rows.rendered_map_index_prefix_pattern,
            },
            try_numbers: rows.try_number,
            versions: rows.version_number,
            run_after: rows.run_after,
            logical_date: rows.logical_date,
            start_date: rows.start_date,
            end_date: rows.end_date,
            updated_at: rows.updated_at,
            duration: rows.duration,
            ..Self::default()
        }
    }
}

impl From<InstancesQuery> for Keep {
    fn from(query: InstancesQuery) -> Self {
        let of = |pattern, prefix| Named { one_of: Vec::new(), pattern, prefix };
        Self {
            task: Named {
                one_of: query.task_id,
                pattern: query.task_display_name_pattern,
                prefix: query.task_display_name_prefix_pattern,
            },
            group: query.task_group_id,
            dag: of(query.dag_id_pattern, query.dag_id_prefix_pattern),
            run: of(query.run_id_pattern, query.run_id_prefix_pattern),
            ..Self::from(query.rows)
        }
    }
}

impl From<TaskInstancesBatchBody> for Keep {
    fn from(body: TaskInstancesBatchBody) -> Self {
        let dags: Vec<DagId> = body.dag_ids.iter().filter_map(|id| DagId::new(id.as_str()).ok()).collect();
        let runs: Vec<RunId> = body.dag_run_ids.iter().filter_map(|id| RunId::new(id.as_str()).ok()).collect();
        let named = |one_of| Named { one_of, ..Named::default() };
        Self {
            means_none: (dags.is_empty() && !body.dag_ids.is_empty())
                || (runs.is_empty() && !body.dag_run_ids.is_empty())
                || !body.executor.is_empty(),
            dag_ids: dags,
            run_ids: runs,
            task: named(body.task_ids),
            states: body.state.0.into_iter().map(|state| state.0).collect(),
            pool: named(body.pool),
            queue: named(body.queue),
            run_after: body.run_after,
            logical_date: body.logical_date,
            start_date: body.start_date,
            end_date: body.end_date,
            duration: body.duration,
            ..Self::default()
        }
    }
}

impl Keep {
    /// The same for one task.
    #[must_use]
    pub fn of_task(self, task: &TaskId) -> Self {
        Self { task: Named { one_of: vec![task.to_string()], ..Named::default() }, ..self }
    }

    /// Whether tasks are limited by what only a definition has.
    #[must_use]
    pub fn limits_tasks(&self) -> bool {
        let named = [&self.task, &self.pool, &self.queue, &self.operator];
        named.iter().any(|named| named.limits()) || self.group.is_some() || !self.versions.is_empty()
    }

    /// The tasks of a version that are meant, in its order.
    #[must_use]
    pub fn tasks_of(&self, version: &Version) -> Vec<TaskIdx> {
        if !self.versions.is_empty() && !self.versions.contains(&version.number) {
            return Vec::new();
        }
        let is_meant = |task: &Task| {
            self.task.fits(task.task_id.as_str())
                && self.group.as_deref().is_none_or(|group| is_in_group(task, group))
                && self.pool.fits(&task.pool)
                && self.queue.fits(&task.queue)
                && self.operator.fits(task.operator.name())
        };
        let numbered = version.dag.tasks.iter().zip(&version.task_idx);
        numbered.filter(|(task, _)| is_meant(task)).map(|(_, number)| *number).collect()
    }

    /// The runs that a list over many is limited to.
    #[must_use]
    pub fn runs(&self) -> RunFilter {
        RunFilter {
            dag_ids: self.dag_ids.clone(),
            run_ids: self.run_ids.clone(),
            dag_id_pattern: self.dag.pattern.clone(),
            dag_id_prefix: self.dag.prefix.0.clone(),
            run_id_pattern: self.run.pattern.clone(),
            run_id_prefix: self.run.prefix.0.clone(),
            run_after: self.run_after,
            logical_date: self.logical_date,
            ..RunFilter::default()
        }
    }

    /// Whether a run is one of them.
    #[must_use]
    pub fn means(&self, run: &RunRow) -> bool {
        self.dag.fits(run.dag_id.as_str())
            && self.run.fits(run.run_id.as_str())
            && is_within(self.run_after, Some(run.run_after))
            && is_within(self.logical_date, run.logical_date)
    }

    /// What is left to PostgreSQL, of instances of these.
    #[must_use]
    pub fn filter(&self, of: InstancesOf, order: Vec<(InstanceOrder, Direction)>, page: Page) -> InstanceFilter {
        InstanceFilter {
            of,
            states: self.states.clone(),
            map_indexes: self.map_indexes.clone(),
            try_numbers: self.try_numbers.clone(),
            start_date: self.start_date,
            end_date: self.end_date,
            updated_at: self.updated_at,
            duration: self.duration,
            mapped_pattern: self.mapped.pattern.clone(),
            mapped_prefix: self.mapped.prefix.0.clone(),
            order,
            window: page.window(),
        }
    }
}

/// Whether a task is in a group, or in a group of it.
#[must_use]
pub fn is_in_group(task: &Task, group: &str) -> bool {
    let inner = task.group.as_deref().and_then(|own| own.strip_prefix(group));
    inner.is_some_and(|inner| inner.is_empty() || inner.starts_with('.'))
}

/// Whether an instant is in a range; one that is missing is in an open one alone, as in SQL.
fn is_within(range: Range, at: Option<model::Timestamp>) -> bool {
    let fits = |bound: Option<model::Timestamp>, holds: fn(&model::Timestamp, &model::Timestamp) -> bool| {
        bound.is_none_or(|bound| at.is_some_and(|at| holds(&at, &bound)))
    };
    fits(range.gte, |at, bound| at >= bound)
        && fits(range.gt, |at, bound| at > bound)
        && fits(range.lte, |at, bound| at <= bound)
        && fits(range.lt, |at, bound| at < bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_what_is_between_its_bounds() {
        let at = |text: &str| Some(text.parse().unwrap());
        let day = Range { gte: at("2026-01-01T00:00:00Z"), lt: at("2026-01-02T00:00:00Z"), ..Range::default() };
        assert!(is_within(day, at("2026-01-01T00:00:00Z")) && is_within(day, at("2026-01-01T23:59:59Z")));
        assert!(!is_within(day, at("2026-01-02T00:00:00Z")) && !is_within(day, None));
        assert!(is_within(Range::default(), None));
    }
}
