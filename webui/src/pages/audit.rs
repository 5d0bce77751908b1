//! Who did what, and when.

use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use model::{DagId, RunId};
use schemars::JsonSchema;
use serde::Serialize;
use store::{
    audit::{self, AuditEvent, AuditFilter, AuditOrder},
    read::Direction,
};

use super::{
    Frame, Place, dag_url,
    error::PageResult,
    forms::{self, Pager},
    run_url, segment, show as print,
    words::{self, Clock, Moment},
};
use crate::{app::App, auth::Principal, http::query::Query};

/// A search looks at the newest lines: their whole text is in no index.
const SEARCHED_MAX: i64 = 5_000;

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    search: String,
    searched: Option<String>,
    rows: Vec<Row>,
    pager: Pager,
}

#[derive(Serialize, JsonSchema)]
struct Row {
    at: Moment,
    who: String,
    action: String,
    subject: Option<(String, String)>,
    details: String,
    address: Option<String>,
    door: Option<String>,
    /// The API token that it was done by.
    api_token: Option<String>,
    /// A word when it was not simply done.
    outcome: Option<String>,
}

/// `GET /audit?q=…&page=…`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let clock = Clock::of(&who);
    let search = query.text("q").unwrap_or_default().to_owned();
    let number = forms::page_number(&query);
    let page = forms::rows_of(number);
    let filter = AuditFilter {
        anywhere: (!search.is_empty()).then(|| search.clone()),
        newest: (!search.is_empty()).then_some(SEARCHED_MAX),
        order: vec![(AuditOrder::Id, Direction::Descending)],
        limit: page.limit,
        offset: page.offset,
        ..AuditFilter::default()
    };
    let (events, total) = audit::events(&app.pool, &filter).await?;
    let row = |event: AuditEvent| Row {
        at: clock.moment(event.at),
        subject: subject(&event),
        outcome: event.outcome.filter(|outcome| outcome != "done"),
        address: event.address,
        door: event.door,
        api_token: event.api_token.map(|token| token.to_string()),
        who: event.who,
        action: event.action,
        details: event.details.to_string(),
    };
    let rows = events.into_iter().map(row).collect();
    let frame = Frame::new(&app, &who, Place::Audit, "Audit log").await?;
    let pager = Pager::new(total, number, &format!("/audit?q={}&page=", segment(&search)));
    Ok(print(
        &headers,
        &View { frame, searched: (!search.is_empty()).then(|| words::number(SEARCHED_MAX)), search, rows, pager },
    )?)
}

/// What it was done to: a word and its page.
fn subject(event: &AuditEvent) -> Option<(String, String)> {
    let dag = DagId::new(event.dag_id.as_deref()?).ok()?;
    let run = event.run_id.as_deref().and_then(|run| RunId::new(run).ok());
    Some(match run {
        Some(run) => (format!("{dag} · {run}"), run_url(&dag, &run)),
        None => (dag.to_string(), dag_url(&dag)),
    })
}
