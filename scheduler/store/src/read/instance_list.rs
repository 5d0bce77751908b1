//! The list of task instances, of one run or of many: filtered, ordered and paged by PostgreSQL.
//!
//! `task_instance` has no index but its key, so a list over many runs walks along the runs, newest first, and from each to
//! its instances; it ends when the page is full. What limits the runs (DAG, dates, states that only some runs can have) is
//! found by an index before the walk ([`super::instance_source`]). What no index knows (durations, tries, orders by start) is
//! looked for in the newest instances first ([`super::total`]).
//!
//! Instances without a row are made from the DAG version. A run ends only when each of its tasks has a final state, and that
//! is a row; so over many runs rows alone tell of the ended ones, and only runs that have not ended, which limits bound, are
//! completed with the tasks of their versions, and only when what has no state is asked for at all. A list of one run is
//! always completed, and follows the order of its tasks.

use std::collections::BTreeMap;

use model::{DagId, DagVersionId, MapIndex, RunKey, TaskIdx, TaskState, TiKey};
use sqlx::{FromRow, PgPool, Postgres, QueryBuilder};

use super::{
    Direction, Instance, Pattern, Range, SecondsRange,
    instance_source::{looked_at, source},
    instances::InstanceRecord,
    list::{RunFilter, changed_last},
    total::{Reach, Statements, Total, Window, counted, counting},
    walk::{self, Key, Part, Walk},
};
use crate::error::{Doing, StoreError};

/// What was being done, for errors.
const LISTING: &str = "this list of task instances";
/// Rows that a page over many runs may skip: from each run its instances are looked up, and a walk over 100,000 of them took
/// more than a second. Nothing counts further, either.
pub const INSTANCE_OFFSET_MAX: i64 = super::COUNT_MAX;
/// Of so many runs that changed last the instances are looked at when those that began last are asked for: some 10 ms.
const BEGUN_RUNS: i64 = 500;
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
    fn key(self, direction: Direction) -> Key {
        let sql = self.sql();
        match self {
            Self::Id => Key::always(sql, "bigint", direction),
            Self::State => Key::always(sql, "text", direction),
            Self::MapIndex | Self::TryNumber => Key::always(sql, "int", direction),
            Self::RunAfter => Key::always(sql, "timestamptz", direction),
            Self::Duration => Key::sometimes(sql, "interval", direction),
            Self::StartDate | Self::EndDate | Self::LogicalDate | Self::IntervalStart | Self::IntervalEnd => {
                Key::sometimes(sql, "timestamptz", direction)
            }
        }
    }

    fn sql(self) -> String {
        match self {
            Self::Id => "id".to_owned(),
            Self::State => {
                let names: Vec<String> = TaskState::ALL.iter().map(|state| format!("'{}'", state.name())).collect();
                format!("(ARRAY[{}])[state + 1]", names.join(", "))
            }
            Self::Duration => "(ended_at - started_at)".to_owned(),
            Self::StartDate => "started_at".to_owned(),
            Self::EndDate => "ended_at".to_owned(),
            Self::MapIndex => "map_index".to_owned(),
            Self::TryNumber => "try_number".to_owned(),
            Self::LogicalDate => "logical_date".to_owned(),
            Self::RunAfter => "run_after".to_owned(),
            Self::IntervalStart => "interval_start".to_owned(),
            Self::IntervalEnd => "interval_end".to_owned(),
        }
    }

    /// Whether an index has the runs in this order.
    pub(super) const fn is_indexed(self) -> bool {
        match self {
            Self::Id | Self::LogicalDate | Self::RunAfter => true,
            Self::State
            | Self::Duration
            | Self::StartDate
            | Self::EndDate
            | Self::MapIndex
            | Self::TryNumber
            | Self::IntervalStart
            | Self::IntervalEnd => false,
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
    /// By their last change.
    pub updated_at: Range,
    /// By how many seconds they took.
    pub duration: SecondsRange,
    /// By what tells an instance of an expanded task from the others, its map index as text.
    pub mapped_pattern: Pattern,
    /// The same, by how it begins.
    pub mapped_prefix: Option<String>,
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
            && [self.start_date, self.end_date, self.updated_at].iter().all(|range| *range == Range::default())
            && self.duration == SecondsRange::default()
            && self.mapped_pattern == Pattern::default()
            && self.mapped_prefix.is_none()
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
    if matches!(filter.of, InstancesOf::Runs { .. }) {
        filter.window.check_within(INSTANCE_OFFSET_MAX)?;
    }
    if let Some(found) = begun_last(pool, filter).await? {
        return Ok(found);
    }
    filter.window.read::<ListedRecord, _>(pool, |reach| statements(filter, reach), LISTING).await
}

fn statements(filter: &InstanceFilter, reach: Reach) -> Statements<'_> {
    let mut matching = counting();
    source(&mut matching, filter, reach);
    Statements { page: page(filter, reach), matching: counted(matching), looked_at: looked_at(filter) }
}

/// The part of a list that has the latest start first, if the runs that changed last fill it.
///
/// An instance begins before its run ends, so what began since an instant is of a run that has changed since then, or has not
/// ended: an index knows these. None when they do not fill the part, or when the list is of another kind.
async fn begun_last(pool: &PgPool, filter: &InstanceFilter) -> Result<Option<(Vec<Listed>, Total)>, StoreError> {
    let InstancesOf::Runs { filter: runs, .. } = &filter.of else { return Ok(None) };
    let is_meant = filter.order == [(InstanceOrder::StartDate, Direction::Descending)]
        && filter.start_date == Range::default()
        // What no index helps to find is looked for in the newest runs, as in every list.
        && runs.searched(Reach::Newest).is_none()
        && filter.window.limit > 0;
    if !is_meant {
        return Ok(None);
    }
    let runs_looked_at = BEGUN_RUNS + filter.window.offset;
    let Some(since) = changed_last(pool, runs, runs_looked_at).await? else { return Ok(None) };
    let start_date = Range { gte: Some(since), ..Range::default() };
    let recent = InstanceFilter { start_date, ..filter.clone() };
    let statements = |_| Statements { looked_at: None, ..statements(&recent, Reach::All) };
    let (rows, total) = recent.window.read::<ListedRecord, _>(pool, statements, LISTING).await?;
    let is_full = i64::try_from(rows.len()).is_ok_and(|rows| rows >= filter.window.limit);
    Ok(is_full.then_some((rows, Total::AtLeast(total.number()))))
}

/// The same by the places of rows.
///
/// # Errors
/// As [`instance_list`], and [`StoreError::Refused`] for a place that is of another list.
pub async fn instance_part(pool: &PgPool, filter: &InstanceFilter, walk: &Walk) -> Result<Part<Listed>, StoreError> {
    if *walk == Walk::Off {
        let (rows, total) = instance_list(pool, filter).await?;
        return Ok(Part { rows, total, next: None, previous: None });
    }
    walk.check(&keys(filter))?;
    let statements = |reach| Statements { page: part(filter, walk, reach), ..statements(filter, reach) };
    walk.read::<ListedRecord, _>(pool, filter.window.limit, statements, LISTING).await
}

fn part<'f>(filter: &'f InstanceFilter, walk: &Walk, reach: Reach) -> QueryBuilder<'f, Postgres> {
    let keys = walk.keys(keys(filter));
    let mut part = QueryBuilder::new("WITH page AS (SELECT run_id, task_idx, map_index");
    Walk::place(&mut part, &keys);
    source(&mut part, filter, reach);
    walk.limit(&mut part, &keys);
    walk::order(&mut part, &keys);
    part.push(" LIMIT ").push_bind(filter.window.limit.saturating_add(1));
    part.push(NUMBERED).push(" p.row_place, ").push(WITH_SIDE_ROWS);
    part
}

/// The statement of a page, for its plan to be looked at. Rows are read when it is known which, with their side rows: those
/// that are skipped are only walked over.
#[must_use]
pub fn page_of_instances(filter: &InstanceFilter) -> QueryBuilder<'_, Postgres> {
    page(filter, Reach::Newest)
}

fn page(filter: &InstanceFilter, reach: Reach) -> QueryBuilder<'_, Postgres> {
    let mut page = QueryBuilder::new("WITH page AS (SELECT run_id, task_idx, map_index ");
    source(&mut page, filter, reach);
    walk::order(&mut page, &keys(filter));
    page.push(" LIMIT ").push_bind(filter.window.limit).push(" OFFSET ").push_bind(filter.window.offset);
    page.push(NUMBERED).push(WITH_SIDE_ROWS);
    page
}

const NUMBERED: &str = "), numbered AS (SELECT row_number() OVER () AS place, page.* FROM page) SELECT ";
const WITH_SIDE_ROWS: &str = "p.run_id, p.task_idx, p.map_index, ti.run_id IS NOT NULL AS is_stored, \
    coalesce(ti.try_number, 0::smallint) AS try_number, coalesce(ti.state, 0::smallint) AS state, ti.attempt, \
    coalesce(ti.live, false) AS live, ti.worker_id, ti.queued_at, ti.started_at, ti.ended_at, x.max_tries, \
    coalesce(x.infrastructure_losses, 0::smallint) AS infrastructure_losses, \
    x.wake_at, x.exit_code, x.reason, x.note, x.skips, x.map_length, x.rendered_map_index, \
    x.first_poke_at, coalesce(x.reschedules, 0) AS reschedules, w.name AS worker \
    FROM numbered p \
    LEFT JOIN task_instance ti ON ti.run_id = p.run_id AND ti.task_idx = p.task_idx AND ti.map_index = p.map_index \
    LEFT JOIN task_instance_extra x ON x.run_id = p.run_id AND x.task_idx = p.task_idx AND x.map_index = p.map_index \
    LEFT JOIN worker_name w ON w.worker_id = ti.worker_id AND coalesce(ti.started_at, ti.queued_at) >= w.since \
        AND coalesce(ti.started_at, ti.queued_at) < w.until ORDER BY p.place";

fn keys(filter: &InstanceFilter) -> Vec<Key> {
    use Direction::{Ascending, Descending};
    let Some((_, first)) = filter.order.first() else {
        return vec![
            Key::always("run_after", "timestamptz", Descending),
            Key::always("id", "bigint", Descending),
            Key::always("pos", "bigint", Ascending),
            Key::always("map_index", "int", Ascending),
        ];
    };
    let mut keys: Vec<Key> = filter.order.iter().map(|(key, direction)| key.key(*direction)).collect();
    for (column, kind) in [("id", "bigint"), ("task_idx", "int"), ("map_index", "int")] {
        keys.push(Key::always(column, kind, *first));
    }
    keys
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
