//! The newest runs, of all DAGs or of one.

use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use model::{DagId, DagRunState, RunType, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;
use store::read::{self, Direction, Pattern, RunFilter, RunOrder, Visible};

use super::{
    Frame, Place, dag_url,
    error::PageResult,
    run_url, show_live as print,
    state::Badge,
    with_query,
    words::{self, Clock, Moment},
};
use crate::{
    app::App,
    auth::Principal,
    error::ApiResult,
    http::query::Query,
    live::{Pace, Subject, Watched},
};

/// Runs of one page.
const ROWS: i64 = 50;
/// A search looks at the newest runs: parts of ids are in no index.
pub const SEARCHED_MAX: i64 = 5_000;

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    list: List,
}

/// A page of a list of runs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct List {
    chips: Vec<Chip>,
    rows: Vec<Row>,
    total: String,
    older: Option<String>,
    newer: Option<String>,
    /// Whether the rows are of several DAGs.
    names_dags: bool,
    search: String,
    searched: Option<String>,
    state: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Chip {
    word: &'static str,
    url: String,
    chosen: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Row {
    badge: Badge,
    dag_id: String,
    dag_url: String,
    run_id: String,
    title: String,
    url: String,
    after: Moment,
    started: Option<Moment>,
    took: String,
    note: Option<String>,
}

/// `GET /runs?state=…&q=…&page=…`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let list = list(&app, &who.visible(), None, &query, Clock::of(&who)).await?;
    let frame = Frame::new(&app, &who, Place::Runs, "Runs").await?;
    Ok(print(&headers, &View { frame, list }, Watched(Subject::Everything, Pace::Rests))?)
}

/// The runs that an address asks for.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn list(
    app: &App,
    visible: &Visible,
    dag_id: Option<&DagId>,
    query: &Query,
    clock: Clock,
) -> ApiResult<List> {
    let chosen: Option<DagRunState> = query.text("state").and_then(|text| text.parse().ok());
    let search = query.text("q").unwrap_or_default().trim().to_owned();
    let page = query.text("page").and_then(|text| text.parse::<i64>().ok()).unwrap_or(0).max(0);
    let filter = RunFilter {
        visible: visible.clone(),
        dag_ids: dag_id.cloned().into_iter().collect(),
        states: chosen.into_iter().collect(),
        run_id_pattern: Pattern(Some(literal(&search)).filter(|text| !text.is_empty()).into_iter().collect()),
        newest: (!search.is_empty()).then_some(SEARCHED_MAX),
        order: vec![(RunOrder::RunAfter, Direction::Descending)],
        limit: ROWS,
        offset: page.saturating_mul(ROWS),
        ..RunFilter::default()
    };
    let (runs, total) = read::runs(&app.pool, &filter).await?;
    let base = dag_id.map_or_else(|| "/runs".to_owned(), |dag| format!("{}?tab=runs", dag_url(dag)));
    let address = |state: Option<DagRunState>, page: i64| {
        let mut url = base.clone();
        if let Some(state) = state {
            url = with_query(&url, "state", state.name());
        }
        if !search.is_empty() {
            url = with_query(&url, "q", &search);
        }
        if page > 0 { with_query(&url, "page", &page.to_string()) } else { url }
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
        title: format!("{}, {}", kind(run.run_type), clock.day(run.logical_date.unwrap_or(run.run_after))),
        url: run_url(&run.dag_id, &run.run_id),
        after: clock.moment(run.run_after),
        started: run.started_at.map(|at| clock.moment(at)),
        took: took(run.started_at, run.ended_at, clock.now),
        note: run.note.clone(),
    });
    Ok(List {
        chips: chips.collect(),
        rows: rows.collect(),
        total: words::total(total),
        older: total.exceeds(filter.offset.saturating_add(ROWS)).then(|| address(chosen, page + 1)),
        newer: (page > 0).then(|| address(chosen, page - 1)),
        names_dags: dag_id.is_none(),
        state: chosen.map(|state| state.name().to_owned()).unwrap_or_default(),
        searched: (!search.is_empty()).then(|| words::number(SEARCHED_MAX)),
        search,
    })
}

/// A text as a pattern that means just it.
#[must_use]
pub fn literal(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

/// What made a run, as titles begin.
#[must_use]
pub const fn kind(run_type: RunType) -> &'static str {
    match run_type {
        RunType::Scheduled => "scheduled",
        RunType::Manual => "manual",
        RunType::Backfill => "backfill",
        RunType::OperatorTriggered => "triggered by a task",
        RunType::AssetTriggered => "triggered by an asset",
        RunType::AssetMaterialization => "materialization",
    }
}

fn took(start: Option<Timestamp>, end: Option<Timestamp>, now: Timestamp) -> String {
    match (start, end) {
        (Some(start), Some(end)) => words::between(start, end),
        (Some(start), None) => format!("{} so far", words::between(start, now)),
        (None, _) => String::new(),
    }
}
