//! Where a list of task instances looks: which runs, and which of their instances.
//!
//! Every FROM clause made here has the same columns, so filters and orders name them without a table: of the run `id`,
//! `version_id`, `run_state`, `logical_date`, `run_after`, `interval_start`, `interval_end`; of the instance `run_id`, `task_idx`,
//! `pos`, `map_index`, `try_number`, `state`, `queued_at`, `started_at`, `ended_at`.

use std::collections::BTreeMap;

use model::{DagVersionId, TaskIdx, TaskState};
use sqlx::{Postgres, QueryBuilder};

use super::{
    Direction, Range, SecondsRange,
    instance_list::{InstanceFilter, InstanceOrder, InstancesOf},
    list::{RunFilter, begins, conditions, lasting, of_dags, within},
    total::{LookedAt, Reach, Rest},
};

/// The newest runs that a search looks into: some 20 ms. It looks at no more of their instances than [`INSTANCES_MAX`].
pub(super) const RUNS_MAX: i64 = 2_000;
/// The newest instances that a search looks at: some 20 ms, however wide their runs are.
const INSTANCES_MAX: i64 = 10_000;

/// Which runs can have an instance in one of the states that are asked for.
enum Whose {
    /// Any run.
    Any,
    /// Runs that have not ended, or have a living attempt.
    Open,
    /// Runs that are noted with one of these states, which few instances end in.
    Noted(Vec<TaskState>),
    /// The same, and open ones.
    NotedOrOpen(Vec<TaskState>),
}

impl Whose {
    fn of(states: &[TaskState]) -> Self {
        if states.is_empty() || states.contains(&TaskState::Success) {
            return Self::Any;
        }
        // Only an instance of a run that has not ended, or has a living attempt, is not finished.
        let (noted, open): (Vec<TaskState>, Vec<TaskState>) = states.iter().partition(|state| state.is_finished());
        match (noted.is_empty(), open.is_empty()) {
            (true, _) => Self::Open,
            (false, true) => Self::Noted(noted),
            (false, false) => Self::NotedOrOpen(noted),
        }
    }
}

impl InstanceFilter {
    /// Whether what is asked for can be rare among the instances of many runs, or is in an order of its own, so that the newest
    /// instances are looked at first.
    fn is_search(&self) -> bool {
        let InstancesOf::Runs { only_these, .. } = &self.of else { return false };
        let is_rare_state = matches!(Whose::of(&self.states), Whose::Noted(_) | Whose::NotedOrOpen(_));
        let is_mixed = matches!(Whose::of(&self.states), Whose::NotedOrOpen(_));
        let begins_somewhere = self.start_date != Range::default();
        let is_sparse = is_mixed
            || self.end_date != Range::default()
            || self.updated_at != Range::default()
            || !self.mapped_pattern.0.is_empty()
            || self.mapped_prefix.is_some()
            || self.start_date.is_only_before()
            || self.duration != SecondsRange::default()
            || !(self.try_numbers.is_empty() || self.try_numbers.contains(&1))
            || !(self.map_indexes.is_empty() || self.map_indexes.contains(&model::MapIndex::UNMAPPED.get()))
            || (is_rare_state && (*only_these || begins_somewhere));
        is_sparse || self.order.first().is_some_and(|(key, _)| !key.is_indexed()) || self.has_range_beside_order()
    }

    /// Whether a range of the runs' would be looked for along an order of another kind.
    fn has_range_beside_order(&self) -> bool {
        let InstancesOf::Runs { filter: runs, .. } = &self.of else { return false };
        let first = self.order.first().map_or(InstanceOrder::RunAfter, |(key, _)| *key);
        let is_upward = self.order.first().is_some_and(|(_, direction)| *direction == Direction::Ascending);
        (runs.run_after != Range::default() && first != InstanceOrder::RunAfter)
            || (runs.logical_date != Range::default() && first != InstanceOrder::LogicalDate)
            || (self.start_date != Range::default() && is_upward)
    }

    /// What makes runs the newest for a search: a column that an index has in order.
    fn newest_by(&self) -> &'static str {
        match &self.of {
            InstancesOf::Runs { filter: runs, .. } if runs.logical_date != Range::default() => "logical_date",
            InstancesOf::Run(..) | InstancesOf::Runs { .. } => "run_after",
        }
    }
}

/// From runs to instances, with all filters.
pub(super) fn source(query: &mut QueryBuilder<'_, Postgres>, filter: &InstanceFilter, reach: Reach) {
    query.push("FROM ");
    if reach == Reach::Newest && filter.is_search() {
        query.push("(SELECT * FROM ");
        instances(query, filter, Some(RUNS_MAX));
        query
            .push(" ORDER BY run_after DESC, id DESC LIMIT ")
            .push_bind(INSTANCES_MAX)
            .push(") AS looked_at WHERE true");
    } else {
        instances(query, filter, None);
        query.push(" WHERE true");
    }
    limit_rows(query, filter);
}

/// The instances that a search looks at.
pub(super) fn looked_at(filter: &InstanceFilter) -> Option<LookedAt<'_>> {
    if !filter.is_search() {
        return None;
    }
    let mut query = QueryBuilder::new("SELECT least(count(*), ");
    query.push_bind(INSTANCES_MAX).push("), count(*) <= ").push_bind(INSTANCES_MAX);
    query.push(" AND (SELECT count(*) FROM (");
    runs(&mut query, filter);
    query.push(" LIMIT ").push_bind(RUNS_MAX + 1).push(") AS r) <= ").push_bind(RUNS_MAX);
    query.push(" FROM (SELECT 1 FROM ");
    instances(&mut query, filter, Some(RUNS_MAX));
    query.push(" LIMIT ").push_bind(INSTANCES_MAX + 1).push(") AS looked_at");
    // Without an order a list has the newest runs first.
    let rest = if filter.order.is_empty() { Rest::After } else { Rest::Anywhere };
    Some(LookedAt { count: query, rest })
}

/// The columns that filters and orders know, of a row and of an instance that may have none.
const COLUMNS: &str = "ti.map_index, ti.try_number, ti.state, ti.queued_at, ti.started_at, ti.ended_at";
const COMPLETED: &str = "coalesce(ti.map_index, -1) AS map_index, coalesce(ti.try_number, 0::smallint) AS try_number, \
    coalesce(ti.state, 0::smallint) AS state, ti.queued_at, ti.started_at, ti.ended_at";

/// Runs, all or the newest, each with its instances.
fn instances(query: &mut QueryBuilder<'_, Postgres>, filter: &InstanceFilter, newest: Option<i64>) {
    query.push("(");
    runs(query, filter);
    if let Some(newest) = newest {
        query.push(format_args!(" ORDER BY {} DESC, id DESC LIMIT ", filter.newest_by())).push_bind(newest);
    }
    query.push(") AS r CROSS JOIN LATERAL (");
    match &filter.of {
        InstancesOf::Run(_, tasks) => of_one_run(query, tasks),
        InstancesOf::Runs { tasks, only_these, .. } => {
            stored(query, tasks, *only_these);
            if filter.means_missing_rows() {
                query.push(" AND r.run_state NOT IN (0, 1) UNION ALL ");
                of_open_runs(query, tasks);
            } else {
                // Run by run, as the union is: joined at once, all instances might be read for the few that are in a rare state.
                query.push(" OFFSET 0");
            }
        }
    }
    query.push(") AS t");
}

/// Of a run, but for when it is due.
const RUN: &str = "SELECT id, version_id, state AS run_state, logical_date, interval_start, interval_end, ";

/// The runs that are looked into.
fn runs(query: &mut QueryBuilder<'_, Postgres>, filter: &InstanceFilter) {
    match &filter.of {
        InstancesOf::Run(run, _) => {
            query.push(RUN).push("run_after FROM dag_run WHERE id = ").push_bind(run.get());
        }
        InstancesOf::Runs { filter: runs, tasks, only_these } => {
            match Whose::of(&filter.states) {
                Whose::Any => {
                    query.push(RUN).push("run_after FROM dag_run WHERE true");
                }
                Whose::Open => from_open(query),
                Whose::Noted(states) => from_noted(query, &states, runs),
                Whose::NotedOrOpen(states) => {
                    query.push(RUN).push("run_after FROM dag_run WHERE ");
                    noted_or_open(query, &states, runs);
                }
            }
            conditions(query, runs);
            begun_since(query, filter.start_date);
            if *only_these {
                let versions: Vec<i64> = tasks.keys().map(|version| version.get()).collect();
                query.push(" AND version_id = ANY(").push_bind(versions).push(")");
            }
        }
    }
}

/// Runs that have not ended, or have a living attempt, by the index that has only these. Without the fence all runs might be walked
/// over in the order of a list, for the few that are meant.
fn from_open(query: &mut QueryBuilder<'_, Postgres>) {
    query.push(RUN).push(
        "run_after FROM (SELECT * FROM dag_run WHERE (state IN (0, 1) OR has_leftovers) OFFSET 0) AS dag_run WHERE true",
    );
}

/// Runs that are noted with one of these states, along the notes: their order is the order of a list. Each is there once.
fn from_noted(query: &mut QueryBuilder<'_, Postgres>, states: &[TaskState], runs: &RunFilter) {
    query.push(RUN).push("noted_after AS run_after FROM (");
    if states.len() > 1 {
        query.push("SELECT DISTINCT ON (noted_after, noted_run) noted_run, noted_after FROM (");
    }
    for (n, state) in states.iter().enumerate() {
        query.push(if n == 0 { "" } else { " UNION ALL " });
        query.push("SELECT run_id AS noted_run, run_after AS noted_after FROM run_instance_state WHERE state = ");
        query.push(state.code());
        of_dags(query, runs);
        within(query, "run_after", runs.run_after);
    }
    if states.len() > 1 {
        query.push(") AS notes ORDER BY noted_after DESC, noted_run DESC");
    }
    query.push(") AS noted JOIN dag_run ON id = noted_run WHERE true");
}

/// Limits runs to those that are noted with one of these states, and to open ones. Only the newest of each state are taken, which
/// is a search: no index has both in one order.
fn noted_or_open(query: &mut QueryBuilder<'_, Postgres>, states: &[TaskState], runs: &RunFilter) {
    query.push("id IN (");
    for state in states {
        query.push("(SELECT run_id FROM run_instance_state WHERE state = ").push(state.code());
        of_dags(query, runs);
        within(query, "run_after", runs.run_after);
        query.push(" ORDER BY run_after DESC, run_id DESC LIMIT ").push_bind(RUNS_MAX + 1).push(") UNION ALL ");
    }
    query.push("SELECT id FROM dag_run WHERE (state IN (0, 1) OR has_leftovers)");
    of_dags(query, runs);
    query.push(")");
}

/// The rows of runs.
fn stored(query: &mut QueryBuilder<'_, Postgres>, tasks: &BTreeMap<DagVersionId, Vec<TaskIdx>>, only_these: bool) {
    query.push("SELECT r.id AS run_id, ti.task_idx, ti.task_idx::bigint AS pos, ");
    query.push(COLUMNS).push(" FROM task_instance ti WHERE ti.run_id = r.id");
    if only_these {
        query.push(" AND ti.task_idx IN (SELECT e::int FROM jsonb_array_elements_text(");
        query.push_bind(by_version(tasks)).push("::jsonb -> r.version_id::text) AS e)");
    }
}

/// Runs that have not ended: the tasks of their versions, with the rows that there are.
fn of_open_runs(query: &mut QueryBuilder<'_, Postgres>, tasks: &BTreeMap<DagVersionId, Vec<TaskIdx>>) {
    query.push("SELECT r.id AS run_id, e.task_idx::int AS task_idx, e.task_idx::bigint AS pos, ");
    query.push(COMPLETED).push(" FROM jsonb_array_elements_text(").push_bind(by_version(tasks));
    query.push(
        "::jsonb -> r.version_id::text) AS e (task_idx) \
         LEFT JOIN task_instance ti ON ti.run_id = r.id AND ti.task_idx = e.task_idx::int WHERE r.run_state IN (0, 1)",
    );
}

/// All tasks of one run, with the rows that there are.
fn of_one_run(query: &mut QueryBuilder<'_, Postgres>, tasks: &[TaskIdx]) {
    let tasks: Vec<i32> = tasks.iter().map(|task| task.get()).collect();
    query.push("SELECT r.id AS run_id, e.task_idx, e.pos, ").push(COMPLETED).push(" FROM unnest(").push_bind(tasks);
    query.push(
        "::int[]) WITH ORDINALITY AS e (task_idx, pos) \
         LEFT JOIN task_instance ti ON ti.run_id = r.id AND ti.task_idx = e.task_idx",
    );
}

fn by_version(tasks: &BTreeMap<DagVersionId, Vec<TaskIdx>>) -> serde_json::Value {
    let entry = |(version, tasks): (&DagVersionId, &Vec<TaskIdx>)| {
        let numbers: Vec<i32> = tasks.iter().map(|task| task.get()).collect();
        (version.to_string(), serde_json::Value::from(numbers))
    };
    serde_json::Value::Object(tasks.iter().map(entry).collect())
}

/// An instance begins before its run ends, and what has not ended changes; an end can be set by hand long after a run's own,
/// so it tells nothing.
fn begun_since(query: &mut QueryBuilder<'_, Postgres>, start: Range) {
    if let Some(since) = start.gte.or(start.gt) {
        query.push(" AND (coalesce(ended_at, started_at, queued_at) >= ").push_bind(since);
        query.push(" OR state IN (0, 1) OR has_leftovers)");
    }
}

/// What tells an instance of an expanded task from the others.
const MAPPED: &str = "(CASE WHEN map_index >= 0 THEN map_index::text END)";

fn limit_rows(query: &mut QueryBuilder<'_, Postgres>, filter: &InstanceFilter) {
    if !filter.states.is_empty() {
        let codes: Vec<String> = filter.states.iter().map(|state| state.code().to_string()).collect();
        query.push(format_args!(" AND state IN ({})", codes.join(", ")));
    }
    for (column, numbers) in [("map_index", &filter.map_indexes), ("try_number::int", &filter.try_numbers)] {
        if !numbers.is_empty() {
            query.push(format_args!(" AND {column} = ANY(")).push_bind(numbers.clone()).push(")");
        }
    }
    within(query, "started_at", filter.start_date);
    within(query, "ended_at", filter.end_date);
    within(query, "coalesce(ended_at, started_at, queued_at)", filter.updated_at);
    filter.mapped_pattern.limit(query, MAPPED);
    begins(query, MAPPED, filter.mapped_prefix.as_deref());
    lasting(query, "ended_at - started_at", filter.duration);
}
