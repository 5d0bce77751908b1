//! One field that leads everywhere: DAGs, tasks, runs, pages, and what can be done with a DAG. A page by itself, and the
//! list below Ctrl-K, which is its live part.

use std::sync::Arc;

use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use serde::Serialize;
use store::read::{self, Direction, Pattern, RunFilter, RunOrder, Version};

use super::{
    Frame, Place, dag_url,
    error::PageResult,
    run_url,
    runs::{kind, literal},
    segment, show as print,
    state::Badge,
    with_query,
    words::Clock,
};
use crate::{api::query::Query, app::App, auth::Principal, error::ApiResult};

/// Hits of one kind: more do not fit a screen, and one more letter narrows them.
const HITS_MAX: usize = 8;
/// The longest text that is looked for.
const CHARS_MAX: usize = 250;
/// The pages of the rail, and those that lie behind it.
const PAGES: [(&str, &str); 5] = [
    ("DAGs", "/dags"),
    ("Runs", "/runs"),
    ("Services", "/services"),
    ("Import errors", "/import-errors"),
    ("Preferences: theme and time zone", "/preferences"),
];

#[derive(Serialize)]
struct View {
    frame: Frame,
    search: String,
    hits: Vec<Hit>,
}

/// Something to go to or to do.
#[derive(Debug, Serialize)]
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
    let hits = hits(&app, &search, &frame, Clock::of(&who)).await?;
    Ok(print(&headers, "search", &View { frame, search, hits })?)
}

async fn hits(app: &App, search: &str, frame: &Frame, clock: Clock) -> ApiResult<Vec<Hit>> {
    let needle = search.to_lowercase();
    let words: Vec<&str> = needle.split_whitespace().collect();
    let fits = |text: &str| {
        let text = text.to_lowercase();
        words.iter().all(|word| text.contains(word))
    };
    let views: Vec<_> = read::dags(&app.pool).await?.into_iter().filter(|view| !view.is_stale).collect();
    let versions = app.versions.all(&app.pool, views.iter().map(|view| view.current)).await?;
    let mut dags: Vec<_> = views.iter().filter(|view| fits(view.dag_id.as_str())).collect();
    // What begins as it was typed is meant first.
    dags.sort_by_key(|view| !view.dag_id.as_str().to_lowercase().starts_with(&needle));
    let mut hits: Vec<Hit> = Vec::new();
    for view in dags.iter().take(HITS_MAX) {
        let description = versions.get(&view.current).and_then(|version| version.dag.description.clone());
        hits.push(Hit::link("DAG", view.dag_id.as_str(), description.unwrap_or_default(), dag_url(&view.dag_id)));
    }
    if let (Some(view), true, false) = (dags.first(), frame.may_change, words.is_empty()) {
        let url = dag_url(&view.dag_id);
        hits.push(Hit::link("action", format!("Trigger {}", view.dag_id), "", format!("{url}/trigger")));
        let (word, to) = if view.is_paused { ("Un-pause", "active") } else { ("Pause", "paused") };
        let title = format!("{word} {}", view.dag_id);
        hits.push(Hit { to: Some(to), ..Hit::link("action", title, "", format!("{url}/pause")) });
    }
    let pages = PAGES.iter().filter(|(title, _)| fits(title));
    hits.extend(pages.map(|(title, url)| Hit::link("page", *title, "", *url)));
    if !words.is_empty() {
        let current = views.iter().filter_map(|view| versions.get(&view.current));
        hits.extend(tasks(current, fits));
        hits.extend(runs(app, search, clock).await?);
    }
    Ok(hits)
}

/// Tasks of the current versions: they lead to the grid, which has all their instances.
fn tasks<'a>(versions: impl Iterator<Item = &'a Arc<Version>>, fits: impl Fn(&str) -> bool) -> Vec<Hit> {
    let all = versions.flat_map(|version| version.dag.tasks.iter().map(move |task| (&version.dag.dag_id, task)));
    let found =
        all.filter(|(dag_id, task)| fits(&format!("{dag_id} {}", task.task_id)) && fits_itself(&fits, task, dag_id));
    found
        .take(HITS_MAX)
        .map(|(dag_id, task)| {
            let url =
                format!("{}#task-{}", with_query(&dag_url(dag_id), "tab", "details"), segment(task.task_id.as_str()));
            Hit::link("task", task.task_id.as_str(), dag_id.as_str(), url)
        })
        .collect()
}

/// A DAG's name alone does not bring all of its tasks.
fn fits_itself(fits: &impl Fn(&str) -> bool, task: &dag::Task, dag_id: &model::DagId) -> bool {
    fits(task.task_id.as_str()) || !fits(dag_id.as_str())
}

async fn runs(app: &App, search: &str, clock: Clock) -> ApiResult<Vec<Hit>> {
    let filter = RunFilter {
        run_id_pattern: Pattern(vec![literal(search)]),
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
