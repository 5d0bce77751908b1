//! The list of task instances, of one run or of many: filtered, ordered and paged by PostgreSQL.
//!
//! `task_instance` has no index but its key, so a list over many runs walks along the runs, newest first, and from each to
//! its instances; it ends when the page is full. What limits the runs (DAG, dates, states that only some runs can have) is
//! found by an index of `dag_run` before the walk.
//!
//! Instances without a row are made from the DAG version. A run ends only when each of its tasks has a final state, and that
//! is a row; so over many runs rows alone tell of the ended ones, and only runs that have not ended, which limits bound, are
//! completed with the tasks of their versions, and only when what has no state is asked for at all. A list of one run is
//! always completed, and follows the order of its tasks.

use std::collections::BTreeMap;

use model::{DagId, DagVersionId, MapIndex, RunKey, TaskIdx, TaskState, TiKey};
use sqlx::{FromRow, PgPool, Postgres, QueryBuilder};

use super::{
    Direction, Instance, Range, SecondsRange,
    instances::InstanceRecord,
    list::{RunFilter, conditions, lasting, within, word},
    total::{Total, Window, counted, counting},
};
use crate::error::{Doing, StoreError};

/// What was being done, for errors.
const LISTING: &str = "this list of task instances";
/// The states in which only an instance of a run that has not ended can be, or of one with a living attempt.
const OPEN: [TaskState; 7] = [
    TaskState::Scheduled,
    TaskState::Queued,
    TaskState::Running,
    TaskState::UpForRetry,
    TaskState::UpForReschedule,
    TaskState::Deferred,
    TaskState::AwaitingInput,
];

/// How a list of task instances is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceOrder {
    /// By run, task and map index, which an id is made of.
    Id,
    /// By the state's name.
    State,
    /// By how long it took.
    Duration,
    /// By start.
    StartDate,
    /// By end.
    EndDate,
    /// By map index.
    MapIndex,
    /// By try.
    TryNumber,
    /// By its run's date.
    LogicalDate,
    /// By its run's earliest start.
    RunAfter,
    /// By the start of its run's data interval.
    IntervalStart,
    /// By the end of its run's data interval.
    IntervalEnd,
}

impl InstanceOrder {
    fn sql(self) -> String {
        match self {
            Self::Id => "r.id".to_owned(),
            Self::State => {
                let names: Vec<String> = TaskState::ALL.iter().map(|state| format!("'{}'", state.name())).collect();
                format!("(ARRAY[{}])[t.state + 1]", names.join(", "))
            }
            Self::Duration => "(t.ended_at - t.started_at)".to_owned(),
            Self::StartDate => "t.started_at".to_owned(),
            Self::EndDate => "t.ended_at".to_owned(),
            Self::MapIndex => "t.map_index".to_owned(),
            Self::TryNumber => "t.try_number".to_owned(),
            Self::LogicalDate => "r.logical_date".to_owned(),
            Self::RunAfter => "r.run_after".to_owned(),
            Self::IntervalStart => "r.interval_start".to_owned(),
            Self::IntervalEnd => "r.interval_end".to_owned(),
        }
    }
}

/// Whose instances.
#[derive(Debug, Clone, PartialEq)]
pub enum InstancesOf {
    /// One run's, in the order of these tasks, which are those of its version that are meant.
    Run(RunKey, Vec<TaskIdx>),
    /// Of the runs that a filter leaves; its order, limit and offset mean nothing here.
    Runs {
        /// Which runs.
        filter: Box<RunFilter>,
        /// The tasks of versions that have no task missing here: those of runs that have not ended (which are not needed when
        /// [`InstanceFilter::means_missing_rows`] does not hold), or when `only_these` is set all that are meant.
        tasks: BTreeMap<DagVersionId, Vec<TaskIdx>>,
        /// Whether nothing but these tasks is meant.
        only_these: bool,
    },
}

/// Which task instances, in which order, and which part of them.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceFilter {
    /// Whose.
    pub of: InstancesOf,
    /// In one of these states; any when empty.
    pub states: Vec<TaskState>,
    /// With one of these map indexes; any when empty.
    pub map_indexes: Vec<i32>,
    /// In one of these tries; any when empty.
    pub try_numbers: Vec<i32>,
    /// By start.
    pub start_date: Range,
    /// By end.
    pub end_date: Range,
    /// By how many seconds they took.
    pub duration: SecondsRange,
    /// The order; by run, newest first, then by task and map index when empty.
    pub order: Vec<(InstanceOrder, Direction)>,
    /// Which part.
    pub window: Window,
}

impl InstanceFilter {
    /// Whether an instance without a row can be meant: it is in no state and no try, is not expanded, and has
    /// neither start nor end.
    #[must_use]
    pub fn means_missing_rows(&self) -> bool {
        (self.states.is_empty() || self.states.contains(&TaskState::NoStatus))
            && (self.try_numbers.is_empty() || self.try_numbers.contains(&0))
            && (self.map_indexes.is_empty() || self.map_indexes.contains(&MapIndex::UNMAPPED.get()))
            && [self.start_date, self.end_date].iter().all(|range| *range == Range::default())
            && self.duration == SecondsRange::default()
    }
}

/// An instance of a list; without a row it is in no state yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Which one.
    pub key: TiKey,
    /// Its row, if it has one.
    pub stored: Option<Instance>,
}

/// A part of a list of task instances, and how many there are in all.
///
/// # Errors
/// [`StoreError::TooHeavy`] when no index helps to find them; [`StoreError::Refused`] for an offset that is too far away;
/// other [`StoreError`]s when PostgreSQL does not answer or a row makes no sense.
pub async fn instance_list(pool: &PgPool, filter: &InstanceFilter) -> Result<(Vec<Listed>, Total), StoreError> {
    let (page, matching) = (page_of_instances(filter), matching_instances(filter));
    filter.window.read::<ListedRecord, _>(pool, page, matching, LISTING).await
}

/// The statement of a page, for its plan to be looked at. Side rows are joined to the rows of the page only.
#[must_use]
pub fn page_of_instances(filter: &InstanceFilter) -> QueryBuilder<'_, Postgres> {
    let mut page = QueryBuilder::new("WITH page AS (SELECT t.* ");
    source(&mut page, filter);
    order(&mut page, filter);
    page.push(" LIMIT ").push_bind(filter.window.limit).push(" OFFSET ").push_bind(filter.window.offset);
    page.push(
        "), numbered AS (SELECT row_number() OVER () AS place, page.* FROM page) SELECT page.*, x.max_tries, coalesce(x.infrastructure_losses, 0::smallint) AS infrastructure_losses, \
         x.wake_at, x.exit_code, x.reason, x.note, x.skips, w.name AS worker \
         FROM numbered AS page LEFT JOIN task_instance_extra x USING (run_id, task_idx, map_index) \
         LEFT JOIN worker w ON w.id = page.worker_id ORDER BY page.place",
    );
    page
}

/// The statement that counts all instances of a filter.
#[must_use]
fn matching_instances(filter: &InstanceFilter) -> QueryBuilder<'_, Postgres> {
    let mut count = counting();
    source(&mut count, filter);
    counted(count)
}

/// The columns that a row has, and that an instance without one gets.
const COLUMNS: &str =
    "ti.try_number, ti.state, ti.attempt, ti.live, ti.worker_id, ti.queued_at, ti.started_at, ti.ended_at";
const COMPLETED: &str = "coalesce(ti.map_index, -1) AS map_index, ti.run_id IS NOT NULL AS is_stored, \
    coalesce(ti.try_number, 0::smallint) AS try_number, coalesce(ti.state, 0::smallint) AS state, ti.attempt, \
    coalesce(ti.live, false) AS live, ti.worker_id, ti.queued_at, ti.started_at, ti.ended_at";

/// From runs to instances. `r` is the run, `t` the instance.
fn source(query: &mut QueryBuilder<'_, Postgres>, filter: &InstanceFilter) {
    match &filter.of {
        InstancesOf::Run(run, tasks) => {
            let tasks: Vec<i32> = tasks.iter().map(|task| task.get()).collect();
            query.push("FROM (SELECT * FROM dag_run WHERE id = ").push_bind(run.get());
            query.push(") AS r CROSS JOIN LATERAL (SELECT r.id AS run_id, e.task_idx, e.pos, ");
            query.push(COMPLETED).push(" FROM unnest(").push_bind(tasks);
            query.push(
                "::int[]) WITH ORDINALITY AS e (task_idx, pos) \
                 LEFT JOIN task_instance ti ON ti.run_id = r.id AND ti.task_idx = e.task_idx) AS t WHERE true",
            );
        }
        InstancesOf::Runs { filter: runs, tasks, only_these } => {
            query.push("FROM (SELECT * FROM dag_run WHERE true");
            conditions(query, runs);
            limit_runs(query, filter);
            if *only_these {
                let versions: Vec<i64> = tasks.keys().map(|version| version.get()).collect();
                query.push(" AND version_id = ANY(").push_bind(versions).push(")");
            }
            query.push(") AS r CROSS JOIN LATERAL (");
            stored(query, tasks, *only_these);
            if filter.means_missing_rows() {
                query.push(" AND r.state NOT IN (0, 1) UNION ALL ");
                of_open_runs(query, tasks);
            } else {
                // Run by run, as the union is: joined at once, all instances might be read for the few that are in a rare state.
                query.push(" OFFSET 0");
            }
            query.push(") AS t WHERE true");
        }
    }
    limit_rows(query, filter);
}

/// The rows of runs.
fn stored(query: &mut QueryBuilder<'_, Postgres>, tasks: &BTreeMap<DagVersionId, Vec<TaskIdx>>, only_these: bool) {
    query.push("SELECT r.id AS run_id, ti.task_idx, ti.task_idx::bigint AS pos, ti.map_index, true AS is_stored, ");
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
         LEFT JOIN task_instance ti ON ti.run_id = r.id AND ti.task_idx = e.task_idx::int WHERE r.state IN (0, 1)",
    );
}

fn by_version(tasks: &BTreeMap<DagVersionId, Vec<TaskIdx>>) -> serde_json::Value {
    let entry = |(version, tasks): (&DagVersionId, &Vec<TaskIdx>)| {
        let numbers: Vec<i32> = tasks.iter().map(|task| task.get()).collect();
        (version.to_string(), serde_json::Value::from(numbers))
    };
    serde_json::Value::Object(tasks.iter().map(entry).collect())
}

/// What is asked of instances and can be told from their runs. An instance begins before its run ends, and what has not
/// ended changes; an end can be set by hand long after a run's own, so it tells nothing.
fn limit_runs(query: &mut QueryBuilder<'_, Postgres>, filter: &InstanceFilter) {
    if !filter.states.is_empty() && filter.states.iter().all(|state| OPEN.contains(state)) {
        query.push(" AND (state IN (0, 1) OR has_leftovers)");
    }
    if let Some(since) = filter.start_date.gte.or(filter.start_date.gt) {
        query.push(" AND (coalesce(ended_at, started_at, queued_at) >= ").push_bind(since);
        query.push(" OR state IN (0, 1) OR has_leftovers)");
    }
}

fn limit_rows(query: &mut QueryBuilder<'_, Postgres>, filter: &InstanceFilter) {
    if !filter.states.is_empty() {
        let codes: Vec<String> = filter.states.iter().map(|state| state.code().to_string()).collect();
        query.push(format_args!(" AND t.state IN ({})", codes.join(", ")));
    }
    for (column, numbers) in [("t.map_index", &filter.map_indexes), ("t.try_number::int", &filter.try_numbers)] {
        if !numbers.is_empty() {
            query.push(format_args!(" AND {column} = ANY(")).push_bind(numbers.clone()).push(")");
        }
    }
    within(query, "t.started_at", filter.start_date);
    within(query, "t.ended_at", filter.end_date);
    lasting(query, "t.ended_at - t.started_at", filter.duration);
}

fn order(query: &mut QueryBuilder<'_, Postgres>, filter: &InstanceFilter) {
    query.push(" ORDER BY ");
    let Some((_, first)) = filter.order.first() else {
        query.push("r.run_after DESC, r.id DESC, t.pos, t.map_index");
        return;
    };
    for (key, direction) in &filter.order {
        query.push(key.sql()).push(word(*direction)).push(", ");
    }
    let last = word(*first);
    query.push(format_args!("r.id{last}, t.task_idx{last}, t.map_index{last}"));
}

#[derive(FromRow)]
struct ListedRecord {
    is_stored: bool,
    #[sqlx(flatten)]
    row: InstanceRecord,
}

impl TryFrom<ListedRecord> for Listed {
    type Error = StoreError;

    fn try_from(listed: ListedRecord) -> Result<Self, StoreError> {
        let ListedRecord { is_stored, row } = listed;
        let key = TiKey { run: RunKey(row.run_id), task: TaskIdx(row.task_idx), map: MapIndex(row.map_index) };
        Ok(Self { key, stored: if is_stored { Some(row.try_into()?) } else { None } })
    }
}

/// The versions that runs which have not ended are pinned to, at most `limit` of them.
///
/// # Errors
/// As [`instance_list`].
pub async fn open_versions(pool: &PgPool, dag_ids: &[DagId], limit: i64) -> Result<Vec<DagVersionId>, StoreError> {
    let dag_ids: Vec<String> = dag_ids.iter().map(ToString::to_string).collect();
    let found = sqlx::query_scalar!(
        "SELECT DISTINCT version_id FROM dag_run
         WHERE (state IN (0, 1) OR has_leftovers) AND state IN (0, 1) AND (cardinality($1::text[]) = 0 OR dag_id = ANY ($1))
         LIMIT $2",
        &dag_ids,
        limit
    );
    Ok(found.fetch_all(pool).await.doing(LISTING)?.into_iter().map(DagVersionId).collect())
}
