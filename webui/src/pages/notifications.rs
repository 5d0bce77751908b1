//! What was told to the outside, and what could not be.

use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use model::{DagId, NotificationState, RunId};
use schemars::JsonSchema;
use serde::Serialize;
use store::notifications::{self, Filter};

use super::{
    Frame, Place, dag_url,
    error::PageResult,
    forms::{self, Pager},
    run_url, show as print,
    words::{Clock, Moment},
};
use crate::{app::App, auth::Principal, http::query::Query};

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    only_failed: bool,
    rows: Vec<Row>,
    pager: Pager,
}

#[derive(Serialize, JsonSchema)]
struct Row {
    at: Moment,
    event: String,
    reason: Option<String>,
    /// What it is about, and its page.
    subject: (String, String),
    kind: String,
    state: String,
    is_failed: bool,
    attempts: i16,
    detail: Option<String>,
    /// When it is tried again.
    next: Option<Moment>,
}

/// `GET /notifications?state=failed&page=…`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let clock = Clock::of(&who);
    let only_failed = query.text("state") == Some(NotificationState::Failed.name());
    let number = forms::page_number(&query);
    let page = forms::rows_of(number);
    let filter = Filter {
        states: if only_failed { vec![NotificationState::Failed] } else { Vec::new() },
        visible: who.visible(),
        limit: page.limit,
        offset: page.offset,
        ..Filter::default()
    };
    let found = notifications::list(&app.pool, &filter).await?;
    let total = notifications::count(&app.pool, &filter).await?;
    let rows = found.into_iter().map(|view| row(view, &clock)).collect();
    let frame = Frame::new(&app, &who, Place::Notifications, "Notifications").await?;
    let address = if only_failed { "/notifications?state=failed&page=" } else { "/notifications?page=" };
    let pager = Pager::new(total, number, address);
    Ok(print(&headers, &View { frame, only_failed, rows, pager })?)
}

fn row(view: notifications::View, clock: &Clock) -> Row {
    let waits = view.state == NotificationState::Waiting && view.attempts > 0;
    let task = view.task_id.as_ref().map(|task| format!(" · {task}")).unwrap_or_default();
    let name = format!("{} · {}{task}", view.dag_id, view.run_id);
    let address = match (DagId::new(&view.dag_id), RunId::new(&view.run_id)) {
        (Ok(dag), Ok(run)) => run_url(&dag, &run),
        (Ok(dag), Err(_)) => dag_url(&dag),
        (Err(_), _) => "/dags".to_owned(),
    };
    Row {
        at: clock.moment(view.at),
        event: view.event.name().replace('_', " "),
        reason: view.reason,
        subject: (name, address),
        kind: view.kind,
        state: view.state.name().to_owned(),
        is_failed: view.state == NotificationState::Failed,
        attempts: view.attempts,
        detail: view.detail,
        next: waits.then(|| clock.moment(view.next_attempt_at)),
    }
}
