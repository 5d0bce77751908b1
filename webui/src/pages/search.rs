//! One field that leads everywhere: DAGs, tasks, runs, pages, and what can be done with a DAG. A page by itself, and the
//! list below Ctrl-K, which is its live part.

use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use model::{DagId, TaskId};
use schemars::JsonSchema;
use serde::Serialize;
use store::read::{self, DagFilter, Direction, Pattern, RunFilter, RunOrder, Visible, Window};

use super::{
    Frame, Place, dag_url,
    error::PageResult,
    run_url,
    runs::{SEARCHED_MAX, kind, literal},
    segment, show as print,
    state::Badge,
    with_query,
    words::Clock,
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    error::ApiResult,
    http::query::Query,
};

/// Hits of one kind: more do not fit a screen, and one more letter narrows them.
const HITS_MAX: usize = 8;
/// The longest text that is looked for.
const CHARS_MAX: usize = 250;
/// The pages of the rail, and those that lie behind it.
const PAGES: [(&str, &str); 8] = [
    ("DAGs", "/dags"),
    ("Runs", "/runs"),
    ("Services", "/services"),
    ("Required actions: questions of tasks", "/approvals"),
    ("Import errors", "/import-errors"),
    ("DAG bundles", "/bundles"),
    ("REST API", "/docs"),
    ("Preferences: theme and time zone", "/preferences"),
];

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    search: String,
    hits: Vec<Hit>,
}

/// Something to go to or to do.
#[derive(Debug, Serialize, JsonSchema)]
struct Hit {
    kind: &'static str,
    badge: Option<Badge>,
    title: String,
    place: String,
    url: String,
    /// For what changes something: the field of the form that does it. Without one the hit is a link.
    to: Option<&'static str>,
}

impl Hit {
    fn link(kind: &'static str, title: impl Into<String>, place: impl Into<String>, url: impl Into<String>) -> Self {
        Self { kind, badge: None, title: title.into(), place: place.into(), url: url.into(), to: None }
    }
}

/// `GET /search?q=…`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let frame = Frame::new(&app, &who, Place::Elsewhere, "Search").await?;
    let search: String = query.text("q").unwrap_or_default().trim().chars().take(CHARS_MAX).collect();
    let hits = hits(&app, &search, &who, Clock::of(&who)).await?;
    Ok(print(&headers, &View { frame, search, hits })?)
}

async fn hits(app: &App, search: &str, who: &Principal, clock: Clock) -> ApiResult<Vec<Hit>> {
    let visible = who.visible();
    let needle = search.to_lowercase();
    let words: Vec<&str> = needle.split_whitespace().collect();
    let fits = |text: &str| {
        let text = text.to_lowercase();
        words.iter().all(|word| text.contains(word))
    };
    let fitting = DagFilter {
        visible: visible.clone(),
        id_words: words.iter().map(|word| (*word).to_owned()).collect(),
        without_stale: true,
        // What begins as it was typed is meant first.
        first: (!needle.is_empty()).then(|| needle.clone()),
        ..DagFilter::default()
    };
    let window = Window { limit: i64::try_from(HITS_MAX).unwrap_or(i64::MAX), offset: 0 };
    let (dags, _) = read::dag_list(&app.pool, &fitting, window).await?;
    let mut hits: Vec<Hit> = Vec::new();
    for view in &dags {
        let description = view.description.clone().unwrap_or_default();
        hits.push(Hit::link("DAG", view.dag_id.as_str(), description, dag_url(&view.dag_id)));
    }
    let changeable = dags.first().filter(|view| who.permissions.has_on(Right::ChangeDags, view.dag_id.as_str()));
    if let (Some(view), false) = (changeable, words.is_empty()) {
        let url = dag_url(&view.dag_id);
        hits.push(Hit::link("action", format!("Trigger {}", view.dag_id), "", format!("{url}/trigger")));
        let (word, to) = if view.is_paused { ("Un-pause", "active") } else { ("Pause", "paused") };
        let title = format!("{word} {}", view.dag_id);
        hits.push(Hit { to: Some(to), ..Hit::link("action", title, "", format!("{url}/pause")) });
        let (word, to) = if view.is_draining { ("Undrain", "active") } else { ("Drain", "draining") };
        let title = format!("{word} {}", view.dag_id);
        hits.push(Hit { to: Some(to), ..Hit::link("action", title, "", format!("{url}/drain")) });
    }
    let pages = PAGES.iter().filter(|(title, _)| fits(title));
    hits.extend(pages.map(|(title, url)| Hit::link("page", *title, "", *url)));
    if !words.is_empty() {
        hits.extend(tasks(app, &words, &visible).await?);
        hits.extend(runs(app, search, visible, clock).await?);
    }
    Ok(hits)
}

/// Tasks of DAGs: they lead to the grid, which has all their instances.
async fn tasks(app: &App, words: &[&str], visible: &Visible) -> ApiResult<Vec<Hit>> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let found = read::tasks_named(&app.pool, &words, visible, i64::try_from(HITS_MAX).unwrap_or(i64::MAX)).await?;
    let hit = |(dag_id, task_id): &(DagId, TaskId)| {
        let url = format!("{}#task-{}", with_query(&dag_url(dag_id), "tab", "details"), segment(task_id.as_str()));
        Hit::link("task", task_id.as_str(), dag_id.as_str(), url)
    };
    Ok(found.iter().map(hit).collect())
}

async fn runs(app: &App, search: &str, visible: Visible, clock: Clock) -> ApiResult<Vec<Hit>> {
    let filter = RunFilter {
        visible,
        run_id_pattern: Pattern(vec![literal(search)]),
        newest: Some(SEARCHED_MAX),
        order: vec![(RunOrder::RunAfter, Direction::Descending)],
        limit: i64::try_from(HITS_MAX).unwrap_or(i64::MAX),
        ..RunFilter::default()
    };
    let (found, _) = read::runs(&app.pool, &filter).await?;
    let hit = |run: &engine::RunRow| {
        let place = format!("{} · {}, {}", run.dag_id, kind(run.run_type), clock.day(run.run_after));
        let link = Hit::link("run", run.run_id.as_str(), place, run_url(&run.dag_id, &run.run_id));
        Hit { badge: Some(Badge::from(run.state)), ..link }
    };
    Ok(found.iter().map(hit).collect())
}
