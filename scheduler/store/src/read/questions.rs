//! Questions that tasks have put to people: a list over many runs, and those of one instance.
//!
//! A list has the question of each instance's newest try. There are few: a person answers each.

use model::{
    DagId, MapIndex, RunId, RunKey, TaskId, TaskIdx, TaskState, TiKey, Timestamp, TryNumber, operator::HitlUser,
};
use serde_json::{Map, Value};
use sqlx::{FromRow, PgPool, Postgres, QueryBuilder, types::Json};

use super::{
    Direction, Pattern, Range, Visible,
    list::{begins, within, word_missing_last},
    total::{Statements, Total, Window, counted, counting},
};
use crate::{
    error::{Doing, StoreError},
    rows::{corrupt, dag_id},
};

/// What was being done, for errors.
const LISTING: &str = "this list of questions";

/// How a list of questions is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuestionOrder {
    /// By instance.
    Instance,
    /// By subject.
    Subject,
    /// By when they were answered.
    RespondedAt,
    /// By when they were put.
    CreatedAt,
    /// By who has answered.
    RespondedById,
    /// By the name of who has answered.
    RespondedByName,
    /// By DAG.
    DagId,
    /// By the run's id.
    RunId,
    /// By task.
    TaskId,
    /// By the run's earliest start.
    RunAfter,
    /// By what tells an instance of an expanded task from the others.
    MapIndex,
    /// By the state of the instance.
    State,
}

impl QuestionOrder {
    const fn sql(self) -> &'static str {
        match self {
            Self::Instance => "h.run_id, h.task_idx, h.map_index",
            Self::Subject => "h.subject",
            Self::RespondedAt => "h.responded_at",
            Self::CreatedAt => "h.created_at",
            Self::RespondedById => "h.responded_by_id",
            Self::RespondedByName => "h.responded_by_name",
            Self::DagId => "r.dag_id",
            Self::RunId => "r.run_id",
            Self::TaskId => "t.task_id",
            Self::RunAfter => "r.run_after",
            Self::MapIndex => "h.map_index",
            Self::State => "ti.state",
        }
    }
}

/// Which questions, the oldest first unless an order says otherwise.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QuestionFilter {
    /// Of DAGs that whoever asks may see.
    pub visible: Visible,
    /// Of one run.
    pub run: Option<RunKey>,
    /// Of one DAG.
    pub dag_id: Option<DagId>,
    /// Of DAGs whose id matches.
    pub dag_pattern: Pattern,
    /// Of DAGs whose id begins so.
    pub dag_prefix: Option<String>,
    /// Of tasks of this id.
    pub task_id: Option<String>,
    /// Of tasks whose id matches.
    pub task_pattern: Pattern,
    /// Of tasks whose id begins so.
    pub task_prefix: Option<String>,
    /// Of instances with this index.
    pub map_index: Option<i64>,
    /// Of instances in one of these states; in any when empty.
    pub states: Vec<TaskState>,
    /// Whether they are answered.
    pub is_answered: Option<bool>,
    /// Answered by one of these; by anybody when empty.
    pub responded_by_ids: Vec<String>,
    /// Answered by somebody of one of these names; by anybody when empty.
    pub responded_by_names: Vec<String>,
    /// Whose subject has this in it.
    pub subject: Option<String>,
    /// Whose body has this in it.
    pub body: Option<String>,
    /// By when they were put.
    pub created_at: Range,
    /// The order; the oldest first when empty.
    pub order: Vec<(QuestionOrder, Direction)>,
    /// Which part.
    pub window: Window,
}

/// A question, with its answer when it has one.
#[derive(Debug, Clone, PartialEq)]
pub struct QuestionView {
    /// The instance that asks.
    pub key: TiKey,
    /// Its DAG.
    pub dag_id: DagId,
    /// Its run.
    pub run_id: RunId,
    /// Its task.
    pub task_id: TaskId,
    /// The try that asks.
    pub try_number: TryNumber,
    /// When it was put.
    pub created_at: Timestamp,
    /// The question.
    pub subject: String,
    /// What there is to know about it, in Markdown.
    pub body: Option<String>,
    /// What can be answered.
    pub options: Vec<String>,
    /// What counts when nobody answers in time.
    pub defaults: Vec<String>,
    /// Whether several options can be chosen.
    pub multiple: bool,
    /// What is asked for beside the options, in Airflow's form.
    pub params: Map<String, Value>,
    /// Who may answer; everybody when empty.
    pub assigned_users: Vec<HitlUser>,
    /// The answer.
    pub response: Option<ResponseView>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponseView {
    /// When.
    pub at: Timestamp,
    /// Who has answered; nobody when the time was over.
    pub user: Option<HitlUser>,
    /// The options that were chosen.
    pub chosen_options: Vec<String>,
    /// The values of the params.
    pub params_input: Map<String, Value>,
}

/// A part of a list of questions, and how many there are in all.
///
/// # Errors
/// [`StoreError::TooHeavy`] when no index helps to find them; [`StoreError::Refused`] for an offset that is too far away;
/// other [`StoreError`]s when PostgreSQL does not answer or a row makes no sense.
pub async fn questions(pool: &PgPool, filter: &QuestionFilter) -> Result<(Vec<QuestionView>, Total), StoreError> {
    let statements = |_| {
        let mut count = counting();
        source(&mut count, filter);
        Statements { page: page(filter), matching: counted(count), looked_at: None }
    };
    filter.window.read::<QuestionRecord, _>(pool, statements, LISTING).await
}

/// The questions of an instance, by try.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer or a row makes no sense.
pub async fn questions_of(pool: &PgPool, key: TiKey) -> Result<Vec<QuestionView>, StoreError> {
    let mut query = QueryBuilder::new(COLUMNS);
    query.push("FROM hitl_detail h JOIN dag_run r ON r.id = h.run_id ");
    query.push("JOIN dag_task t ON t.dag_id = r.dag_id AND t.task_idx = h.task_idx WHERE h.run_id = ");
    query.push_bind(key.run.get()).push(" AND h.task_idx = ").push_bind(key.task.get());
    query.push(" AND h.map_index = ").push_bind(key.map.get()).push(" ORDER BY h.try_number DESC LIMIT ");
    query.push_bind(TRIES_MAX);
    let rows: Vec<QuestionRecord> = query.build_query_as().fetch_all(pool).await.doing(LISTING)?;
    rows.into_iter().map(QuestionView::try_from).collect()
}

/// Tries of one instance whose questions are looked at: the newest.
const TRIES_MAX: i64 = 1_000;

const COLUMNS: &str = "SELECT h.run_id AS run_key, h.task_idx, h.map_index, h.try_number, r.dag_id, r.run_id, t.task_id, \
    h.created_at, h.subject, h.body, h.options, h.defaults, h.multiple, h.params, h.assigned_users, h.responded_at, \
    h.responded_by_id, h.responded_by_name, h.chosen_options, h.params_input ";

fn page(filter: &QuestionFilter) -> QueryBuilder<'_, Postgres> {
    let mut page = QueryBuilder::new(COLUMNS);
    source(&mut page, filter);
    page.push(" ORDER BY ");
    for (key, direction) in &filter.order {
        for column in key.sql().split(", ") {
            page.push(column).push(word_missing_last(*direction)).push(", ");
        }
    }
    page.push("h.created_at, h.run_id, h.task_idx, h.map_index LIMIT ");
    page.push_bind(filter.window.limit).push(" OFFSET ").push_bind(filter.window.offset);
    page
}

fn source(query: &mut QueryBuilder<'_, Postgres>, filter: &QuestionFilter) {
    query.push(
        "FROM hitl_detail h JOIN task_instance ti ON ti.run_id = h.run_id AND ti.task_idx = h.task_idx \
         AND ti.map_index = h.map_index AND ti.try_number = h.try_number \
         JOIN dag_run r ON r.id = h.run_id JOIN dag_task t ON t.dag_id = r.dag_id AND t.task_idx = h.task_idx WHERE true",
    );
    filter.visible.limit(query, "r.dag_id");
    if let Some(run) = filter.run {
        query.push(" AND h.run_id = ").push_bind(run.get());
    }
    if let Some(dag) = &filter.dag_id {
        query.push(" AND r.dag_id = ").push_bind(dag.to_string());
    }
    filter.dag_pattern.limit(query, "r.dag_id");
    begins(query, "r.dag_id", filter.dag_prefix.as_deref());
    if let Some(task) = &filter.task_id {
        query.push(" AND t.task_id = ").push_bind(task.clone());
    }
    filter.task_pattern.limit(query, "t.task_id");
    begins(query, "t.task_id", filter.task_prefix.as_deref());
    if let Some(map) = filter.map_index {
        query.push(" AND h.map_index = ").push_bind(map);
    }
    if !filter.states.is_empty() {
        let codes: Vec<i16> = filter.states.iter().map(|state| state.code()).collect();
        query.push(" AND ti.state = ANY(").push_bind(codes).push(")");
    }
    match filter.is_answered {
        Some(true) => drop(query.push(" AND h.responded_at IS NOT NULL")),
        Some(false) => drop(query.push(" AND h.responded_at IS NULL")),
        None => {}
    }
    for (column, of) in
        [("h.responded_by_id", &filter.responded_by_ids), ("h.responded_by_name", &filter.responded_by_names)]
    {
        if !of.is_empty() {
            query.push(format_args!(" AND {column} = ANY(")).push_bind(of.clone()).push(")");
        }
    }
    for (column, has) in [("h.subject", &filter.subject), ("h.body", &filter.body)] {
        if let Some(text) = has {
            query.push(format_args!(" AND {column} ILIKE ")).push_bind(format!("%{text}%"));
        }
    }
    within(query, "h.created_at", filter.created_at);
}

#[derive(FromRow)]
struct QuestionRecord {
    run_key: i64,
    task_idx: i32,
    map_index: i32,
    try_number: i16,
    dag_id: String,
    run_id: String,
    task_id: String,
    created_at: Timestamp,
    subject: String,
    body: Option<String>,
    options: Vec<String>,
    defaults: Vec<String>,
    multiple: bool,
    params: Json<Map<String, Value>>,
    assigned_users: Json<Vec<HitlUser>>,
    responded_at: Option<Timestamp>,
    responded_by_id: Option<String>,
    responded_by_name: Option<String>,
    chosen_options: Option<Vec<String>>,
    params_input: Option<Json<Map<String, Value>>>,
}

impl TryFrom<QuestionRecord> for QuestionView {
    type Error = StoreError;

    fn try_from(row: QuestionRecord) -> Result<Self, StoreError> {
        let user =
            row.responded_by_id.map(|id| HitlUser { name: row.responded_by_name.unwrap_or_else(|| id.clone()), id });
        let response = row.responded_at.map(|at| ResponseView {
            at,
            user,
            chosen_options: row.chosen_options.unwrap_or_default(),
            params_input: row.params_input.map(|input| input.0).unwrap_or_default(),
        });
        Ok(Self {
            key: TiKey { run: RunKey(row.run_key), task: TaskIdx(row.task_idx), map: MapIndex(row.map_index) },
            dag_id: dag_id(&row.dag_id)?,
            run_id: RunId::new(row.run_id).map_err(|error| corrupt(&error))?,
            task_id: TaskId::new(row.task_id).map_err(|error| corrupt(&error))?,
            try_number: TryNumber(row.try_number),
            created_at: row.created_at,
            subject: row.subject,
            body: row.body,
            options: row.options,
            defaults: row.defaults,
            multiple: row.multiple,
            params: row.params.0,
            assigned_users: row.assigned_users.0,
            response,
        })
    }
}
