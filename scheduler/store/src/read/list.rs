//! The list of runs: filtered, ordered and paged by PostgreSQL.
//!
//! A statement that is not checked when the program is built: its filters and its order vary with the
//! question, and a statement that covers them all could use no index. Names of columns come from the enums below, values
//! are always bound.

use std::cmp::Ordering;

use engine::RunRow;
use model::{DagId, DagRunState, RunId, RunType, Timestamp};
use sqlx::{FromRow, PgPool, Postgres, QueryBuilder, Row, postgres::PgRow};

use super::{
    Visible,
    total::{LookedAt, Reach, Searched, Statements, Total, Window, counted, counting},
    walk::{self, Key, Part, Walk},
};
use crate::{
    error::{Doing, StoreError},
    rows::{RunRecord, dag_id as stored_dag_id},
};

/// What was being done, for errors.
const LISTING: &str = "this list of runs";
/// The newest runs that are looked at when no index helps to find or order those that are meant: some 20 ms.
pub const SEARCHED_RUNS_MAX: i64 = 10_000;
/// A pattern that more DAGs than this match is looked for in the runs.
const PATTERN_DAGS_MAX: i64 = 1_000;

/// How a list of runs is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunOrder {
    /// By number.
    Id,
    /// By the state's name.
    State,
    /// By DAG.
    DagId,
    /// By id.
    RunId,
    /// By the date that it stands for.
    LogicalDate,
    /// By the earliest start.
    RunAfter,
    /// By start.
    StartDate,
    /// By end.
    EndDate,
    /// By its last change.
    UpdatedAt,
    /// By the beginning of its conf as text.
    Conf,
    /// By how long it took.
    Duration,
}

/// A conf may be long, and a row's place holds what it is ordered by: what differs later than here is ordered by number.
const CONF: &str = "left(conf::text, 200)";

impl RunOrder {
    fn key(self, direction: Direction) -> Key {
        let sql = self.sql();
        match self {
            Self::Id => Key::always(sql, "bigint", direction),
            Self::State | Self::DagId | Self::RunId | Self::Conf => Key::always(sql, "text", direction),
            Self::RunAfter | Self::UpdatedAt => Key::always(sql, "timestamptz", direction),
            Self::LogicalDate | Self::StartDate | Self::EndDate => Key::sometimes(sql, "timestamptz", direction),
            Self::Duration => Key::sometimes(sql, "interval", direction),
        }
    }

    const fn sql(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::State => "(ARRAY['queued', 'running', 'success', 'failed'])[state + 1]",
            Self::DagId => "dag_id",
            Self::RunId => "run_id",
            Self::LogicalDate => "logical_date",
            Self::RunAfter => "run_after",
            Self::StartDate => "started_at",
            Self::EndDate => "ended_at",
            Self::UpdatedAt => UPDATED_AT,
            Self::Conf => CONF,
            Self::Duration => "(ended_at - started_at)",
        }
    }

    /// Whether an index has runs in this order.
    const fn is_indexed(self, direction: Direction) -> bool {
        match self {
            Self::Id | Self::DagId | Self::LogicalDate | Self::RunAfter | Self::StartDate | Self::UpdatedAt => true,
            Self::EndDate => matches!(direction, Direction::Descending),
            Self::State | Self::RunId | Self::Conf | Self::Duration => false,
        }
    }
}

const UPDATED_AT: &str = "coalesce(ended_at, started_at, queued_at)";

/// Which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first.
    #[default]
    Ascending,
    /// Largest first.
    Descending,
}

impl Direction {
    /// An ordering of two, in this direction.
    #[must_use]
    pub const fn turned(self, ordering: Ordering) -> Ordering {
        match self {
            Self::Ascending => ordering,
            Self::Descending => ordering.reverse(),
        }
    }
}

/// A range of instants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    /// Not before.
    pub gte: Option<Timestamp>,
    /// After.
    pub gt: Option<Timestamp>,
    /// Not after.
    pub lte: Option<Timestamp>,
    /// Before.
    pub lt: Option<Timestamp>,
}

impl Range {
    /// Whether it has an end and no beginning.
    pub(super) const fn is_only_before(&self) -> bool {
        self.gte.is_none() && self.gt.is_none() && (self.lte.is_some() || self.lt.is_some())
    }
}

/// A range of durations in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SecondsRange {
    /// Not shorter.
    pub gte: Option<f64>,
    /// Longer.
    pub gt: Option<f64>,
    /// Not longer.
    pub lte: Option<f64>,
    /// Shorter.
    pub lt: Option<f64>,
}

/// A pattern of text: any of these, anywhere in it, `%` and `_` as in SQL, case aside. Empty for everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pattern(pub Vec<String>);

impl Pattern {
    /// What ILIKE is given: each part anywhere.
    pub(crate) fn anywhere(&self) -> Vec<String> {
        self.0.iter().map(|part| format!("%{part}%")).collect()
    }

    /// Limits a column to what matches.
    pub(crate) fn limit(&self, query: &mut QueryBuilder<'_, Postgres>, column: &str) {
        if !self.0.is_empty() {
            query.push(format_args!(" AND {column} ILIKE ANY(")).push_bind(self.anywhere()).push(")");
        }
    }
}

/// Which runs, in which order, and which page of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunFilter {
    /// Of DAGs that whoever asks may see.
    pub visible: Visible,
    /// Of one of these DAGs; of any when empty.
    pub dag_ids: Vec<DagId>,
    /// With one of these ids; with any when empty.
    pub run_ids: Vec<RunId>,
    /// In one of these states; any when empty.
    pub states: Vec<DagRunState>,
    /// Of one of these types; any when empty.
    pub run_types: Vec<RunType>,
    /// Whose id matches.
    pub run_id_pattern: Pattern,
    /// Whose DAG's id matches.
    pub dag_id_pattern: Pattern,
    /// Whose DAG's id begins so.
    pub dag_id_prefix: Option<String>,
    /// Whose triggering user's name matches.
    pub user_pattern: Pattern,
    /// Whose triggering user's name begins so.
    pub user_prefix: Option<String>,
    /// Whose conf has this text in it.
    pub conf_contains: Option<String>,
    /// Pinned to a version of one of these numbers; to any when empty.
    pub versions: Vec<i32>,
    /// Pinned to a version with this content.
    pub content_hash: Option<String>,
    /// Whose id begins so.
    pub run_id_prefix: Option<String>,
    /// Which have taken up events of an asset whose name or uri matches.
    pub consumed_asset: Pattern,
    /// By the date that they stand for.
    pub logical_date: Range,
    /// By the earliest start.
    pub run_after: Range,
    /// By start.
    pub start_date: Range,
    /// By end.
    pub end_date: Range,
    /// By their last change.
    pub updated_at: Range,
    /// By how many seconds they took.
    pub duration: SecondsRange,
    /// The order; by number when empty.
    pub order: Vec<(RunOrder, Direction)>,
    /// Looks at the newest so many only, of these DAGs, in these states and due in this range. Without it, all runs are looked
    /// at: the newest [`SEARCHED_RUNS_MAX`] first, when no index knows the rest.
    pub newest: Option<i64>,
    /// At most so many.
    pub limit: i64,
    /// After so many.
    pub offset: i64,
}

impl RunFilter {
    /// What is looked at; all runs when an index leads to those that are meant, in the order that is asked for.
    pub(super) fn searched(&self, reach: Reach) -> Option<Searched> {
        let by = self.range_beside_order();
        let is_search = reach == Reach::Newest && (by.is_some() || self.asks_what_no_index_knows());
        let newest = self.newest.or(is_search.then_some(SEARCHED_RUNS_MAX))?;
        Some(Searched { table: "dag_run", by: by.unwrap_or("run_after"), newest })
    }

    fn asks_what_no_index_knows(&self) -> bool {
        let patterns = [&self.run_id_pattern, &self.dag_id_pattern, &self.user_pattern, &self.consumed_asset];
        let by_text = patterns.into_iter().any(|pattern| !pattern.0.is_empty())
            || [&self.run_id_prefix, &self.dag_id_prefix, &self.user_prefix].into_iter().any(Option::is_some)
            || self.content_hash.is_some()
            || self.conf_contains.is_some();
        // A DAG's runs are unique by their ids.
        let of_one_dag = |key: RunOrder| key == RunOrder::RunId && self.dag_ids.len() == 1;
        let by_order = self.order.first().is_some_and(|(key, way)| !key.is_indexed(*way) && !of_one_dag(*key));
        by_text || by_order || !self.versions.is_empty() || self.duration != SecondsRange::default()
    }

    /// The column of a range that another order would have to be walked for, perhaps along all runs.
    fn range_beside_order(&self) -> Option<&'static str> {
        let (first, direction) = self.order.first().copied().unwrap_or((RunOrder::Id, Direction::Ascending));
        let ranges = [
            (RunOrder::LogicalDate, self.logical_date),
            (RunOrder::RunAfter, self.run_after),
            (RunOrder::StartDate, self.start_date),
            (RunOrder::UpdatedAt, self.updated_at),
            (RunOrder::EndDate, self.end_date),
        ];
        let is_beside = |(key, range): &(RunOrder, Range)| {
            // The oldest come first in every order that a list walks along upwards.
            let leads_there =
                range.is_only_before() && direction == Direction::Ascending && first.is_indexed(direction);
            *range != Range::default() && *key != first && !leads_there
        };
        let (key, _) = ranges.into_iter().find(is_beside)?;
        // The end is what changed last.
        Some(if key == RunOrder::EndDate { UPDATED_AT } else { key.sql() })
    }
}

/// When the last of so many runs changed that changed last; none when there are fewer.
pub(super) async fn changed_last(
    pool: &PgPool,
    filter: &RunFilter,
    runs: i64,
) -> Result<Option<Timestamp>, StoreError> {
    let mut query = QueryBuilder::new("SELECT changed_at FROM (SELECT id, ");
    query.push(UPDATED_AT).push(" AS changed_at FROM dag_run WHERE true");
    conditions(&mut query, filter);
    query.push(format_args!(" ORDER BY {UPDATED_AT} DESC, id DESC LIMIT 1 OFFSET ")).push_bind(runs.saturating_sub(1));
    query.push(") AS last");
    query.build_query_scalar().fetch_optional(pool).await.doing(LISTING)
}

/// A page of runs and how many there are in all.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer or a row makes no sense.
pub async fn runs(pool: &PgPool, filter: &RunFilter) -> Result<(Vec<RunRow>, Total), StoreError> {
    let window = Window { limit: filter.limit, offset: filter.offset };
    let known = with_known_dags(pool, filter).await?;
    let filter = known.as_ref().unwrap_or(filter);
    if known.is_some() && filter.dag_ids.is_empty() {
        return Ok((Vec::new(), Total::Exactly(0)));
    }
    let statements = |reach| Statements {
        page: page(filter, reach),
        matching: matching_runs(filter, reach),
        looked_at: looked_at(filter, reach),
    };
    window.read::<RunRecord, _>(pool, statements, LISTING).await
}

/// The filter with the DAGs that its pattern means named, unless they are too many: an index has the runs of a DAG, and
/// PostgreSQL knows how many these are.
async fn with_known_dags(pool: &PgPool, filter: &RunFilter) -> Result<Option<RunFilter>, StoreError> {
    if filter.dag_id_pattern.0.is_empty() {
        return Ok(None);
    }
    let mut query = QueryBuilder::new("SELECT dag_id FROM dag WHERE true");
    of_dags(&mut query, filter);
    filter.dag_id_pattern.limit(&mut query, "dag_id");
    query.push(" ORDER BY dag_id LIMIT ").push_bind(PATTERN_DAGS_MAX + 1);
    let ids: Vec<String> = query.build_query_scalar().fetch_all(pool).await.doing(LISTING)?;
    if i64::try_from(ids.len()).unwrap_or(i64::MAX) > PATTERN_DAGS_MAX {
        return Ok(None);
    }
    let dag_ids = ids.iter().map(|id| stored_dag_id(id)).collect::<Result<_, _>>()?;
    Ok(Some(RunFilter { dag_ids, dag_id_pattern: Pattern::default(), ..filter.clone() }))
}

/// The same by the places of rows.
///
/// # Errors
/// As [`runs`], and [`StoreError::Refused`] for a place that is of another list.
pub async fn run_part(pool: &PgPool, filter: &RunFilter, walk: &Walk) -> Result<Part<RunRow>, StoreError> {
    if *walk == Walk::Off {
        let (rows, total) = runs(pool, filter).await?;
        return Ok(Part { rows, total, next: None, previous: None });
    }
    let known = with_known_dags(pool, filter).await?;
    let filter = known.as_ref().unwrap_or(filter);
    if known.is_some() && filter.dag_ids.is_empty() {
        return Ok(Part { rows: Vec::new(), total: Total::Exactly(0), next: None, previous: None });
    }
    walk.check(&keys(&filter.order))?;
    let statements = |reach| Statements {
        page: part(filter, walk, reach),
        matching: matching_runs(filter, reach),
        looked_at: looked_at(filter, reach),
    };
    walk.read::<RunRecord, _>(pool, filter.limit, statements, LISTING).await
}

/// The statement of a part, for its plan to be looked at.
///
/// # Errors
/// [`StoreError::Refused`] for a place that is of another list.
pub fn part_of_runs<'f>(filter: &'f RunFilter, walk: &Walk) -> Result<QueryBuilder<'f, Postgres>, StoreError> {
    walk.check(&keys(&filter.order))?;
    Ok(part(filter, walk, Reach::Newest))
}

fn part<'f>(filter: &'f RunFilter, walk: &Walk, reach: Reach) -> QueryBuilder<'f, Postgres> {
    let keys = walk.keys(keys(&filter.order));
    let mut part = QueryBuilder::new(COLUMNS);
    part.push(", row_place FROM (SELECT id");
    Walk::place(&mut part, &keys);
    source(&mut part, filter, reach);
    conditions(&mut part, filter);
    walk.limit(&mut part, &keys);
    walk::order(&mut part, &keys);
    part.push(" LIMIT ").push_bind(filter.limit.saturating_add(1));
    part.push(") AS page JOIN dag_run USING (id)");
    walk::order(&mut part, &keys);
    part
}

const COLUMNS: &str = "SELECT id, dag_id, run_id, run_type, triggered_by, version_id, state, logical_date, interval_start, \
    interval_end, run_after, queued_at, started_at, ended_at, conf, note, clear_number, triggering_user, \
    backfill_id, backfill_ordinal, backfill_first";

/// The statement of a page, for its plan to be looked at. Rows are read when it is known which: those that are skipped are
/// only walked over.
#[must_use]
pub fn page_of_runs(filter: &RunFilter) -> QueryBuilder<'_, Postgres> {
    page(filter, Reach::Newest)
}

fn page(filter: &RunFilter, reach: Reach) -> QueryBuilder<'_, Postgres> {
    let mut page = QueryBuilder::new(COLUMNS);
    page.push(" FROM (SELECT id ");
    source(&mut page, filter, reach);
    conditions(&mut page, filter);
    walk::order(&mut page, &keys(&filter.order));
    page.push(" LIMIT ").push_bind(filter.limit).push(" OFFSET ").push_bind(filter.offset);
    page.push(") AS page JOIN dag_run USING (id)");
    walk::order(&mut page, &keys(&filter.order));
    page
}

/// The runs that a search looks at.
fn looked_at(filter: &RunFilter, reach: Reach) -> Option<LookedAt<'_>> {
    let searched = filter.searched(reach)?;
    let rest = searched.rest(filter.newest, &filter.order, RunOrder::sql);
    Some(searched.looked_at(rest, |query| found_by_index(query, filter)))
}

/// The statement that counts all runs of a filter.
fn matching_runs(filter: &RunFilter, reach: Reach) -> QueryBuilder<'_, Postgres> {
    let mut count = counting();
    source(&mut count, filter, reach);
    conditions(&mut count, filter);
    counted(count)
}

/// All runs, or the newest of them.
fn source(query: &mut QueryBuilder<'_, Postgres>, filter: &RunFilter, reach: Reach) {
    match filter.searched(reach) {
        None => drop(query.push("FROM dag_run WHERE true")),
        Some(searched) => searched.push_source(query, |query| found_by_index(query, filter)),
    }
}

/// What limits a search before its newest runs are taken, so that older ones can be looked at by asking for them.
fn found_by_index(query: &mut QueryBuilder<'_, Postgres>, filter: &RunFilter) {
    of_dags(query, filter);
    in_states(query, &filter.states);
    dates(query, filter);
}

/// One DAG is compared, not looked for in a list, so that the order of an index by DAG is the order of the answer.
pub(super) fn of_dags(query: &mut QueryBuilder<'_, Postgres>, filter: &RunFilter) {
    filter.visible.limit(query, "dag_id");
    match filter.dag_ids.as_slice() {
        [] => {}
        [one] => drop(query.push(" AND dag_id = ").push_bind(one.to_string())),
        several => {
            let ids: Vec<String> = several.iter().map(ToString::to_string).collect();
            query.push(" AND dag_id = ANY(").push_bind(ids).push(")");
        }
    }
}

pub(super) fn conditions(query: &mut QueryBuilder<'_, Postgres>, filter: &RunFilter) {
    of_dags(query, filter);
    if !filter.run_ids.is_empty() {
        let ids: Vec<String> = filter.run_ids.iter().map(ToString::to_string).collect();
        query.push(" AND run_id = ANY(").push_bind(ids).push(")");
    }
    in_states(query, &filter.states);
    match filter.run_types.as_slice() {
        [] => {}
        [one] => drop(query.push(format_args!(" AND run_type = {}", one.code()))),
        several => {
            let codes: Vec<i16> = several.iter().map(|kind| kind.code()).collect();
            query.push(" AND run_type = ANY(").push_bind(codes).push(")");
        }
    }
    let prefixes = [
        ("run_id", &filter.run_id_prefix),
        ("dag_id", &filter.dag_id_prefix),
        ("triggering_user", &filter.user_prefix),
    ];
    for (column, prefix) in prefixes {
        begins(query, column, prefix.as_deref());
    }
    if let Some(text) = &filter.conf_contains {
        query.push(" AND position(").push_bind(text.clone()).push(" in conf::text) > 0");
    }
    if !filter.versions.is_empty() {
        // An array, which an index is entered with; a subquery may be held against all runs.
        query.push(" AND version_id = ANY(ARRAY(SELECT id FROM dag_version WHERE number = ANY(");
        query.push_bind(filter.versions.clone()).push(")))");
    }
    if let Some(hash) = &filter.content_hash {
        query.push(
            " AND version_id = ANY(ARRAY(SELECT id FROM dag_version WHERE coalesce(bundle_version, content_hash) = ",
        );
        query.push_bind(hash.clone()).push("))");
    }
    patterns(query, filter);
    has_consumed(query, &filter.consumed_asset);
    dates(query, filter);
    lasting(query, "ended_at - started_at", filter.duration);
}

/// Limits runs to those that have taken up events of an asset.
fn has_consumed(query: &mut QueryBuilder<'_, Postgres>, pattern: &Pattern) {
    if !pattern.0.is_empty() {
        query.push(" AND id IN (SELECT t.run_id FROM dag_run_asset t JOIN asset a ON a.id = t.asset_id WHERE (true");
        pattern.limit(query, "a.name");
        query.push(" OR true");
        pattern.limit(query, "a.uri");
        query.push("))");
    }
}

/// Limits a column to texts that begin so.
pub(super) fn begins(query: &mut QueryBuilder<'_, Postgres>, column: &str, prefix: Option<&str>) {
    if let Some(prefix) = prefix {
        query.push(format_args!(" AND starts_with({column}, ")).push_bind(prefix.to_owned()).push(")");
    }
}

/// Codes stand in the text, so that the planner sees which partial index has all that is asked for.
fn in_states(query: &mut QueryBuilder<'_, Postgres>, states: &[DagRunState]) {
    if states.is_empty() {
        return;
    }
    if states.iter().all(|state| !state.is_finished()) {
        query.push(" AND (state IN (0, 1) OR has_leftovers)");
    }
    let codes = |states: &[DagRunState]| {
        let codes: Vec<String> = states.iter().map(|state| state.code().to_string()).collect();
        codes.join(", ")
    };
    let (open, ended): (Vec<DagRunState>, Vec<DagRunState>) = states.iter().partition(|state| !state.is_finished());
    match (states, open.is_empty(), ended.as_slice()) {
        ([one], ..) => drop(query.push(format_args!(" AND state = {}", one.code()))),
        // Each side has a partial index of its own.
        (_, false, [DagRunState::Failed]) => {
            let open = codes(&open);
            query.push(format_args!(" AND (state = 3 OR (state IN (0, 1) OR has_leftovers) AND state IN ({open}))"));
        }
        (several, ..) => drop(query.push(format_args!(" AND state IN ({})", codes(several)))),
    }
}

fn patterns(query: &mut QueryBuilder<'_, Postgres>, filter: &RunFilter) {
    let patterns = [
        ("run_id", &filter.run_id_pattern),
        ("dag_id", &filter.dag_id_pattern),
        ("triggering_user", &filter.user_pattern),
    ];
    for (column, pattern) in patterns {
        pattern.limit(query, column);
    }
}

fn dates(query: &mut QueryBuilder<'_, Postgres>, filter: &RunFilter) {
    let ranges = [
        ("logical_date", filter.logical_date),
        ("run_after", filter.run_after),
        ("started_at", filter.start_date),
        ("ended_at", filter.end_date),
        (UPDATED_AT, filter.updated_at),
    ];
    for (column, range) in ranges {
        within(query, column, range);
    }
    // A run that ended or began since was changed since: the index by its last change knows where to look.
    for range in [filter.end_date, filter.start_date] {
        within(query, UPDATED_AT, Range { lte: None, lt: None, ..range });
    }
    // None begins before it may.
    within(query, "run_after", Range { gte: None, gt: None, ..filter.start_date });
}

/// Limits a time to a range.
pub(super) fn lasting(query: &mut QueryBuilder<'_, Postgres>, time: &str, range: SecondsRange) {
    for (sign, bound) in [(">=", range.gte), (">", range.gt), ("<=", range.lte), ("<", range.lt)] {
        if let Some(seconds) = bound {
            query.push(format_args!(" AND extract(epoch FROM {time})::float8 {sign} ")).push_bind(seconds);
        }
    }
}

/// Limits a column to a range.
pub(super) fn within(query: &mut QueryBuilder<'_, Postgres>, column: &str, range: Range) {
    for (sign, bound) in [(">=", range.gte), (">", range.gt), ("<=", range.lte), ("<", range.lt)] {
        if let Some(instant) = bound {
            query.push(format_args!(" AND {column} {sign} ")).push_bind(instant);
        }
    }
}

/// The number is the tie breaker, in the direction of the first key.
fn keys(order: &[(RunOrder, Direction)]) -> Vec<Key> {
    let first = order.first().map_or(Direction::Ascending, |(_, direction)| *direction);
    let last = (!order.iter().any(|(key, _)| *key == RunOrder::Id)).then_some((RunOrder::Id, first));
    order.iter().copied().chain(last).map(|(key, direction)| key.key(direction)).collect()
}

/// The direction of a column that some rows have no value in: these come last in both, as in Airflow's lists.
pub(crate) const fn word_missing_last(direction: Direction) -> &'static str {
    match direction {
        Direction::Ascending => " ASC",
        Direction::Descending => " DESC NULLS LAST",
    }
}

pub(crate) const fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Ascending => " ASC",
        Direction::Descending => " DESC",
    }
}

impl FromRow<'_, PgRow> for RunRecord {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("id")?,
            dag_id: row.try_get("dag_id")?,
            run_id: row.try_get("run_id")?,
            run_type: row.try_get("run_type")?,
            triggered_by: row.try_get("triggered_by")?,
            version_id: row.try_get("version_id")?,
            state: row.try_get("state")?,
            logical_date: row.try_get("logical_date")?,
            interval_start: row.try_get("interval_start")?,
            interval_end: row.try_get("interval_end")?,
            run_after: row.try_get("run_after")?,
            queued_at: row.try_get("queued_at")?,
            started_at: row.try_get("started_at")?,
            ended_at: row.try_get("ended_at")?,
            conf: row.try_get("conf")?,
            note: row.try_get("note")?,
            clear_number: row.try_get("clear_number")?,
            triggering_user: row.try_get("triggering_user")?,
            backfill_id: row.try_get("backfill_id")?,
            backfill_ordinal: row.try_get("backfill_ordinal")?,
            backfill_first: row.try_get("backfill_first")?,
        })
    }
}
