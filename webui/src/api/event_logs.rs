//! The audit log, as Airflow's event log.

use axum::{Json, extract::State};
use model::door::Instant;
use serde_json::{Value, json};
use store::audit::{self, AuditEvent, AuditFilter, AuditOrder};

use super::{
    path::Names,
    query::{Query, counted},
    shapes::instant,
};
use crate::{
    app::App,
    error::{ApiError, ApiResult},
};

fn key(name: &str) -> Option<AuditOrder> {
    match name {
        "id" | "event_log_id" => Some(AuditOrder::Id),
        "when" | "dttm" | "logical_date" => Some(AuditOrder::When),
        "dag_id" => Some(AuditOrder::DagId),
        "run_id" => Some(AuditOrder::RunId),
        "event" | "task_id" => Some(AuditOrder::Action),
        "owner" => Some(AuditOrder::Who),
        "extra" => Some(AuditOrder::Details),
        _ => None,
    }
}

/// `GET /api/v2/eventLogs`.
pub async fn list(State(app): State<App>, mut query: Query) -> ApiResult<Json<Value>> {
    let page = query.page();
    let order = query.order(key)?;
    let text = |name: &str| query.text(name).map(str::to_owned);
    let actions = query.all("included_events").chain(query.text("event")).map(str::to_owned).collect();
    let filter = AuditFilter {
        dag_id: text("dag_id"),
        run_id: text("run_id"),
        who: text("owner"),
        actions,
        actions_left_out: query.all("excluded_events").map(str::to_owned).collect(),
        dag_id_pattern: query.pattern("dag_id_pattern"),
        run_id_pattern: query.pattern("run_id_pattern"),
        who_pattern: query.pattern("owner_pattern"),
        action_pattern: query.pattern("event_pattern"),
        after: query.instant("after").map(Instant::get),
        before: query.instant("before").map(Instant::get),
        order,
        limit: page.limit,
        offset: page.offset,
        ..AuditFilter::default()
    };
    query.finish()?;
    let (events, total) = audit::events(&app.pool, &filter).await?;
    let shaped: Vec<Value> = events.iter().map(shape).collect();
    Ok(Json(counted("event_logs", shaped, total)))
}

/// `GET /api/v2/eventLogs/{event_log_id}`.
pub async fn one(State(app): State<App>, names: Names) -> ApiResult<Json<Value>> {
    let id = names.number("event_log_id")?;
    let filter = AuditFilter { id: Some(id), limit: 1, ..AuditFilter::default() };
    let (events, _) = audit::events(&app.pool, &filter).await?;
    let missing = || ApiError::NotFound(format!("The Event Log with id: `{id}` not found"));
    events.first().map(|event| Json(shape(event))).ok_or_else(missing)
}

/// What was asked for, and beside it from where, by which door and how it ended, which Airflow has no members for.
fn extra_of(event: &AuditEvent) -> Value {
    let mut extra = match &event.details {
        Value::Object(details) => details.clone(),
        Value::Null => serde_json::Map::new(),
        other => [("details".to_owned(), other.clone())].into_iter().collect(),
    };
    for (name, value) in [("address", &event.address), ("door", &event.door), ("outcome", &event.outcome)] {
        if let Some(value) = value {
            extra.insert(name.to_owned(), Value::from(value.as_str()));
        }
    }
    Value::Object(extra)
}

fn shape(event: &AuditEvent) -> Value {
    let extra = extra_of(event).to_string();
    json!({
        "event_log_id": event.id, "when": instant(event.at),
        "dag_id": event.dag_id, "dag_display_name": event.dag_id, "task_id": null, "task_display_name": null,
        "run_id": event.run_id, "map_index": null, "try_number": null, "event": event.action,
        "logical_date": null, "owner": event.who, "extra": extra,
    })
}
