//! The newest runs of all DAGs.

use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use chrono::Utc;
use model::{DagRunState, Timestamp};
use serde::Serialize;
use store::read::{self, Direction, RunFilter, RunOrder};

use super::{
    Frame, Place, dag_url,
    error::PageResult,
    run_url, show as print,
    state::Badge,
    words::{self, Moment},
};
use crate::{api::query::Query, app::App, auth::Principal};

/// Runs of one page.
const ROWS: i64 = 50;

#[derive(Serialize)]
struct View {
    frame: Frame,
    chips: Vec<Chip>,
    rows: Vec<Row>,
    total: String,
    older: Option<String>,
    newer: Option<String>,
}

#[derive(Serialize)]
struct Chip {
    word: &'static str,
    url: String,
    chosen: bool,
}

#[derive(Serialize)]
struct Row {
    badge: Badge,
    dag_id: String,
    dag_url: String,
    run_id: String,
    url: String,
    after: Moment,
    took: String,
    kind: &'static str,
}

/// `GET /runs?state=…&page=…`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let now = Utc::now();
    let chosen: Option<DagRunState> = query.text("state").and_then(|text| text.parse().ok());
    let page = query.text("page").and_then(|text| text.parse::<i64>().ok()).unwrap_or(0).max(0);
    let filter = RunFilter {
        states: chosen.into_iter().collect(),
        order: vec![(RunOrder::RunAfter, Direction::Descending)],
        limit: ROWS,
        offset: page.saturating_mul(ROWS),
        ..RunFilter::default()
    };
    let (runs, total) = read::runs(&app.pool, &filter).await?;
    let address = |state: Option<DagRunState>, page: i64| {
        let state = state.map(|state| format!("state={state}&")).unwrap_or_default();
        format!("/runs?{state}page={page}")
    };
    let chips = std::iter::once(None).chain(DagRunState::ALL.iter().copied().map(Some)).map(|state| Chip {
        word: state.map_or("all", DagRunState::name),
        url: address(state, 0),
        chosen: state == chosen,
    });
    let rows = runs.iter().map(|run| Row {
        badge: Badge::from(run.state),
        dag_id: run.dag_id.to_string(),
        dag_url: dag_url(&run.dag_id),
        run_id: run.run_id.to_string(),
        url: run_url(&run.dag_id, &run.run_id),
        after: Moment::new(run.run_after, now),
        took: took(run.started_at, run.ended_at, now),
        kind: run.run_type.name(),
    });
    let view = View {
        frame: Frame::new(&app, &who, Place::Runs, "Runs").await?,
        chips: chips.collect(),
        rows: rows.collect(),
        total: words::number(total),
        older: (total > filter.offset.saturating_add(ROWS)).then(|| address(chosen, page + 1)),
        newer: (page > 0).then(|| address(chosen, page - 1)),
    };
    Ok(print(&headers, "runs", &view)?)
}

fn took(start: Option<Timestamp>, end: Option<Timestamp>, now: Timestamp) -> String {
    match (start, end) {
        (Some(start), Some(end)) => words::between(start, end),
        (Some(start), None) => format!("{} so far", words::between(start, now)),
        (None, _) => String::new(),
    }
}
