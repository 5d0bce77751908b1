//! Assets, their events, who writes, reads and waits for them, and what has not been taken up.

use std::collections::BTreeMap;

use model::{AssetKey, DagId, DagRunState, RunId, RunKey, RunType, Timestamp};
use serde_json::{Map, Value};
use sqlx::{FromRow, PgPool, Postgres, QueryBuilder};

use super::{COUNT_MAX, Direction, Pattern, Range, Visible, Window, list::within, word, word_missing_last};
use crate::{
    error::{Doing, StoreError},
    rows::{code, corrupt, dag_id},
};

const LISTING: &str = "this list of assets";

/// So many references to the assets of a page are read.
const REFERENCES_MAX: i64 = 5_000;

/// So many entries of queues are read at once.
pub const QUEUED_MAX: i64 = 1_000;

/// So many links between DAGs and assets are shown in one picture.
pub const LINKS_MAX: i64 = 2_000;

/// A name for data.
#[derive(Debug, Clone, PartialEq)]
pub struct AssetView {
    /// Its number.
    pub id: i64,
    /// Its name and where it is.
    pub key: AssetKey,
    /// What kind of asset it is.
    pub group: String,
    /// What else is said of it.
    pub extra: Option<Map<String, Value>>,
    /// When it was named first.
    pub created_at: Timestamp,
    /// When what is said of it changed last.
    pub updated_at: Timestamp,
    /// Whether a DAG that a file defines names it.
    pub is_active: bool,
}

/// What a DAG says of an asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetReference {
    /// The asset.
    pub asset_id: i64,
    /// Whether the DAG waits for it, or a task writes or reads it.
    pub kind: AssetUse,
    /// The DAG.
    pub dag_id: DagId,
    /// The task; empty for what the DAG waits for.
    pub task_id: String,
    /// Since when.
    pub created_at: Timestamp,
    /// Since when as it is.
    pub updated_at: Timestamp,
}

/// What a DAG has to do with an asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AssetUse {
    /// It waits for it.
    Waits,
    /// A task writes it.
    Writes,
    /// A task reads it.
    Reads,
}

impl AssetUse {
    fn of(code: i16) -> Result<Self, StoreError> {
        match code {
            0 => Ok(Self::Waits),
            1 => Ok(Self::Writes),
            2 => Ok(Self::Reads),
            _ => Err(StoreError::Corrupt { what: format!("{code} is no use of an asset") }),
        }
    }
}

/// An alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasView {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What kind of assets it stands for.
    pub group: String,
}

/// What a page tells of its assets beside their rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AssetFacts {
    /// What DAGs say of them, at most some thousand.
    pub references: Vec<AssetReference>,
    /// The newest event of each, and when it happened.
    pub last_events: BTreeMap<i64, (i64, Timestamp)>,
    /// The aliases through which they have changed.
    pub aliases: Vec<(i64, AliasView)>,
}

/// How assets are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssetOrder {
    /// By number.
    Id,
    /// By name.
    Name,
    /// By uri.
    Uri,
    /// By when they were named first.
    CreatedAt,
    /// By when what is said of them changed last.
    UpdatedAt,
}

impl AssetOrder {
    const fn sql(self) -> &'static str {
        match self {
            Self::Id => "a.id",
            Self::Name => "a.name",
            Self::Uri => "a.uri",
            Self::CreatedAt => "a.created_at",
            Self::UpdatedAt => "a.updated_at",
        }
    }
}

/// Which assets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AssetFilter {
    /// Those that DAGs name which whoever asks may see.
    pub visible: Visible,
    /// Whose name matches.
    pub name: Pattern,
    /// Whose name begins so.
    pub name_prefix: Option<String>,
    /// Whose uri matches.
    pub uri: Pattern,
    /// Whose uri begins so.
    pub uri_prefix: Option<String>,
    /// That one of these DAGs names; any when empty.
    pub dag_ids: Vec<String>,
    /// Without those that no DAG names any more.
    pub only_active: bool,
    /// The order; by number when empty.
    pub order: Vec<(AssetOrder, Direction)>,
}

/// An asset is named by a DAG that a file defines. A guess of a schedule is not shown beside the asset that it means.
const IS_NAMED: &str = "EXISTS (SELECT FROM asset_reference r JOIN dag d ON d.dag_id = r.dag_id AND NOT d.is_stale \
    WHERE NOT r.is_alias AND r.name IN (a.name, a.uri) AND (r.uri IS NULL OR (r.name = a.name AND r.uri = a.uri))";
const THROUGH_ALIAS: &str = "EXISTS (SELECT FROM asset_alias_asset x JOIN asset_reference r ON r.is_alias AND r.name = x.alias \
    JOIN dag d ON d.dag_id = r.dag_id AND NOT d.is_stale WHERE x.asset_id = a.id";
const IS_NO_GUESS: &str = "NOT (a.is_guess AND EXISTS (SELECT FROM asset b WHERE NOT b.is_guess AND b.name = a.name) \
    OR a.is_guess AND EXISTS (SELECT FROM asset b WHERE NOT b.is_guess AND b.uri = a.uri))";

#[derive(FromRow)]
struct AssetRecord {
    id: i64,
    name: String,
    uri: String,
    asset_group: String,
    extra: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    is_active: bool,
}

impl TryFrom<AssetRecord> for AssetView {
    type Error = StoreError;
    fn try_from(row: AssetRecord) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            key: key_of(&row.name, &row.uri)?,
            group: row.asset_group,
            extra: object(row.extra.as_deref())?,
            created_at: row.created_at,
            updated_at: row.updated_at,
            is_active: row.is_active,
        })
    }
}

fn key_of(name: &str, uri: &str) -> Result<AssetKey, StoreError> {
    AssetKey::of(name, uri).ok_or_else(|| StoreError::Corrupt { what: format!("{name:?} is no name of an asset") })
}

fn object(json: Option<&str>) -> Result<Option<Map<String, Value>>, StoreError> {
    json.map(serde_json::from_str).transpose().map_err(|error| corrupt(&error))
}

/// A part of the assets, and how many there are in all, up to [`COUNT_MAX`].
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer or a row makes no sense.
pub async fn assets(pool: &PgPool, filter: &AssetFilter, window: Window) -> Result<(Vec<AssetView>, i64), StoreError> {
    window.check()?;
    let mut page = asset_columns();
    assets_of(&mut page, filter);
    page.push(" ORDER BY ");
    for (key, direction) in &filter.order {
        page.push(key.sql()).push(word(*direction)).push(", ");
    }
    page.push("a.id").push(filter.order.first().map_or(" ASC", |(_, direction)| word(*direction)));
    page.push(" LIMIT ").push_bind(window.limit).push(" OFFSET ").push_bind(window.offset);
    let rows: Vec<AssetRecord> = page.build_query_as().fetch_all(pool).await.doing(LISTING)?;
    let mut count = QueryBuilder::new("SELECT count(*) FROM (SELECT a.id");
    assets_of(&mut count, filter);
    let total = counted(&mut count, pool).await?;
    Ok((rows.into_iter().map(AssetView::try_from).collect::<Result<_, _>>()?, total))
}

fn asset_columns<'q>() -> QueryBuilder<'q, Postgres> {
    let mut query = QueryBuilder::new(
        "SELECT a.id, a.name, a.uri, a.asset_group, a.extra::text AS extra, a.created_at, a.updated_at, ",
    );
    query.push(IS_NAMED).push(") OR ").push(THROUGH_ALIAS).push(") AS is_active");
    query
}

fn assets_of(query: &mut QueryBuilder<'_, Postgres>, filter: &AssetFilter) {
    query.push(" FROM asset a WHERE ").push(IS_NO_GUESS);
    if filter.only_active || filter.visible != Visible::All {
        named_by(query, |query| filter.visible.limit(query, "r.dag_id"));
    }
    if !filter.dag_ids.is_empty() {
        named_by(query, |query| {
            query.push(" AND r.dag_id = ANY(").push_bind(filter.dag_ids.clone()).push(")");
        });
    }
    for (column, pattern, prefix) in
        [("a.name", &filter.name, &filter.name_prefix), ("a.uri", &filter.uri, &filter.uri_prefix)]
    {
        pattern.limit(query, column);
        if let Some(prefix) = prefix {
            query.push(format_args!(" AND starts_with({column}, ")).push_bind(prefix.clone()).push(")");
        }
    }
}

fn named_by(query: &mut QueryBuilder<'_, Postgres>, limit: impl Fn(&mut QueryBuilder<'_, Postgres>)) {
    query.push(" AND (").push(IS_NAMED);
    limit(query);
    query.push(") OR ").push(THROUGH_ALIAS);
    limit(query);
    query.push("))");
}

/// How many rows a statement has that was begun, up to [`COUNT_MAX`].
async fn counted(count: &mut QueryBuilder<'_, Postgres>, pool: &PgPool) -> Result<i64, StoreError> {
    count.push(" LIMIT ").push_bind(COUNT_MAX).push(") AS counted");
    count.build_query_scalar().fetch_one(pool).await.doing(LISTING)
}

/// An asset that whoever asks may see.
///
/// # Errors
/// As [`assets`].
pub async fn asset(pool: &PgPool, id: i64, visible: &Visible) -> Result<Option<AssetView>, StoreError> {
    let mut query = asset_columns();
    query.push(" FROM asset a WHERE a.id = ").push_bind(id);
    if *visible != Visible::All {
        named_by(&mut query, |query| visible.limit(query, "r.dag_id"));
    }
    let row: Option<AssetRecord> = query.build_query_as().fetch_optional(pool).await.doing(LISTING)?;
    row.map(AssetView::try_from).transpose()
}

/// The asset of a name or uri; of several the one of that name that is named first.
///
/// # Errors
/// As [`assets`].
pub async fn asset_named(pool: &PgPool, text: &str, visible: &Visible) -> Result<Option<AssetView>, StoreError> {
    let mut query = asset_columns();
    query.push(" FROM asset a WHERE (a.name = ").push_bind(text.to_owned());
    query.push(" OR a.uri = ").push_bind(text.to_owned()).push(")");
    if *visible != Visible::All {
        named_by(&mut query, |query| visible.limit(query, "r.dag_id"));
    }
    query.push(" ORDER BY a.name = ").push_bind(text.to_owned()).push(" DESC, a.id LIMIT 1");
    let row: Option<AssetRecord> = query.build_query_as().fetch_optional(pool).await.doing(LISTING)?;
    row.map(AssetView::try_from).transpose()
}

/// What there is to tell of these assets.
///
/// # Errors
/// As [`assets`].
pub async fn asset_facts(pool: &PgPool, ids: &[i64], visible: &Visible) -> Result<AssetFacts, StoreError> {
    if ids.is_empty() {
        return Ok(AssetFacts::default());
    }
    let references = sqlx::query_file!("queries/read_asset_references.sql", ids, visible.ids(), REFERENCES_MAX);
    let references = references.fetch_all(pool).await.doing(LISTING)?.into_iter().map(|row| {
        Ok(AssetReference {
            asset_id: row.asset_id,
            kind: AssetUse::of(row.kind)?,
            dag_id: dag_id(&row.dag_id)?,
            task_id: row.task_id,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    });
    let last = sqlx::query_file!("queries/read_asset_last_events.sql", ids).fetch_all(pool).await.doing(LISTING)?;
    let aliases = sqlx::query_file!("queries/read_asset_aliases_of.sql", ids, REFERENCES_MAX);
    let aliases = aliases.fetch_all(pool).await.doing(LISTING)?.into_iter();
    Ok(AssetFacts {
        references: references.collect::<Result<_, StoreError>>()?,
        last_events: last.into_iter().map(|row| (row.asset_id, (row.event_id, row.at))).collect(),
        aliases: aliases
            .map(|row| (row.asset_id, AliasView { id: row.id, name: row.name, group: row.alias_group }))
            .collect(),
    })
}

/// How aliases are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AliasOrder {
    /// By number.
    Id,
    /// By name.
    Name,
    /// By group.
    Group,
}

impl AliasOrder {
    const fn sql(self) -> &'static str {
        match self {
            Self::Id => "a.id",
            Self::Name => "a.name",
            Self::Group => "a.alias_group",
        }
    }
}

/// Which aliases.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AliasFilter {
    /// Those that DAGs name which whoever asks may see.
    pub visible: Visible,
    /// Whose name matches.
    pub name: Pattern,
    /// Whose name begins so.
    pub name_prefix: Option<String>,
    /// The order; by number when empty.
    pub order: Vec<(AliasOrder, Direction)>,
}

/// A part of the aliases, and how many there are in all.
///
/// # Errors
/// As [`assets`].
pub async fn aliases(pool: &PgPool, filter: &AliasFilter, window: Window) -> Result<(Vec<AliasView>, i64), StoreError> {
    window.check()?;
    let source = |query: &mut QueryBuilder<'_, Postgres>| {
        query.push(" FROM asset_alias a WHERE true");
        alias_visible(query, &filter.visible);
        filter.name.limit(query, "a.name");
        if let Some(prefix) = &filter.name_prefix {
            query.push(" AND starts_with(a.name, ").push_bind(prefix.clone()).push(")");
        }
    };
    let mut page = QueryBuilder::new("SELECT a.id, a.name, a.alias_group");
    source(&mut page);
    page.push(" ORDER BY ");
    for (key, direction) in &filter.order {
        page.push(key.sql()).push(word_missing_last(*direction)).push(", ");
    }
    page.push("a.id").push(filter.order.first().map_or(" ASC", |(_, direction)| word(*direction)));
    page.push(" LIMIT ").push_bind(window.limit).push(" OFFSET ").push_bind(window.offset);
    let rows: Vec<(i64, String, String)> = page.build_query_as().fetch_all(pool).await.doing(LISTING)?;
    let mut count = QueryBuilder::new("SELECT count(*) FROM (SELECT a.id");
    source(&mut count);
    let total = counted(&mut count, pool).await?;
    Ok((rows.into_iter().map(|(id, name, group)| AliasView { id, name, group }).collect(), total))
}

fn alias_visible(query: &mut QueryBuilder<'_, Postgres>, visible: &Visible) {
    if *visible != Visible::All {
        query.push(" AND EXISTS (SELECT FROM asset_reference r WHERE r.is_alias AND r.name = a.name");
        visible.limit(query, "r.dag_id");
        query.push(")");
    }
}

/// An alias that whoever asks may see.
///
/// # Errors
/// As [`assets`].
pub async fn alias(pool: &PgPool, id: i64, visible: &Visible) -> Result<Option<AliasView>, StoreError> {
    let mut query = QueryBuilder::new("SELECT a.id, a.name, a.alias_group FROM asset_alias a WHERE a.id = ");
    query.push_bind(id);
    alias_visible(&mut query, visible);
    let row: Option<(i64, String, String)> = query.build_query_as().fetch_optional(pool).await.doing(LISTING)?;
    Ok(row.map(|(id, name, group)| AliasView { id, name, group }))
}

/// An event of an asset.
#[derive(Debug, Clone, PartialEq)]
pub struct AssetEventView {
    /// Its number.
    pub id: i64,
    /// The asset.
    pub asset_id: i64,
    /// Its name and uri.
    pub asset: AssetKey,
    /// What kind of asset it is.
    pub group: String,
    /// When.
    pub at: Timestamp,
    /// What consumers are told.
    pub extra: Map<String, Value>,
    /// The DAG of the task that has changed it; none when somebody said so.
    pub source_dag_id: Option<String>,
    /// Its run.
    pub source_run_id: Option<String>,
    /// The task.
    pub source_task_id: Option<String>,
    /// Which instance of an expanded task; -1 when it is not expanded.
    pub source_map_index: i32,
}

/// How events are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventOrder {
    /// By instant, which is the order of their numbers.
    Timestamp,
    /// By the task that has changed the asset.
    SourceTask,
    /// By its DAG.
    SourceDag,
    /// By its run.
    SourceRun,
    /// By its map index.
    SourceMapIndex,
}

impl EventOrder {
    const fn sql(self) -> &'static str {
        match self {
            Self::Timestamp => "e.id",
            Self::SourceTask => "e.source_task_id",
            Self::SourceDag => "e.source_dag_id",
            Self::SourceRun => "e.source_run_id",
            Self::SourceMapIndex => "e.source_map_index",
        }
    }

    const fn word(self, direction: Direction) -> &'static str {
        match self {
            Self::Timestamp => word(direction),
            Self::SourceTask | Self::SourceDag | Self::SourceRun | Self::SourceMapIndex => word_missing_last(direction),
        }
    }
}

/// Which events.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventFilter {
    /// Of assets that DAGs name which whoever asks may see.
    pub visible: Visible,
    /// This one.
    pub id: Option<i64>,
    /// Of this asset.
    pub asset_id: Option<i64>,
    /// Of assets whose name matches.
    pub name: Pattern,
    /// Of assets whose name begins so.
    pub name_prefix: Option<String>,
    /// Of this DAG's tasks.
    pub source_dag_id: Option<String>,
    /// Of this task.
    pub source_task_id: Option<String>,
    /// Of this run.
    pub source_run_id: Option<String>,
    /// Of this instance of an expanded task.
    pub source_map_index: Option<i32>,
    /// When they happened.
    pub timestamp: Range,
    /// Those that this run has taken up.
    pub taken_by: Option<RunKey>,
    /// The order; by instant when empty.
    pub order: Vec<(EventOrder, Direction)>,
}

#[derive(FromRow)]
struct EventRecord {
    id: i64,
    asset_id: i64,
    name: String,
    uri: String,
    asset_group: String,
    at: Timestamp,
    extra: Option<String>,
    source_dag_id: Option<String>,
    source_run_id: Option<String>,
    source_task_id: Option<String>,
    source_map_index: i32,
}

impl TryFrom<EventRecord> for AssetEventView {
    type Error = StoreError;
    fn try_from(row: EventRecord) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            asset_id: row.asset_id,
            asset: key_of(&row.name, &row.uri)?,
            group: row.asset_group,
            at: row.at,
            extra: object(row.extra.as_deref())?.unwrap_or_default(),
            source_dag_id: row.source_dag_id,
            source_run_id: row.source_run_id,
            source_task_id: row.source_task_id,
            source_map_index: row.source_map_index,
        })
    }
}

/// A part of the events, and how many there are in all, up to [`COUNT_MAX`].
///
/// # Errors
/// As [`assets`].
pub async fn asset_events(
    pool: &PgPool,
    filter: &EventFilter,
    window: Window,
) -> Result<(Vec<AssetEventView>, i64), StoreError> {
    window.check()?;
    let mut page = QueryBuilder::new(
        "SELECT e.id, e.asset_id, a.name, a.uri, a.asset_group, e.at, e.extra::text AS extra, e.source_dag_id, \
         e.source_run_id, e.source_task_id, e.source_map_index",
    );
    events_of(&mut page, filter);
    page.push(" ORDER BY ");
    let keys = filter.order.iter().filter(|(key, _)| *key != EventOrder::Timestamp);
    if filter.order.first().is_none_or(|(key, _)| *key != EventOrder::Timestamp) {
        for (key, direction) in keys {
            page.push(key.sql()).push(key.word(*direction)).push(", ");
        }
    }
    page.push("e.id").push(filter.order.first().map_or(" ASC", |(_, direction)| word(*direction)));
    page.push(" LIMIT ").push_bind(window.limit).push(" OFFSET ").push_bind(window.offset);
    let rows: Vec<EventRecord> = page.build_query_as().fetch_all(pool).await.doing(LISTING)?;
    let mut count = QueryBuilder::new("SELECT count(*) FROM (SELECT e.id");
    events_of(&mut count, filter);
    let total = counted(&mut count, pool).await?;
    Ok((rows.into_iter().map(AssetEventView::try_from).collect::<Result<_, _>>()?, total))
}

fn events_of(query: &mut QueryBuilder<'_, Postgres>, filter: &EventFilter) {
    query.push(" FROM asset_event e JOIN asset a ON a.id = e.asset_id");
    if let Some(run) = filter.taken_by {
        query.push(" JOIN dag_run_asset t ON t.asset_id = e.asset_id AND e.id BETWEEN t.first_event AND t.last_event");
        query.push(" AND t.run_id = ").push_bind(run.get());
    }
    query.push(" WHERE true");
    if filter.visible != Visible::All {
        named_by(query, |query| filter.visible.limit(query, "r.dag_id"));
    }
    for (column, number) in [("e.id", filter.id), ("e.asset_id", filter.asset_id)] {
        if let Some(number) = number {
            query.push(format_args!(" AND {column} = ")).push_bind(number);
        }
    }
    for (column, text) in [
        ("e.source_dag_id", &filter.source_dag_id),
        ("e.source_task_id", &filter.source_task_id),
        ("e.source_run_id", &filter.source_run_id),
    ] {
        if let Some(text) = text {
            query.push(format_args!(" AND {column} = ")).push_bind(text.clone());
        }
    }
    if let Some(index) = filter.source_map_index {
        query.push(" AND e.source_map_index = ").push_bind(index);
    }
    filter.name.limit(query, "a.name");
    if let Some(prefix) = &filter.name_prefix {
        query.push(" AND starts_with(a.name, ").push_bind(prefix.clone()).push(")");
    }
    within(query, "e.at", filter.timestamp);
}

/// A run that has taken up an event.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRun {
    /// The event.
    pub event_id: i64,
    /// The run's number.
    pub key: RunKey,
    /// Its DAG.
    pub dag_id: DagId,
    /// Its id.
    pub run_id: RunId,
    /// What made it.
    pub run_type: RunType,
    /// Its state.
    pub state: DagRunState,
    /// The date that it stands for.
    pub logical_date: Option<Timestamp>,
    /// The data that it covers.
    pub data_interval: Option<(Timestamp, Timestamp)>,
    /// The earliest start.
    pub run_after: Timestamp,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Whether no later event of the asset is in it.
    pub is_last: bool,
}

/// The runs that have taken up these events.
///
/// # Errors
/// As [`assets`].
pub async fn runs_of_events(pool: &PgPool, ids: &[i64], visible: &Visible) -> Result<Vec<EventRun>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query_file!("queries/read_asset_event_runs.sql", ids, visible.ids(), REFERENCES_MAX);
    let rows = rows.fetch_all(pool).await.doing(LISTING)?.into_iter().map(|row| {
        Ok(EventRun {
            event_id: row.event_id,
            key: RunKey(row.run_key),
            dag_id: dag_id(&row.dag_id)?,
            run_id: RunId::new(row.run_id).map_err(|error| corrupt(&error))?,
            run_type: code(row.run_type)?,
            state: code(row.state)?,
            logical_date: row.logical_date,
            data_interval: row.interval_start.zip(row.interval_end),
            run_after: row.run_after,
            started_at: row.started_at,
            ended_at: row.ended_at,
            is_last: row.is_last,
        })
    });
    rows.collect()
}

/// Which entries of queues.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueueFilter {
    /// Of DAGs that whoever asks may see.
    pub visible: Visible,
    /// Of this DAG.
    pub dag_id: Option<DagId>,
    /// Of this asset.
    pub asset_id: Option<i64>,
    /// Queued before this instant.
    pub before: Option<Timestamp>,
}

/// An asset that has changed for a DAG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedView {
    /// The DAG.
    pub dag_id: DagId,
    /// The asset.
    pub asset_id: i64,
    /// Its name and uri.
    pub asset: AssetKey,
    /// Its first event that was not taken up.
    pub first_event: i64,
    /// Its last one.
    pub last_event: i64,
    /// When the first one happened.
    pub created_at: Timestamp,
}

/// What has changed and was not taken up, at most [`QUEUED_MAX`] entries.
///
/// # Errors
/// As [`assets`].
pub async fn asset_queue(pool: &PgPool, filter: &QueueFilter) -> Result<Vec<QueuedView>, StoreError> {
    let rows = sqlx::query_file!(
        "queries/read_asset_queue.sql",
        filter.dag_id.as_ref().map(DagId::as_str),
        filter.asset_id,
        filter.before,
        filter.visible.ids(),
        QUEUED_MAX
    );
    let rows = rows.fetch_all(pool).await.doing(LISTING)?.into_iter().map(|row| {
        Ok(QueuedView {
            dag_id: dag_id(&row.dag_id)?,
            asset_id: row.asset_id,
            asset: key_of(&row.name, &row.uri)?,
            first_event: row.first_event,
            last_event: row.last_event,
            created_at: row.created_at,
        })
    });
    rows.collect()
}

/// A DAG and an asset that it has to do with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetLink {
    /// The DAG.
    pub dag_id: DagId,
    /// What it has to do with it.
    pub kind: AssetUse,
    /// The asset.
    pub asset_id: i64,
    /// Its name and uri.
    pub asset: AssetKey,
}

/// How DAGs are joined by assets: at most [`LINKS_MAX`] links.
///
/// # Errors
/// As [`assets`].
pub async fn asset_links(pool: &PgPool, visible: &Visible) -> Result<Vec<AssetLink>, StoreError> {
    let rows = sqlx::query_file!("queries/read_asset_links.sql", visible.ids(), LINKS_MAX);
    let rows = rows.fetch_all(pool).await.doing(LISTING)?.into_iter().map(|row| {
        Ok(AssetLink {
            dag_id: dag_id(row.dag_id.as_deref().unwrap_or_default())?,
            kind: AssetUse::of(row.kind.unwrap_or(-1))?,
            asset_id: row.asset_id,
            asset: key_of(&row.name, &row.uri)?,
        })
    });
    rows.collect()
}

/// The assets that inlets mean: each key the asset of its name and uri, else the one of either; each alias those that have changed
/// through it, the newest ones, at most a hundred.
///
/// # Errors
/// As [`assets`].
pub async fn assets_meant(pool: &PgPool, keys: &[AssetKey], aliases: &[String]) -> Result<Vec<i64>, StoreError> {
    let names: Vec<String> = keys.iter().map(|key| key.name.to_string()).collect();
    let uris: Vec<String> = keys.iter().map(|key| key.uri.to_string()).collect();
    let ids = sqlx::query_file_scalar!("queries/read_assets_meant.sql", &names, &uris, aliases);
    ids.fetch_all(pool).await.doing(LISTING)
}

/// The newest events of these assets, newest first: at most `each` of one, and `all` together.
///
/// # Errors
/// As [`assets`].
pub async fn newest_events(
    pool: &PgPool,
    assets: &[i64],
    each: i64,
    all: i64,
) -> Result<Vec<AssetEventView>, StoreError> {
    let rows = sqlx::query_file_as!(EventRecord, "queries/read_newest_asset_events.sql", assets, each, all);
    rows.fetch_all(pool).await.doing(LISTING)?.into_iter().map(AssetEventView::try_from).collect()
}
