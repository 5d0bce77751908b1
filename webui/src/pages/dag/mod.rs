//! A DAG's page: what it is, how it stands, and a tab each for its grid, its graph, its runs, its backfills, its code and its details.

mod backfills;
mod code;
mod details;
mod graph;
mod grid;

use axum::{
    Extension,
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use link::Query as Ask;
use model::DagRunState;
use schemars::JsonSchema;
use serde::Serialize;
use store::{
    favorites,
    read::{self, DagView, RunBrief, Version, Visible},
};

use super::{
    Fact, Frame, Place, Tab, dag_url,
    error::PageResult,
    picture::Shown,
    run_url, runs, segment, show_live as print, tabs, why,
    words::{self, Clock},
};
use crate::{
    app::App,
    auth::Principal,
    error::ApiResult,
    http::query::Query,
    live::{Pace, Subject as Watch, Watched},
    reads::lookup::lookup_dag,
};

/// How many of the newest runs the facts are taken from, and the grid shows at most.
const RUNS: u32 = 40;
/// The tabs: name in the address and word.
const TABS: [(&str, &str); 6] = [
    ("grid", "Grid"),
    ("graph", "Graph"),
    ("runs", "Runs"),
    ("backfills", "Backfills"),
    ("code", "Code"),
    ("details", "Details"),
];

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    dag_id: String,
    /// What pages call it.
    name: String,
    url: String,
    description: Option<String>,
    /// Names, and the addresses of the lists with them.
    tags: Vec<(String, String)>,
    is_favorite: bool,
    is_paused: bool,
    is_draining: bool,
    has_import_errors: bool,
    facts: Vec<Fact>,
    why: Option<String>,
    tabs: Vec<Tab>,
    content: Content,
}

/// The open tab.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Content {
    Grid(grid::Grid),
    Graph { picture: Option<Box<Shown>>, tasks: usize, of_run: Option<(String, String)> },
    Runs(runs::List),
    Backfills(backfills::Backfills),
    Code(code::Code),
    Details(Box<details::Details>),
}

/// `GET /dags/{dag_id}?tab=…`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let clock = Clock::of(&who);
    let (view, version) = lookup_dag(&app, &dag_id).await?;
    let dag = &version.dag;
    let recent = read::recent_runs(&app.pool, std::slice::from_ref(&view.dag_id), RUNS).await?;
    let (why, _) = why(&app, Ask::WhyDag { dag_id: view.dag_id.clone() }).await;
    let url = dag_url(&dag.dag_id);
    let tab = query.text("tab").unwrap_or_default();
    let shown = View {
        frame: Frame::new(&app, &who, Place::Dags, dag.display_name().to_owned()).await?.about(&who, &dag.dag_id),
        dag_id: dag.dag_id.to_string(),
        name: dag.display_name().to_owned(),
        description: dag.description.clone(),
        tags: dag.tags.iter().map(|tag| (tag.clone(), format!("/dags?tag={}", segment(tag)))).collect(),
        is_favorite: favorites::is_marked(&app.pool, &who.name, &view.dag_id).await?,
        is_paused: view.is_paused,
        is_draining: view.is_draining,
        has_import_errors: view.has_import_errors,
        facts: facts(&view, &version, &recent, clock),
        why,
        tabs: tabs(&url, tab, &TABS),
        content: content(&app, tab, Subject { view: &view, version: &version, recent: &recent }, &query, clock).await?,
        url,
    };
    Ok(print(&headers, &shown, Watched(Watch::Dag(view.dag_id), Pace::Rests))?)
}

/// The DAG that the page is about.
#[derive(Clone, Copy)]
struct Subject<'a> {
    view: &'a DagView,
    version: &'a Version,
    recent: &'a [RunBrief],
}

async fn content(app: &App, tab: &str, of: Subject<'_>, query: &Query, clock: Clock) -> ApiResult<Content> {
    let Subject { view, version, recent } = of;
    Ok(match tab {
        "graph" => {
            let of_run = recent.first().map(|run| (clock.day(run.run_after), run_url(&run.dag_id, &run.run_id)));
            let picture = graph::picture(app, version, recent.first(), clock).await?;
            Content::Graph { picture: picture.map(Box::new), tasks: version.dag.tasks.len(), of_run }
        }
        "runs" => Content::Runs(runs::list(app, &Visible::All, Some(&view.dag_id), query, clock).await?),
        "backfills" => Content::Backfills(backfills::backfills(app, version, query, clock).await?),
        "code" => Content::Code(code::code(app, view, query, clock).await?),
        "details" => Content::Details(Box::new(details::details(view, version, clock))),
        _ => Content::Grid(grid::grid(app, version, recent, clock).await?),
    })
}

fn facts(view: &DagView, version: &Version, runs: &[RunBrief], clock: Clock) -> Vec<Fact> {
    let mut facts = vec![Fact::new("schedule", words::runs_when(&version.dag))];
    facts.push(match view.next.filter(|_| !view.is_paused && !view.is_draining) {
        Some(next) => Fact::at("next run", clock.moment(next.run_after)),
        None if view.is_paused => Fact::new("next run", "none while paused"),
        None if view.is_draining => Fact::new("next run", "none while it drains"),
        None => Fact::new("next run", "none"),
    });
    let success = runs.iter().find(|run| run.state == DagRunState::Success);
    if let Some((run, (start, end))) = success.and_then(|run| Some((run, run.started_at.zip(run.ended_at)?))) {
        let ended = clock.moment(end);
        let words = format!("{} · {}", ended.words, words::between(start, end));
        facts.push(Fact::new("last success", words).exactly(ended.exact).to(run_url(&run.dag_id, &run.run_id)));
    }
    let ended = runs.iter().filter(|run| run.state.is_finished()).count();
    if ended > 0 {
        let good = runs.iter().filter(|run| run.state == DagRunState::Success).count();
        facts.push(Fact::new("success", format!("{good} of the last {ended}")));
    }
    facts.push(Fact::new("owner", version.dag.owners.join(", ")));
    facts
}
