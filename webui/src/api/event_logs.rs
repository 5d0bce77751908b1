//! The audit log, as Airflow's event log.

use axum::{Json, extract::State};
use model::door::Instant;
use serde::Serialize;
use serde_json::Value;
use store::{
    audit::{self, AuditEvent, AuditFilter, AuditOrder},
    read::Pattern,
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    declare::{At, Errors, OrderBy, OrderKey, Prefix, answer, path_params, query_params},
    query::Page,
};
use crate::{
    app::App,
    auth::rights::Right,
    error::{ApiError, ApiResult},
    reads::names::Names,
};

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one))
}

path_params! {
    /// A line of the log.
    pub struct EventLogPath {
        event_log_id: i64,
    }
}

query_params! {
    /// Which lines a list has. Lines are of DAGs and runs: what only tasks have, none of them has.
    pub struct EventLogFilter {
        page: Page,
        order_by: OrderBy<AuditOrder>,
        dag_id: Option<String>,
        task_id: Option<String>,
        run_id: Option<String>,
        map_index: Option<i64>,
        try_number: Option<i64>,
        /// Who did it.
        owner: Option<String>,
        /// What was done: an operation of this document, or a command.
        event: Option<String>,
        /// Without these.
        excluded_events: Vec<String>,
        /// Only these.
        included_events: Vec<String>,
        /// Earlier than this.
        before: Option<Instant>,
        /// Later than this.
        after: Option<Instant>,
        dag_id_pattern: Pattern,
        dag_id_prefix_pattern: Prefix,
        task_id_pattern: Pattern,
        task_id_prefix_pattern: Prefix,
        run_id_pattern: Pattern,
        run_id_prefix_pattern: Prefix,
        owner_pattern: Pattern,
        owner_prefix_pattern: Prefix,
        event_pattern: Pattern,
        event_prefix_pattern: Prefix,
    }
}

impl OrderKey for AuditOrder {
    // No line has a task or a logical date, so these leave the order of the numbers.
    const KEYS: &'static [(&'static str, Self)] = &[
        ("id", Self::Id),
        ("dttm", Self::When),
        ("dag_id", Self::DagId),
        ("task_id", Self::Id),
        ("run_id", Self::RunId),
        ("event", Self::Action),
        ("logical_date", Self::Id),
        ("owner", Self::Who),
        ("extra", Self::Details),
        ("when", Self::When),
        ("event_log_id", Self::Id),
    ];
    const DEFAULT: &'static str = "id";
}

answer! {
    /// A line of the log.
    pub struct EventLogResponse {
        event_log_id: i64,
        when: At,
        dag_id: Option<String>,
        task_id: Option<String>,
        run_id: Option<String>,
        map_index: Option<i32>,
        try_number: Option<i32>,
        event: String,
        logical_date: Option<At>,
        owner: Option<String>,
        /// JSON as a text: what was asked for, from where, by which door, and how it ended.
        extra: Option<String>,
        dag_display_name: Option<String>,
        task_display_name: Option<String>,
    }
}

/// A part of the log.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct EventLogCollectionResponse {
    #[schema(required)]
    event_logs: Vec<EventLogResponse>,
    #[schema(required)]
    total_entries: i64,
    /// Where the count was ended, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    total_entries_limit: Option<i64>,
}

impl EventLogFilter {
    /// Whether it asks for what no line has.
    fn is_of_tasks(&self) -> bool {
        self.task_id.is_some()
            || self.map_index.is_some()
            || self.try_number.is_some()
            || self.task_id_prefix_pattern.0.is_some()
            || !self.task_id_pattern.0.is_empty()
    }

    fn audit(self) -> AuditFilter {
        // Both limit it: one event that is not among the included ones leaves nothing, which an empty text is.
        let actions = match (self.event, self.included_events) {
            (None, several) => several,
            (Some(one), several) if several.is_empty() || several.contains(&one) => vec![one],
            (Some(_), _) => vec![String::new()],
        };
        AuditFilter {
            dag_id: self.dag_id,
            run_id: self.run_id,
            who: self.owner,
            actions,
            actions_left_out: self.excluded_events,
            dag_id_pattern: self.dag_id_pattern,
            run_id_pattern: self.run_id_pattern,
            who_pattern: self.owner_pattern,
            action_pattern: self.event_pattern,
            dag_id_prefix: self.dag_id_prefix_pattern.0,
            run_id_prefix: self.run_id_prefix_pattern.0,
            who_prefix: self.owner_prefix_pattern.0,
            action_prefix: self.event_prefix_pattern.0,
            after: self.after.map(Instant::get),
            before: self.before.map(Instant::get),
            order: self.order_by.0,
            limit: self.page.limit,
            offset: self.page.offset,
            ..AuditFilter::default()
        }
    }
}

/// Get Event Logs
#[utoipa::path(
    get, path = "/api/v2/eventLogs", operation_id = "get_event_logs", tag = "Event Log",
    params(EventLogFilter),
    responses((status = 200, description = "Successful Response", body = EventLogCollectionResponse), Errors),
    security(("token" = [Right::ReadAdmin]))
)]
pub async fn list(State(app): State<App>, filter: EventLogFilter) -> ApiResult<Json<EventLogCollectionResponse>> {
    if filter.is_of_tasks() {
        return Ok(Json(EventLogCollectionResponse {
            event_logs: Vec::new(),
            total_entries: 0,
            total_entries_limit: None,
        }));
    }
    let (events, total) = audit::events(&app.pool, &filter.audit()).await?;
    Ok(Json(EventLogCollectionResponse {
        event_logs: shaped(&app, events).await?,
        total_entries: total.number(),
        total_entries_limit: total.limit(),
    }))
}

/// Get Event Log
#[utoipa::path(
    get, path = "/api/v2/eventLogs/{event_log_id}", operation_id = "get_event_log", tag = "Event Log",
    params(EventLogPath),
    responses((status = 200, description = "Successful Response", body = EventLogResponse), Errors<404>),
    security(("token" = [Right::ReadAdmin]))
)]
pub async fn one(
    State(app): State<App>,
    EventLogPath { event_log_id: id }: EventLogPath,
) -> ApiResult<Json<EventLogResponse>> {
    let filter = AuditFilter { id: Some(id), limit: 1, ..AuditFilter::default() };
    let (events, _) = audit::events(&app.pool, &filter).await?;
    let missing = || ApiError::NotFound(format!("The Event Log with id: `{id}` not found"));
    shaped(&app, events).await?.pop().map(Json).ok_or_else(missing)
}

/// What was asked for, and beside it from where, by which door and how it ended, which Airflow has no members for.
fn extra_of(event: &AuditEvent) -> Value {
    let mut extra = match &event.details {
        Value::Object(details) => details.clone(),
        Value::Null => serde_json::Map::new(),
        other => [("details".to_owned(), other.clone())].into_iter().collect(),
    };
    let api_token = event.api_token.map(|token| token.to_string());
    let beside =
        [("address", &event.address), ("door", &event.door), ("api_token", &api_token), ("outcome", &event.outcome)];
    for (name, value) in beside {
        if let Some(value) = value {
            extra.insert(name.to_owned(), Value::from(value.as_str()));
        }
    }
    Value::Object(extra)
}

async fn shaped(app: &App, events: Vec<AuditEvent>) -> ApiResult<Vec<EventLogResponse>> {
    let names = Names::of(app, events.iter().filter_map(|event| event.dag_id.as_deref())).await?;
    Ok(events.into_iter().map(|event| shape(event, &names)).collect())
}

fn shape(event: AuditEvent, names: &Names) -> EventLogResponse {
    let extra = extra_of(&event).to_string();
    EventLogResponse {
        event_log_id: event.id,
        when: event.at.into(),
        dag_display_name: event.dag_id.as_deref().map(|dag_id| names.name(dag_id)),
        dag_id: event.dag_id,
        task_id: None,
        task_display_name: None,
        run_id: event.run_id,
        map_index: None,
        try_number: None,
        event: event.action,
        logical_date: None,
        owner: Some(event.who),
        extra: Some(extra),
    }
}
