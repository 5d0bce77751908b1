//! The list of DAGs: filtered, ordered, counted and paged by PostgreSQL, on the columns that its rows have. A definition is
//! read only for what a page shows.

use std::collections::BTreeMap;

use model::{DagId, DagRunState, TaskId};
use sqlx::{PgPool, Postgres, QueryBuilder, Row};

use super::{
    DagView, Direction, Pattern, Range, Visible, dags::DagRecord, list::within, total::Window, word, word_missing_last,
};
use crate::{
    error::{Doing, StoreError},
    rows::corrupt,
};

/// What was being done, for errors.
const LISTING: &str = "this list of DAGs";
/// Tags or owners that are offered to choose from.
const NAMES_MAX: i64 = 1_000;

/// How a list of DAGs is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DagOrder {
    /// By id.
    DagId,
    /// By displayed name.
    Name,
    /// By the next run.
    NextRun,
    /// By the state of the newest run, by its name.
    LastState,
    /// By the start of the newest run.
    LastStart,
}

impl DagOrder {
    const fn sql(self) -> &'static str {
        match self {
            Self::DagId => "d.dag_id",
            Self::Name => NAME,
            Self::NextRun => "d.next_run_after",
            Self::LastState => "(ARRAY['queued', 'running', 'success', 'failed'])[last.state + 1]",
            Self::LastStart => "last.started_at",
        }
    }
}

/// What pages call a DAG.
const NAME: &str = "coalesce(d.display_name, d.dag_id)";

/// Whether a user has marked a DAG as a favorite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// The user's name.
    pub by: String,
    /// Whether it is.
    pub is_marked: bool,
}

/// By what the runs of a DAG are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timetable {
    /// Only when somebody asks.
    Never,
    /// When assets have changed.
    Assets,
    /// The same, and at times.
    AssetsOrTime,
    /// Once.
    Once,
    /// One run after the other.
    Continuous,
    /// One cron expression, whose runs stand for its ticks.
    CronTrigger,
    /// Several of them.
    SeveralCronTriggers,
    /// Cron expressions whose runs stand for the time before a tick.
    CronDataInterval,
    /// A duration, whose runs stand for an instant.
    DeltaTrigger,
    /// A duration, whose runs stand for the time before.
    DeltaDataInterval,
}

impl Timetable {
    /// What a definition says of its schedule, as [`SCHEDULE_WORD`] writes it.
    const fn word(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Assets => "assets never",
            Self::AssetsOrTime => "assets",
            Self::Once => "once",
            Self::Continuous => "continuous",
            Self::CronTrigger => "cron cron_trigger one",
            Self::SeveralCronTriggers => "cron cron_trigger several",
            Self::CronDataInterval => "cron cron_data_interval",
            Self::DeltaTrigger => "delta delta_trigger",
            Self::DeltaDataInterval => "delta delta_data_interval",
        }
    }
}

/// The schedule of a version `v` in words. Durations that were stored before they had two meanings stand for the time before.
const SCHEDULE_WORD: &str = "concat_ws(' ', CASE WHEN v.compiled->'assets' IS NOT NULL THEN 'assets' END, v.compiled->'schedule'->>'kind', \
    CASE WHEN v.compiled->'schedule'->>'kind' = 'delta' \
         THEN coalesce(v.compiled->'schedule'->>'timetable', 'delta_data_interval') \
         ELSE v.compiled->'schedule'->>'timetable' END, \
    CASE WHEN v.compiled->'schedule'->>'timetable' = 'cron_trigger' \
         THEN CASE json_array_length(v.compiled->'schedule'->'expressions') WHEN 1 THEN 'one' ELSE 'several' END END)";

/// Which DAGs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DagFilter {
    /// Those that whoever asks may see.
    pub visible: Visible,
    /// Whose id matches.
    pub id_pattern: Pattern,
    /// Whose id begins so.
    pub id_prefix: Option<String>,
    /// Whose displayed name matches as well.
    pub name_pattern: Pattern,
    /// Whose displayed name begins so.
    pub name_prefix: Option<String>,
    /// With a text somewhere in id, description, tags or owners.
    pub text: Option<String>,
    /// With each of these words somewhere in the id.
    pub id_words: Vec<String>,
    /// Those whose ids begin so come first.
    pub first: Option<String>,
    /// With these tags; any when empty.
    pub tags: Vec<String>,
    /// Whether all of the tags are asked for, not one of them.
    pub all_tags: bool,
    /// Of one of these owners; of any when empty.
    pub owners: Vec<String>,
    /// Which a user has marked, or has not.
    pub marked: Option<Marked>,
    /// Held back, or not.
    pub paused: Option<bool>,
    /// Without those that no file defines any more.
    pub without_stale: bool,
    /// With mistakes in their files, or without.
    pub with_import_errors: Option<bool>,
    /// Of this bundle.
    pub bundle: Option<String>,
    /// Whose current version came with this revision of its bundle.
    pub bundle_version: Option<String>,
    /// Whose newest run is in one of these states; any when empty.
    pub last_states: Vec<DagRunState>,
    /// Whose newest run began then.
    pub last_started: Range,
    /// Whose newest run ended then.
    pub last_ended: Range,
    /// By what their runs are due: one of these; anything when empty.
    pub timetables: Vec<Timetable>,
    /// Which wait for assets, or do not.
    pub waits_for_assets: Option<bool>,
    /// Which have to do with an asset whose name or uri has this in it.
    pub asset: Option<String>,
    /// The order; by id when empty.
    pub order: Vec<(DagOrder, Direction)>,
}

/// How many DAGs there are by the state of their newest run, and how many are paused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DagCounts {
    /// All.
    pub all: i64,
    /// Those that are paused.
    pub paused: i64,
    /// By the state of the newest run.
    pub by_state: BTreeMap<DagRunState, i64>,
}

/// A part of the DAGs, and how many there are in all.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer or a row makes no sense.
pub async fn dag_list(pool: &PgPool, filter: &DagFilter, window: Window) -> Result<(Vec<DagView>, i64), StoreError> {
    window.check()?;
    let mut page = QueryBuilder::new(
        "SELECT d.dag_id, d.current_version, d.fileloc, d.display_name, d.description, d.tags, d.owners, d.is_paused, d.is_draining, d.is_stale, \
         d.bundle_name, (SELECT v.bundle_version FROM dag_version v WHERE v.id = d.current_version) AS bundle_version, \
         EXISTS (SELECT FROM import_error e WHERE e.bundle_name = d.bundle_name AND e.file = d.fileloc) AS has_import_errors, d.next_logical_date, \
         d.next_interval_start, d.next_interval_end, d.next_run_after, d.last_parsed_at ",
    );
    let by_last = filter.order.iter().any(|(key, _)| matches!(key, DagOrder::LastState | DagOrder::LastStart));
    source(&mut page, filter, by_last);
    page.push(" ORDER BY ");
    if let Some(first) = &filter.first {
        page.push("starts_with(lower(d.dag_id), lower(").push_bind(first.clone()).push(")) DESC, ");
    }
    for (key, direction) in &filter.order {
        page.push(key.sql()).push(word_missing_last(*direction)).push(", ");
    }
    page.push("d.dag_id").push(filter.order.first().map_or(" ASC", |(_, direction)| word(*direction)));
    page.push(" LIMIT ").push_bind(window.limit).push(" OFFSET ").push_bind(window.offset);
    let rows: Vec<DagRecord> = page.build_query_as().fetch_all(pool).await.doing(LISTING)?;
    let mut count = QueryBuilder::new("SELECT count(*) ");
    source(&mut count, filter, false);
    let total = count.build_query_scalar().fetch_one(pool).await.doing(LISTING)?;
    Ok((rows.into_iter().map(DagView::try_from).collect::<Result<_, _>>()?, total))
}

/// How the DAGs of a filter stand.
///
/// # Errors
/// As [`dag_list`].
pub async fn dag_counts(pool: &PgPool, filter: &DagFilter) -> Result<DagCounts, StoreError> {
    let mut query =
        QueryBuilder::new("SELECT last.state, count(*) AS dags, count(*) FILTER (WHERE d.is_paused) AS paused ");
    source(&mut query, filter, true);
    query.push(" GROUP BY last.state");
    let mut counts = DagCounts::default();
    for row in query.build().fetch_all(pool).await.doing(LISTING)? {
        let (state, dags, paused): (Option<i16>, i64, i64) =
            (row.try_get(0).doing(LISTING)?, row.try_get(1).doing(LISTING)?, row.try_get(2).doing(LISTING)?);
        counts.all += dags;
        counts.paused += paused;
        if let Some(state) = state {
            counts.by_state.insert(crate::rows::code(state)?, dags);
        }
    }
    Ok(counts)
}

/// `last` is a DAG's newest run: one step along an index a DAG, and only when something asks for it.
fn source(query: &mut QueryBuilder<'_, Postgres>, filter: &DagFilter, needs_last: bool) {
    query.push("FROM dag d");
    let ranges = [("last.started_at", filter.last_started), ("last.ended_at", filter.last_ended)];
    let asks_for_last = !filter.last_states.is_empty() || ranges.iter().any(|(_, range)| *range != Range::default());
    if needs_last || asks_for_last {
        query.push(
            " LEFT JOIN LATERAL (SELECT r.state, r.started_at, r.ended_at FROM dag_run r WHERE r.dag_id = d.dag_id \
             ORDER BY r.run_after DESC, r.id DESC LIMIT 1) AS last ON true",
        );
    }
    query.push(" WHERE true");
    filter.visible.limit(query, "d.dag_id");
    if filter.without_stale {
        query.push(" AND NOT d.is_stale");
    }
    if let Some(paused) = filter.paused {
        query.push(" AND d.is_paused = ").push_bind(paused);
    }
    for (column, prefix) in [("d.dag_id", &filter.id_prefix), (NAME, &filter.name_prefix)] {
        if let Some(prefix) = prefix {
            query.push(format_args!(" AND starts_with({column}, ")).push_bind(prefix.clone()).push(")");
        }
    }
    filter.id_pattern.limit(query, "d.dag_id");
    filter.name_pattern.limit(query, NAME);
    for (column, range) in ranges {
        within(query, column, range);
    }
    for word in &filter.id_words {
        query.push(" AND strpos(lower(d.dag_id), lower(").push_bind(word.clone()).push(")) > 0");
    }
    if let Some(text) = &filter.text {
        query.push(
            " AND strpos(lower(concat_ws(' ', d.dag_id, d.display_name, d.description, array_to_string(d.tags, ' '), ",
        );
        query.push("array_to_string(d.owners, ' '))), lower(").push_bind(text.clone()).push(")) > 0");
    }
    if !filter.tags.is_empty() {
        query.push(if filter.all_tags { " AND d.tags @> " } else { " AND d.tags && " }).push_bind(filter.tags.clone());
    }
    if let Some(Marked { by, is_marked }) = &filter.marked {
        query.push(
            " AND EXISTS (SELECT FROM dag_favorite f JOIN user_account u ON u.id = f.user_id WHERE u.username = ",
        );
        query.push_bind(by.clone()).push(" AND f.dag_id = d.dag_id) = ").push_bind(*is_marked);
    }
    if !filter.owners.is_empty() {
        query.push(" AND d.owners && ").push_bind(filter.owners.clone());
    }
    scheduled(query, filter);
    if let Some(with) = filter.with_import_errors {
        query.push(
            " AND EXISTS (SELECT FROM import_error e WHERE e.bundle_name = d.bundle_name AND e.file = d.fileloc) = ",
        );
        query.push_bind(with);
    }
    if let Some(bundle) = &filter.bundle {
        query.push(" AND d.bundle_name = ").push_bind(bundle.clone());
    }
    if let Some(revision) = &filter.bundle_version {
        query.push(" AND EXISTS (SELECT FROM dag_version v WHERE v.id = d.current_version AND v.bundle_version = ");
        query.push_bind(revision.clone()).push(")");
    }
    if !filter.last_states.is_empty() {
        let codes: Vec<i16> = filter.last_states.iter().map(|state| state.code()).collect();
        query.push(" AND last.state = ANY(").push_bind(codes).push(")");
    }
}

/// Limits DAGs by what their runs are due by, and by the assets that they have to do with.
fn scheduled(query: &mut QueryBuilder<'_, Postgres>, filter: &DagFilter) {
    if !filter.timetables.is_empty() {
        let words: Vec<&str> = filter.timetables.iter().map(|timetable| timetable.word()).collect();
        query.push(" AND EXISTS (SELECT FROM dag_version v WHERE v.id = d.current_version AND (");
        query.push(SCHEDULE_WORD).push(" = ANY(").push_bind(words).push(")");
        if filter.timetables.contains(&Timetable::AssetsOrTime) {
            query.push(" OR v.compiled->'assets' IS NOT NULL AND v.compiled->'schedule'->>'kind' <> 'never'");
        }
        query.push("))");
    }
    if let Some(waits) = filter.waits_for_assets {
        query.push(" AND EXISTS (SELECT FROM asset_reference r WHERE r.dag_id = d.dag_id AND r.kind = 0) = ");
        query.push_bind(waits);
    }
    if let Some(text) = &filter.asset {
        query.push(
            " AND EXISTS (SELECT FROM asset_reference r WHERE r.dag_id = d.dag_id AND strpos(lower(concat_ws(' ', ",
        );
        query.push("r.name, r.uri)), lower(").push_bind(text.clone()).push(")) > 0)");
    }
}

/// Which tags.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TagFilter {
    /// Of DAGs that whoever asks may see.
    pub visible: Visible,
    /// Whose name matches.
    pub pattern: Pattern,
    /// Whose name begins so.
    pub prefix: Option<String>,
    /// In which order of their names.
    pub direction: Direction,
}

/// The tags of all DAGs, in the order of their names: a part of them, and how many there are.
///
/// # Errors
/// As [`dag_list`].
pub async fn dag_tags(pool: &PgPool, filter: &TagFilter, window: Window) -> Result<(Vec<String>, i64), StoreError> {
    window.check()?;
    let source = |query: &mut QueryBuilder<'_, Postgres>| {
        query.push(" FROM (SELECT DISTINCT unnest(tags) AS tag FROM dag WHERE true");
        filter.visible.limit(query, "dag_id");
        query.push(") AS t WHERE true");
        filter.pattern.limit(query, "tag");
        if let Some(prefix) = &filter.prefix {
            query.push(" AND starts_with(tag, ").push_bind(prefix.clone()).push(")");
        }
    };
    let mut page = QueryBuilder::new("SELECT tag");
    source(&mut page);
    page.push(" ORDER BY tag").push(word(filter.direction));
    page.push(" LIMIT ").push_bind(window.limit).push(" OFFSET ").push_bind(window.offset);
    let tags = page.build_query_scalar().fetch_all(pool).await.doing(LISTING)?;
    let mut count = QueryBuilder::new("SELECT count(*)");
    source(&mut count);
    Ok((tags, count.build_query_scalar().fetch_one(pool).await.doing(LISTING)?))
}

/// Tasks of visible DAGs that files define, with all of these words in the ids of DAG and task and one of them in the task's, by DAG
/// and task; at most `limit`.
///
/// # Errors
/// As [`dag_list`].
pub async fn tasks_named(
    pool: &PgPool,
    words: &[String],
    visible: &Visible,
    limit: i64,
) -> Result<Vec<(DagId, TaskId)>, StoreError> {
    let rows = sqlx::query_file!("queries/read_tasks_named.sql", words, limit, visible.ids());
    let rows = rows.fetch_all(pool).await.doing(LISTING)?;
    rows.into_iter()
        .map(|row| Ok((crate::rows::dag_id(&row.dag_id)?, TaskId::new(row.task_id).map_err(|error| corrupt(&error))?)))
        .collect()
}

/// What the DAGs that files define can be narrowed to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DagNames {
    /// Their tags.
    pub tags: Vec<String>,
    /// Their owners.
    pub owners: Vec<String>,
}

/// The tags and owners of the visible DAGs that a file defines, the first so many of each.
///
/// # Errors
/// As [`dag_list`].
pub async fn dag_names(pool: &PgPool, visible: &Visible) -> Result<DagNames, StoreError> {
    let row = sqlx::query!(
        r#"SELECT
               ARRAY(SELECT DISTINCT unnest(tags) AS name FROM dag
                     WHERE NOT is_stale AND ($2::text[] IS NULL OR dag_id = ANY ($2)) ORDER BY name LIMIT $1) AS "tags!",
               ARRAY(SELECT DISTINCT unnest(owners) AS name FROM dag
                     WHERE NOT is_stale AND ($2::text[] IS NULL OR dag_id = ANY ($2)) ORDER BY name LIMIT $1) AS "owners!""#,
        NAMES_MAX,
        visible.ids()
    );
    let row = row.fetch_one(pool).await.doing(LISTING)?;
    Ok(DagNames { tags: row.tags, owners: row.owners })
}

/// The ids of those of these DAGs that exist and are visible; of all when none is named, at most `limit`, by id.
///
/// # Errors
/// As [`dag_list`].
pub async fn dag_ids(pool: &PgPool, named: &[String], visible: &Visible, limit: i64) -> Result<Vec<DagId>, StoreError> {
    let ids = sqlx::query_scalar!(
        "SELECT dag_id FROM dag WHERE (cardinality($1::text[]) = 0 OR dag_id = ANY ($1))
             AND ($3::text[] IS NULL OR dag_id = ANY ($3)) ORDER BY dag_id LIMIT $2",
        named,
        limit,
        visible.ids()
    );
    ids.fetch_all(pool).await.doing(LISTING)?.iter().map(|id| crate::rows::dag_id(id)).collect()
}
