//! The list of DAGs: what each does, how it stands and why, its switch and its button.

mod filter;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use futures::{StreamExt, stream};
use link::Query as Ask;
use model::{
    Command, DagId, DagRunState, TaskId,
    command::{Draining, Paused},
};
use schemars::JsonSchema;
use serde::Serialize;
use store::{
    favorites,
    read::{self, DagView, FileFilter, FirstFailure, RunBrief, Version, Window},
};

use super::{
    Frame, Place, dag_url,
    error::{PageResult, safe_next},
    run_url, show_live as print,
    state::Badge,
    why,
    words::{self, Clock, Moment},
};
use crate::{
    app::App,
    auth::{Principal, form::PageForm, rights::Right},
    changes::commands,
    error::ApiResult,
    http::query::Query,
    live::{Pace, Subject, Watched},
    reads::{instances::tries_of, lookup::lookup_dag},
};
use filter::{Chip, Choice, Wanted};

/// How many runs a DAG's bars show.
const BARS: u32 = 14;
/// Height of the tallest bar.
const BAR_HEIGHT: i64 = 20;
/// The shortest bar that can be seen and clicked.
const BAR_HEIGHT_MIN: i64 = 4;
/// Rows of one page; the search and the filters narrow further.
const ROWS_MAX: i64 = 100;
/// Files with mistakes that the page warns of; the page of import errors has all.
const WARNED_MAX: i64 = 10;
/// Mistakes of those files that are read to be counted.
const MISTAKES_MAX: i64 = 1_000;
/// Questions to the leader that are on their way at once.
const QUESTIONS_AT_ONCE: usize = 16;

/// What the page shows.
/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    search: String,
    hidden: Vec<(&'static str, String)>,
    chips: Vec<Chip>,
    favorites_url: String,
    favorites: bool,
    tags: Vec<Choice>,
    tag: Option<String>,
    owners: Vec<Choice>,
    owner: Option<String>,
    rows: Vec<Row>,
    place: String,
    newer: Option<String>,
    older: Option<String>,
    any: bool,
    attention: Vec<Attention>,
}

#[derive(Serialize, JsonSchema)]
struct Row {
    dag_id: String,
    /// What pages call it.
    name: String,
    url: String,
    description: Option<String>,
    tags: Vec<Choice>,
    schedule: String,
    next: Option<Moment>,
    bars: Vec<Bar>,
    badge: Option<Badge>,
    now: String,
    why: Option<String>,
    may_change: bool,
    is_favorite: bool,
    is_paused: bool,
    is_stale: bool,
    run_url: Option<String>,
}

/// A run as a bar.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Bar {
    /// Where it stands, in pixels.
    pub x: i64,
    /// Its upper end.
    pub y: i64,
    /// How tall it is: how long the run took.
    pub height: i64,
    /// The class that gives it its colour.
    pub class: &'static str,
    /// The run's page.
    pub url: String,
    /// What a reader hears: state, date and duration.
    pub label: String,
}

#[derive(Serialize, JsonSchema)]
struct Attention {
    badge: Badge,
    title: String,
    text: String,
    url: String,
}

/// A DAG with its newest runs.
struct Entry {
    view: DagView,
    version: Arc<Version>,
    runs: Vec<RunBrief>,
}

/// `GET /dags?q=…&tag=…&owner=…&state=…&favorites=…&page=…`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let clock = Clock::of(&who);
    let wanted = Wanted::of(&query);
    let visible = who.visible();
    let counts = read::dag_counts(&app.pool, &wanted.filter(&who)).await?;
    let names = read::dag_names(&app.pool, &visible).await?;
    let (entries, total) = entries(&app, &wanted, &who).await?;
    let reasons = reasons(&app, &entries, clock).await?;
    let ids: Vec<DagId> = entries.iter().map(|entry| entry.view.dag_id.clone()).collect();
    let marked = favorites::marked_among(&app.pool, &who.name, &ids).await?;
    let row_of = |(entry, why): (&Entry, Option<String>)| Row {
        is_favorite: marked.contains(entry.view.dag_id.as_str()),
        ..row(entry, why, clock, &wanted, &who)
    };
    let rows: Vec<Row> = entries.iter().zip(reasons).map(row_of).collect();
    let first = wanted.page.saturating_mul(ROWS_MAX);
    let last = first + i64::try_from(rows.len()).unwrap_or(0);
    let view = View {
        frame: Frame::new(&app, &who, Place::Dags, "DAGs").await?,
        chips: wanted.chips(&counts),
        favorites_url: wanted.favorites_url(),
        favorites: wanted.favorites,
        any: counts.all > 0 || !read::dag_ids(&app.pool, &[], &visible, 1).await?.is_empty(),
        tags: wanted.tags(&names.tags),
        owners: wanted.owners(&names.owners),
        hidden: wanted.hidden(),
        place: match last - first {
            0 if total > 0 => format!("none of {total} here"),
            here if here < total => format!("{}–{last} of {total}", first + 1),
            _ => String::new(),
        },
        newer: (wanted.page > 0).then(|| wanted.at_page(wanted.page - 1)),
        older: (last < total).then(|| wanted.at_page(wanted.page + 1)),
        attention: if who.may(Right::Read) { attention(&app).await? } else { Vec::new() },
        search: wanted.search,
        tag: wanted.tag,
        owner: wanted.owner,
        rows,
    };
    Ok(print(&headers, &view, Watched(Subject::Everything, Pace::Rests))?)
}

/// The DAGs of a page with their newest runs: what is not on the page is not read.
async fn entries(app: &App, wanted: &Wanted, who: &Principal) -> ApiResult<(Vec<Entry>, i64)> {
    let window = Window { limit: ROWS_MAX, offset: wanted.page.saturating_mul(ROWS_MAX) };
    let (views, total) = read::dag_list(&app.pool, &wanted.state.of(wanted.filter(who)), window).await?;
    let versions = app.versions.all(&app.pool, views.iter().map(|view| view.current)).await?;
    let ids: Vec<DagId> = views.iter().map(|view| view.dag_id.clone()).collect();
    let mut runs: BTreeMap<DagId, Vec<RunBrief>> = BTreeMap::new();
    for run in read::recent_runs(&app.pool, &ids, BARS).await? {
        runs.entry(run.dag_id.clone()).or_default().push(run);
    }
    let entry = |view: DagView| {
        let version = Arc::clone(versions.get(&view.current)?);
        let runs = runs.remove(&view.dag_id).unwrap_or_default();
        Some(Entry { view, version, runs })
    };
    Ok((views.into_iter().filter_map(entry).collect(), total))
}

/// For each DAG one sentence where something waits, runs or failed.
async fn reasons(app: &App, entries: &[Entry], clock: Clock) -> ApiResult<Vec<Option<String>>> {
    let mut failures = failures(app, entries).await?;
    let mut reasons = Vec::with_capacity(entries.len());
    for entry in entries {
        let overdue = entry.view.next.is_some_and(|next| next.run_after < clock.now) && !entry.view.is_paused;
        reasons.push(match entry.runs.first() {
            Some(run) if !run.state.is_finished() => {
                Reason::Ask(Ask::WhyRun { dag_id: run.dag_id.clone(), run_id: run.run_id.clone() })
            }
            Some(run) if run.state == DagRunState::Failed => Reason::Known(failures.remove(&run.key)),
            Some(_) | None if overdue => Reason::Ask(Ask::WhyDag { dag_id: entry.view.dag_id.clone() }),
            Some(_) | None => Reason::Known(None),
        });
    }
    let answers = reasons.into_iter().map(|reason| async {
        match reason {
            Reason::Known(sentence) => sentence,
            Reason::Ask(question) => why(app, question).await.0,
        }
    });
    Ok(stream::iter(answers).buffered(QUESTIONS_AT_ONCE).collect().await)
}

/// Where a sentence comes from.
enum Reason {
    Known(Option<String>),
    Ask(Ask),
}

/// Of each DAG whose newest run failed: which task, and why.
async fn failures(app: &App, entries: &[Entry]) -> ApiResult<BTreeMap<model::RunKey, String>> {
    let failed: Vec<_> = entries
        .iter()
        .filter_map(|entry| entry.runs.first())
        .filter(|run| run.state == DagRunState::Failed)
        .map(|run| run.key)
        .collect();
    if failed.is_empty() {
        return Ok(BTreeMap::new());
    }
    let tries_max = |failure: &FirstFailure| {
        let entry = entries.iter().find(|entry| entry.runs.first().is_some_and(|run| run.key == failure.run))?;
        let pos = entry.version.dag.position(&TaskId::new(failure.task_id.as_str()).ok()?)?;
        Some(tries_of(entry.version.dag.task(pos)))
    };
    let mut found = BTreeMap::new();
    for failure in read::first_failures(&app.pool, &failed).await? {
        let reason = failure.reason.as_deref().unwrap_or("failed");
        let of = failure.tries_max.or_else(|| tries_max(&failure)).map(|max| format!(" of {max}")).unwrap_or_default();
        let text = format!("{}: {reason}; try {}{of}", failure.instance(), failure.try_number);
        found.insert(failure.run, text);
    }
    Ok(found)
}

fn row(entry: &Entry, why: Option<String>, clock: Clock, wanted: &Wanted, who: &Principal) -> Row {
    let Entry { view, version, runs } = entry;
    let newest = runs.first();
    Row {
        dag_id: view.dag_id.to_string(),
        name: view.display_name.clone().unwrap_or_else(|| view.dag_id.to_string()),
        url: dag_url(&view.dag_id),
        description: version.dag.description.clone(),
        tags: version.dag.tags.iter().map(|tag| wanted.tag_choice(tag)).collect(),
        schedule: words::runs_when(&version.dag),
        next: view.next.filter(|_| !view.is_paused).map(|next| clock.moment(next.run_after)),
        bars: bars(runs, clock, BAR_HEIGHT),
        badge: newest.map(|run| Badge::from(run.state)),
        now: newest.map_or_else(|| "no run yet".to_owned(), |run| stand(run, clock)),
        why,
        may_change: who.permissions.has_on(Right::ChangeDags, view.dag_id.as_str()),
        is_favorite: false,
        is_paused: view.is_paused,
        is_stale: view.is_stale,
        run_url: newest.map(|run| run_url(&run.dag_id, &run.run_id)),
    }
}

/// How a run stands, in few words.
fn stand(run: &RunBrief, clock: Clock) -> String {
    match (run.state, run.started_at, run.ended_at) {
        (DagRunState::Running, Some(start), _) => format!("running for {}", words::between(start, clock.now)),
        (DagRunState::Success | DagRunState::Failed, Some(start), Some(end)) => {
            format!("{} · {}", clock.moment(end).words, words::between(start, end))
        }
        (state, ..) => state.name().to_owned(),
    }
}

/// Runs as bars, oldest first; the longest is as tall as `height`.
#[must_use]
pub fn bars(newest_first: &[RunBrief], clock: Clock, height: i64) -> Vec<Bar> {
    const STEP: i64 = 7;
    let took = |run: &RunBrief| {
        let start = run.started_at?;
        Some((run.ended_at.unwrap_or(clock.now) - start).num_milliseconds().max(0))
    };
    let longest = newest_first.iter().filter_map(took).max().unwrap_or(0).max(1);
    let oldest_first = newest_first.iter().rev().enumerate();
    oldest_first
        .map(|(number, run)| {
            let tall = took(run).map_or(BAR_HEIGHT_MIN, |took| (height * took / longest).clamp(BAR_HEIGHT_MIN, height));
            let badge = Badge::from(run.state);
            Bar {
                x: i64::try_from(number).unwrap_or(i64::MAX / STEP) * STEP,
                y: height - tall,
                height: tall,
                class: badge.class,
                url: run_url(&run.dag_id, &run.run_id),
                label: format!("{} · {} · {}", clock.day(run.run_after), badge.word, stand(run, clock)),
            }
        })
        .collect()
}

async fn attention(app: &App) -> ApiResult<Vec<Attention>> {
    let mut found = Vec::new();
    for service in read::services(&app.pool).await? {
        if service.state == model::ServiceState::BackOff {
            found.push(Attention {
                badge: Badge::from(service.state),
                title: format!("service {}", service.key.name),
                text: service.last_error.unwrap_or_else(|| "it ended and is started again".to_owned()),
                url: "/services".to_owned(),
            });
        }
    }
    let badge = Badge { class: "upstream-failed", glyph: "↑", word: "import error" };
    let files = read::broken_files(&app.pool, &FileFilter::default(), Window { limit: WARNED_MAX, offset: 0 }).await?;
    let broken =
        if files.is_empty() { Vec::new() } else { read::import_errors(&app.pool, &files, MISTAKES_MAX).await? };
    for errors in broken.chunk_by(|one, next| (&one.bundle_name, &one.file) == (&next.bundle_name, &next.file)) {
        let more = match errors.len() - 1 {
            0 => String::new(),
            more => format!(" And {}.", words::count(more, "more mistake")),
        };
        found.push(Attention {
            badge,
            title: errors[0].line.map_or_else(|| errors[0].file.clone(), |line| format!("{}:{line}", errors[0].file)),
            text: format!("{}.{more} The last good version stays in force.", mistake(&errors[0])),
            url: "/import-errors".to_owned(),
        });
    }
    Ok(found)
}

/// What is wrong, without its place.
fn mistake(error: &read::ImportError) -> String {
    let field = error.field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default();
    let suggestion = error.suggestion.as_ref().map(|text| format!("; {text}")).unwrap_or_default();
    format!("{field}{}{suggestion}", error.message.trim_end_matches('.'))
}

/// `POST /dags/{dag_id}/pause`: the switch.
pub async fn pause(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(dag_id): Path<String>,
    form: PageForm,
) -> PageResult<Response> {
    let (view, _) = lookup_dag(&app, &dag_id).await?;
    let to = if form.text("to") == "paused" { Paused::Paused } else { Paused::Active };
    commands::send(&app, &Command::PauseDag { dag_id: view.dag_id, to }, &who).await?;
    Ok(Redirect::to(safe_next(form.text("back"))).into_response())
}

/// `POST /dags/{dag_id}/drain`: the button that lets no further run start, or lets them start again.
pub async fn drain(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(dag_id): Path<String>,
    form: PageForm,
) -> PageResult<Response> {
    let (view, _) = lookup_dag(&app, &dag_id).await?;
    let to = if form.text("to") == "draining" { Draining::Draining } else { Draining::Active };
    commands::send(&app, &Command::DrainDag { dag_id: view.dag_id, to }, &who).await?;
    Ok(Redirect::to(safe_next(form.text("back"))).into_response())
}

/// `POST /dags/{dag_id}/favorite`: the star. To mark twice is to mark once.
pub async fn favorite(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(dag_id): Path<String>,
    form: PageForm,
) -> PageResult<Response> {
    let (view, _) = lookup_dag(&app, &dag_id).await?;
    if form.text("to") == "marked" {
        favorites::mark(&app.pool, who.actor(), &who.name, &view.dag_id).await?;
    } else {
        favorites::unmark(&app.pool, who.actor(), &who.name, &view.dag_id).await?;
    }
    Ok(Redirect::to(safe_next(form.text("back"))).into_response())
}
