//! XComs: a list of them without their values, one with its value, and what a task returned.

use engine::RunRow;
use model::{MapIndex, RunId, RunKey, TaskId, TaskIdx, TiKey, Timestamp, XComValue};
use serde_json::Value;
use sqlx::{FromRow, PgExecutor, PgPool, Postgres, QueryBuilder, types::Json};

use super::{
    DOING, Direction, Pattern,
    instance_source::RUNS_MAX,
    list::{RunFilter, begins, conditions, word},
    total::{Reach, Rest, Searched, Statements, Total, Window, counted, counting},
};
use crate::{
    error::{Doing, StoreError},
    rows::{corrupt, dag_id},
};

/// What was being done, for errors.
const LISTING: &str = "this list of XComs";
/// What a search looks into first.
const NEWEST_RUNS: Searched = Searched { table: "dag_run", by: "run_after", newest: RUNS_MAX };
/// Values of one task that are told together: those of an expanded task are a list.
const RETURNED_MAX: i64 = 1_000;

/// How a list of XComs is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XComOrder {
    /// By key.
    Key,
    /// By DAG.
    DagId,
    /// By the run's id.
    RunId,
    /// By task.
    TaskId,
    /// By map index.
    MapIndex,
    /// By when it was left.
    LeftAt,
    /// By the run's earliest start.
    RunAfter,
}

impl XComOrder {
    const fn sql(self) -> &'static str {
        match self {
            Self::Key => "x.key",
            Self::DagId => "r.dag_id",
            Self::RunId => "r.run_id",
            Self::TaskId => "(SELECT t.task_id FROM dag_task t WHERE t.dag_id = r.dag_id AND t.task_idx = x.task_idx)",
            Self::MapIndex => "x.map_index",
            Self::LeftAt => {
                "coalesce((SELECT coalesce(ti.ended_at, ti.started_at) FROM task_instance ti WHERE ti.run_id = r.id \
                 AND ti.task_idx = x.task_idx AND ti.map_index = x.map_index), r.queued_at)"
            }
            Self::RunAfter => "r.run_after",
        }
    }
}

/// Which XComs, newest runs first, in a run by task, map index and key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct XComFilter {
    /// Of these runs; its order, limit and offset mean nothing here.
    pub runs: RunFilter,
    /// Of one run.
    pub run: Option<RunKey>,
    /// Left by tasks of this id.
    pub task_id: Option<TaskId>,
    /// Left by tasks whose id matches.
    pub task_pattern: Pattern,
    /// Left by tasks whose id begins so.
    pub task_prefix: Option<String>,
    /// Under this key.
    pub key: Option<String>,
    /// Whose key matches.
    pub key_pattern: Pattern,
    /// Whose key begins so.
    pub key_prefix: Option<String>,
    /// With one of these map indexes; any when empty.
    pub map_indexes: Vec<i32>,
    /// The order; newest runs first, in a run by task, map index and key when empty.
    pub order: Vec<(XComOrder, Direction)>,
    /// Which part.
    pub window: Window,
}

/// An XCom of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XComEntry {
    /// The DAG.
    pub dag_id: model::DagId,
    /// The run.
    pub run_id: RunId,
    /// The date that the run stands for.
    pub logical_date: Option<Timestamp>,
    /// The run's earliest start.
    pub run_after: Timestamp,
    /// The task that left it.
    pub task_id: TaskId,
    /// Its instance.
    pub map: MapIndex,
    /// Its key.
    pub key: String,
    /// When it was left: at the end of the attempt, as far as that is known.
    pub left_at: Timestamp,
}

/// A part of a list of XComs, and how many there are in all.
///
/// # Errors
/// [`StoreError::TooHeavy`] when no index helps to find them; [`StoreError::Refused`] for an offset that is too far away;
/// other [`StoreError`]s when PostgreSQL does not answer or a row makes no sense.
pub async fn xcom_entries(pool: &PgPool, filter: &XComFilter) -> Result<(Vec<XComEntry>, Total), StoreError> {
    let statements = |reach| {
        let mut count = counting();
        source(&mut count, filter, reach);
        // Without an order the list has the newest runs first.
        let rest = if filter.order.is_empty() { Rest::After } else { Rest::Anywhere };
        let looked_at =
            filter.is_search().then(|| NEWEST_RUNS.looked_at(rest, |query| conditions(query, &filter.runs)));
        Statements { page: page(filter, reach), matching: counted(count), looked_at }
    };
    filter.window.read::<EntryRecord, _>(pool, statements, LISTING).await
}

/// The statement of a page, for its plan to be looked at.
#[must_use]
pub fn page_of_xcoms(filter: &XComFilter) -> QueryBuilder<'_, Postgres> {
    page(filter, Reach::Newest)
}

fn page(filter: &XComFilter, reach: Reach) -> QueryBuilder<'_, Postgres> {
    let mut page = QueryBuilder::new(
        "WITH page AS (SELECT r.id, r.dag_id, r.run_id, r.logical_date, r.run_after, r.queued_at, x.task_idx, x.map_index, \
         x.key ",
    );
    source(&mut page, filter, reach);
    page.push(" ORDER BY ");
    for (key, direction) in &filter.order {
        page.push(key.sql()).push(word(*direction)).push(", ");
    }
    page.push("r.run_after DESC, r.id DESC, x.task_idx, x.map_index, x.key LIMIT ");
    page.push_bind(filter.window.limit).push(" OFFSET ").push_bind(filter.window.offset);
    page.push(
        "), numbered AS (SELECT row_number() OVER () AS place, page.* FROM page) \
         SELECT p.dag_id, p.run_id, p.logical_date, p.run_after, t.task_id, p.map_index, p.key, \
         coalesce(ti.ended_at, ti.started_at, p.queued_at) AS left_at \
         FROM numbered p JOIN dag_task t ON t.dag_id = p.dag_id AND t.task_idx = p.task_idx \
         LEFT JOIN task_instance ti ON ti.run_id = p.id AND ti.task_idx = p.task_idx AND ti.map_index = p.map_index \
         ORDER BY p.place",
    );
    page
}

impl XComFilter {
    /// Whether few runs may have what is asked for, so that the newest are looked into first.
    fn is_search(&self) -> bool {
        let is_limited = self.task_id.is_some()
            || self.key.is_some()
            || !self.key_pattern.0.is_empty()
            || self.key_prefix.is_some()
            || !self.task_pattern.0.is_empty()
            || self.task_prefix.is_some()
            || !self.map_indexes.is_empty();
        is_limited && self.run.is_none()
    }
}

fn source(query: &mut QueryBuilder<'_, Postgres>, filter: &XComFilter, reach: Reach) {
    query.push("FROM (SELECT * FROM dag_run WHERE true");
    conditions(query, &filter.runs);
    if let Some(run) = filter.run {
        query.push(" AND id = ").push_bind(run.get());
    }
    if reach == Reach::Newest && filter.is_search() {
        query.push(" ORDER BY run_after DESC, id DESC LIMIT ").push_bind(RUNS_MAX);
    }
    query.push(
        ") AS r CROSS JOIN LATERAL (SELECT xcom.task_idx, xcom.map_index, xcom.key FROM xcom WHERE xcom.run_id = r.id",
    );
    if let Some(task) = &filter.task_id {
        query
            .push(" AND xcom.task_idx = (SELECT t.task_idx FROM dag_task t WHERE t.dag_id = r.dag_id AND t.task_id = ");
        query.push_bind(task.to_string()).push(")");
    }
    if !filter.task_pattern.0.is_empty() || filter.task_prefix.is_some() {
        query.push(" AND xcom.task_idx IN (SELECT t.task_idx FROM dag_task t WHERE t.dag_id = r.dag_id");
        filter.task_pattern.limit(query, "t.task_id");
        begins(query, "t.task_id", filter.task_prefix.as_deref());
        query.push(")");
    }
    if let Some(key) = &filter.key {
        query.push(" AND xcom.key = ").push_bind(key.clone());
    }
    filter.key_pattern.limit(query, "xcom.key");
    begins(query, "xcom.key", filter.key_prefix.as_deref());
    if !filter.map_indexes.is_empty() {
        query.push(" AND xcom.map_index = ANY(").push_bind(filter.map_indexes.clone()).push(")");
    }
    query.push(") AS x");
}

#[derive(FromRow)]
struct EntryRecord {
    dag_id: String,
    run_id: String,
    logical_date: Option<Timestamp>,
    run_after: Timestamp,
    task_id: String,
    map_index: i32,
    key: String,
    left_at: Timestamp,
}

impl TryFrom<EntryRecord> for XComEntry {
    type Error = StoreError;

    fn try_from(row: EntryRecord) -> Result<Self, StoreError> {
        Ok(Self {
            dag_id: dag_id(&row.dag_id)?,
            run_id: RunId::new(row.run_id).map_err(|error| corrupt(&error))?,
            logical_date: row.logical_date,
            run_after: row.run_after,
            task_id: TaskId::new(row.task_id).map_err(|error| corrupt(&error))?,
            map: MapIndex(row.map_index),
            key: row.key,
            left_at: row.left_at,
        })
    }
}

impl XComEntry {
    /// One that an instance of a run has just left.
    #[must_use]
    pub fn of_run(run: &RunRow, task_id: TaskId, map: MapIndex, key: String) -> Self {
        Self {
            dag_id: run.dag_id.clone(),
            run_id: run.run_id.clone(),
            logical_date: run.logical_date,
            run_after: run.run_after,
            task_id,
            map,
            key,
            left_at: run.queued_at,
        }
    }
}

/// The value that an instance has left under a key.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer.
pub async fn xcom_value(db: impl PgExecutor<'_>, of: TiKey, key: &str) -> Result<Option<Value>, StoreError> {
    let value = sqlx::query_scalar!(
        r#"SELECT value AS "value: Json<Value>" FROM xcom
           WHERE run_id = $1 AND task_idx = $2 AND map_index = $3 AND key = $4"#,
        of.run.get(),
        of.task.get(),
        of.map.get(),
        key
    );
    Ok(value.fetch_optional(db).await.doing(DOING)?.map(|value| value.0))
}

/// What the instances of a task returned in a run, by map index.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer.
pub async fn returned(
    db: impl PgExecutor<'_>,
    run: RunKey,
    task: TaskIdx,
) -> Result<Vec<(MapIndex, Value)>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT map_index, value AS "value: Json<Value>" FROM xcom
           WHERE run_id = $1 AND task_idx = $2 AND key = $3 ORDER BY map_index LIMIT $4"#,
        run.get(),
        task.get(),
        XComValue::RETURN_VALUE,
        RETURNED_MAX
    );
    let rows = rows.fetch_all(db).await.doing(DOING)?;
    Ok(rows.into_iter().map(|row| (MapIndex(row.map_index), row.value.0)).collect())
}
