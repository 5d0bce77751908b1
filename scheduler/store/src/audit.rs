//! The audit log: who did what, when, from where and by which door. A line is written in the transaction of what it tells of;
//! that of a command when it is asked, and its outcome with the answer.
//!
//! Never in it: a value of a variable, a password, or anything under a secret's name.

use std::net::IpAddr;

use model::{Timestamp, masking};
use serde_json::Value;
use sqlx::{FromRow, PgExecutor, PgPool, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::{
    error::{Doing, StoreError},
    read::{
        Direction, Pattern, Total, Window,
        total::{Reach, Searched, Statements, counted, counting},
        word, word_missing_last,
    },
};

/// The newest lines that are looked at when no index helps to find or order those that are meant: some 20 ms.
const SEARCHED_MAX: i64 = 10_000;
const DOING: &str = "reading the audit log";
/// A name that somebody gave at a login may be any text; longer ones are cut.
const NAME_CHARS_MAX: usize = 128;

/// Who does something, from where and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actor<'a> {
    /// The user's name.
    pub name: &'a str,
    /// By which door; none for the parts of Windlass itself.
    pub door: Option<Door>,
    /// The address of a client.
    pub address: Option<IpAddr>,
    /// The API token that it acts by; none for a session.
    pub api_token: Option<Uuid>,
}

/// By which door something came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The pages.
    Ui,
    /// REST.
    Api,
    /// The command line.
    Cli,
}

impl<'a> Actor<'a> {
    /// Somebody at the command line.
    #[must_use]
    pub const fn at_the_command_line(name: &'a str) -> Self {
        Self { name, door: Some(Door::Cli), address: None, api_token: None }
    }

    pub(crate) fn address(&self) -> Option<String> {
        self.address.map(|address| address.to_string())
    }

    pub(crate) fn door(&self) -> Option<&'static str> {
        self.door.map(|door| match door {
            Door::Ui => "ui",
            Door::Api => "api",
            Door::Cli => "cli",
        })
    }
}

impl<'a> From<&'a str> for Actor<'a> {
    /// A part of Windlass itself, or a test.
    fn from(name: &'a str) -> Self {
        Self { name, door: None, address: None, api_token: None }
    }
}

impl<'a> From<&'a String> for Actor<'a> {
    fn from(name: &'a String) -> Self {
        Self::from(name.as_str())
    }
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, FromRow)]
pub struct AuditEvent {
    /// Its number.
    pub id: i64,
    /// When it was done.
    pub at: Timestamp,
    /// Who did it.
    pub who: String,
    /// What was done: Airflow's name of the operation, or the command's.
    pub action: String,
    /// The DAG that it was done to.
    pub dag_id: Option<String>,
    /// The run that it was done to.
    pub run_id: Option<String>,
    /// What was asked for, without secrets.
    pub details: Value,
    /// From which address.
    pub address: Option<String>,
    /// By which door: ui, api or cli.
    pub door: Option<String>,
    /// The API token that it was done by.
    pub api_token: Option<Uuid>,
    /// What came of it: asked, as long as nobody has answered, then done, or not_found, conflict, invalid, withdrawn.
    pub outcome: Option<String>,
}

/// Which lines a list is limited to.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// By number.
    pub id: Option<i64>,
    /// Of this DAG.
    pub dag_id: Option<String>,
    /// Of this run.
    pub run_id: Option<String>,
    /// By this user.
    pub who: Option<String>,
    /// Of these actions; all when empty.
    pub actions: Vec<String>,
    /// Not of these.
    pub actions_left_out: Vec<String>,
    /// Later than this.
    pub after: Option<Timestamp>,
    /// Earlier than this.
    pub before: Option<Timestamp>,
    /// By parts of the DAG's id.
    pub dag_id_pattern: Pattern,
    /// By parts of the run's id.
    pub run_id_pattern: Pattern,
    /// By parts of the user's name.
    pub who_pattern: Pattern,
    /// By parts of the action.
    pub action_pattern: Pattern,
    /// By the beginning of the DAG's id.
    pub dag_id_prefix: Option<String>,
    /// By the beginning of the run's id.
    pub run_id_prefix: Option<String>,
    /// By the beginning of the user's name.
    pub who_prefix: Option<String>,
    /// By the beginning of the action.
    pub action_prefix: Option<String>,
    /// A text somewhere in the line.
    pub anywhere: Option<String>,
    /// The order; by number when empty.
    pub order: Vec<(AuditOrder, Direction)>,
    /// Looks at the newest so many lines only. Without it, all are looked at: the newest 10,000 first, when no index knows what
    /// is asked for.
    pub newest: Option<i64>,
    /// At most so many.
    pub limit: i64,
    /// After so many.
    pub offset: i64,
}

/// How a list is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditOrder {
    /// By number.
    Id,
    /// By time.
    When,
    /// By DAG.
    DagId,
    /// By run.
    RunId,
    /// By action.
    Action,
    /// By user.
    Who,
    /// By what was asked for.
    Details,
}

impl AuditOrder {
    const fn sql(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::When => "at",
            Self::DagId => "dag_id",
            Self::RunId => "run_id",
            Self::Action => "action",
            Self::Who => "who",
            Self::Details => "details::text",
        }
    }

    const fn word(self, direction: Direction) -> &'static str {
        match self {
            Self::DagId | Self::RunId => word_missing_last(direction),
            Self::Id | Self::When | Self::Action | Self::Who | Self::Details => word(direction),
        }
    }
}

/// Adds a line. What has a secret's name is masked before it is stored.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn record<'a>(
    db: impl PgExecutor<'_>,
    who: impl Into<Actor<'a>>,
    action: &str,
    details: &Value,
) -> Result<(), StoreError> {
    let who: Actor<'a> = who.into();
    // As text: it keeps the order of keys, and takes any text.
    let details = masking::masked(details).to_string();
    let name: String = who.name.chars().take(NAME_CHARS_MAX).collect();
    sqlx::query!(
        "INSERT INTO audit_log (who, action, details, address, door, api_token, outcome)
         VALUES ($1, $2, $3::text::json, $4, $5, $6, 'done')",
        name,
        action,
        details,
        who.address(),
        who.door(),
        who.api_token
    )
    .execute(db)
    .await
    .doing("writing the audit log")?;
    Ok(())
}

/// Notes a login that failed: the name is the one that was given, whoever gave it.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn login_failed(pool: &PgPool, who: Actor<'_>) -> Result<(), StoreError> {
    record(pool, who, "login_failed", &Value::Object(serde_json::Map::new())).await
}

/// A page of lines and how many there are in all.
///
/// The statement is put together as the question demands: names of columns come from the enum above, values are bound.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn events(pool: &PgPool, filter: &AuditFilter) -> Result<(Vec<AuditEvent>, Total), StoreError> {
    let window = Window { limit: filter.limit, offset: filter.offset };
    let statements = |reach| Statements {
        page: page(filter, reach),
        matching: matching_events(filter, reach),
        looked_at: filter.searched(reach).map(|searched| {
            let rest = searched.rest(filter.newest, &filter.order, AuditOrder::sql);
            searched.looked_at(rest, |query| found_by_index(query, filter))
        }),
    };
    let (events, total) = window.rows::<AuditEvent>(pool, statements, DOING).await?;
    // Lines of older versions were stored as they came.
    let shown = |event: AuditEvent| AuditEvent { details: masking::masked(&event.details), ..event };
    Ok((events.into_iter().map(shown).collect(), total))
}

/// The statement of a page, for its plan to be looked at.
#[must_use]
pub fn page_of_events(filter: &AuditFilter) -> QueryBuilder<'_, Postgres> {
    page(filter, Reach::Newest)
}

fn page(filter: &AuditFilter, reach: Reach) -> QueryBuilder<'_, Postgres> {
    let mut page =
        QueryBuilder::new("SELECT id, at, who, action, dag_id, run_id, details, address, door, api_token, outcome ");
    source(&mut page, filter, reach);
    conditions(&mut page, filter);
    order(&mut page, &filter.order);
    page.push(" LIMIT ").push_bind(filter.limit).push(" OFFSET ").push_bind(filter.offset);
    page
}

impl AuditFilter {
    /// What is looked at; all lines when an index leads to those that are meant, in the order that is asked for.
    fn searched(&self, reach: Reach) -> Option<Searched> {
        let patterns = [&self.dag_id_pattern, &self.run_id_pattern, &self.who_pattern, &self.action_pattern];
        let first = self.order.first().map_or(AuditOrder::Id, |(key, _)| *key);
        let is_range_beside_order = (self.after.is_some() || self.before.is_some()) && first != AuditOrder::When;
        let prefixes = [&self.dag_id_prefix, &self.run_id_prefix, &self.who_prefix, &self.action_prefix];
        let is_search = patterns.into_iter().any(|pattern| !pattern.0.is_empty())
            || prefixes.into_iter().any(Option::is_some)
            || self.anywhere.is_some()
            || matches!(first, AuditOrder::RunId | AuditOrder::Details)
            || is_range_beside_order;
        let newest = self.newest.or((is_search && reach == Reach::Newest).then_some(SEARCHED_MAX))?;
        Some(Searched { table: "audit_log", by: if is_range_beside_order { "at" } else { "id" }, newest })
    }
}

/// All lines, or the newest of them.
fn source(query: &mut QueryBuilder<'_, Postgres>, filter: &AuditFilter, reach: Reach) {
    match filter.searched(reach) {
        None => drop(query.push("FROM audit_log WHERE true")),
        Some(searched) => searched.push_source(query, |query| found_by_index(query, filter)),
    }
}

fn matching_events(filter: &AuditFilter, reach: Reach) -> QueryBuilder<'_, Postgres> {
    let mut count = counting();
    source(&mut count, filter, reach);
    conditions(&mut count, filter);
    counted(count)
}

/// What limits a search before its newest lines are taken, so that older ones can be looked at by asking for them.
fn found_by_index(query: &mut QueryBuilder<'_, Postgres>, filter: &AuditFilter) {
    if let Some(id) = filter.id {
        query.push(" AND id = ").push_bind(id);
    }
    for (column, value) in [("dag_id", &filter.dag_id), ("run_id", &filter.run_id), ("who", &filter.who)] {
        if let Some(value) = value {
            query.push(format_args!(" AND {column} = ")).push_bind(value.clone());
        }
    }
    for (sign, actions) in [("= ANY(", &filter.actions), ("<> ALL(", &filter.actions_left_out)] {
        if !actions.is_empty() {
            match actions.as_slice() {
                // One is compared, so that the order of an index by action is the order of the answer.
                [one] if sign == "= ANY(" => drop(query.push(" AND action = ").push_bind(one.clone())),
                several => {
                    query.push(format_args!(" AND action {sign}")).push_bind(several.to_vec()).push(")");
                }
            }
        }
    }
    for (sign, bound) in [(">", filter.after), ("<", filter.before)] {
        if let Some(instant) = bound {
            query.push(format_args!(" AND at {sign} ")).push_bind(instant);
        }
    }
}

fn conditions(query: &mut QueryBuilder<'_, Postgres>, filter: &AuditFilter) {
    found_by_index(query, filter);
    let patterns = [
        ("dag_id", &filter.dag_id_pattern),
        ("run_id", &filter.run_id_pattern),
        ("who", &filter.who_pattern),
        ("action", &filter.action_pattern),
    ];
    for (column, pattern) in patterns {
        pattern.limit(query, column);
    }
    let prefixes = [
        ("dag_id", &filter.dag_id_prefix),
        ("run_id", &filter.run_id_prefix),
        ("who", &filter.who_prefix),
        ("action", &filter.action_prefix),
    ];
    for (column, prefix) in prefixes {
        if let Some(prefix) = prefix {
            query.push(format_args!(" AND starts_with({column}, ")).push_bind(prefix.clone()).push(")");
        }
    }
    if let Some(text) = &filter.anywhere {
        let line = "concat_ws(' ', who, action, dag_id, run_id, address, door, api_token, outcome, details::text)";
        query.push(format_args!(" AND strpos(lower({line}), lower(")).push_bind(text.clone()).push(")) > 0");
    }
}

/// The number is the tie breaker, in the direction of the first key.
fn order(query: &mut QueryBuilder<'_, Postgres>, keys: &[(AuditOrder, Direction)]) {
    query.push(" ORDER BY ");
    for (key, direction) in keys {
        query.push(key.sql()).push(key.word(*direction)).push(", ");
    }
    query.push("id").push(word(keys.first().map_or(Direction::Ascending, |(_, direction)| *direction)));
}
