//! A run's page: how it stands and why, its picture, its times, and the log of one task beside them.

mod gantt;
mod rows;

use std::collections::BTreeMap;

use axum::{
    Extension,
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use dag::TaskPos;
use engine::RunRow;
use link::query::Query as Ask;
use model::{DagRunState, MapIndex, RunType, TaskId, TaskState, TiKey, masking};
use schemars::JsonSchema;
use serde::Serialize;
use store::read::{self, EventFilter, Try, Version, Window};

use super::{
    Fact, Frame, Place, dag_url,
    error::PageResult,
    picture::{Face, Shown},
    run_log::{self, Pane},
    run_url,
    runs::kind,
    show_live as print,
    state::Badge,
    task_url, why, with_query,
    words::{self, Clock},
};
use crate::{
    app::App,
    auth::Principal,
    error::ApiResult,
    http::query::Query,
    live::{Pace, Subject, Watched, is_fragment},
    reads::{
        instances::{self, TaskOfRun},
        lookup::lookup_run,
    },
};
use gantt::Gantt;
use rows::Row;
pub use rows::{clear_url, name, stand as task_stand};

/// Superseded tries that are drawn; a run with more is not read try by try.
const TRIES_MAX: i64 = 2_000;
/// Rows of the list of tasks; more are found by the REST API.
const ROWS_MAX: usize = 500;

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    /// What pages call the DAG.
    dag_name: String,
    dag_url: String,
    url: String,
    /// What its stream is asked for.
    on: String,
    run_id: String,
    badge: Badge,
    stand: String,
    is_finished: bool,
    facts: Vec<Fact>,
    note: Option<String>,
    conf: Option<String>,
    why: Option<String>,
    why_class: &'static str,
    before: Option<String>,
    after: Option<String>,
    picture: Option<Shown>,
    gantt: Gantt,
    rows: Vec<Row>,
    more: usize,
    log: Option<LogView>,
}

/// The log beside the tasks.
#[derive(Serialize, JsonSchema)]
struct LogView {
    label: String,
    badge: Badge,
    task_url: String,
    /// Changes when the pane has to be fetched anew.
    mark: String,
    pane: Pane,
    details: Vec<Fact>,
}

/// The superseded tries of each task instance.
type Past = BTreeMap<TiKey, Vec<Try>>;

/// So many events of a run by assets are counted.
const EVENTS_MAX: i64 = 1_000;
/// So many of its assets are named.
const ASSETS_SHOWN_MAX: usize = 5;

/// Which task's log is open.
struct Chosen<'a> {
    of: Option<&'a TaskOfRun>,
    run_url: &'a str,
}

impl Chosen<'_> {
    fn is(&self, other: &TaskOfRun) -> bool {
        self.of.is_some_and(|of| of.key == other.key)
    }

    /// The address of the page with another task's log open.
    fn url(&self, of: &TaskOfRun) -> String {
        let url = with_query(self.run_url, "task", of.task().task_id.as_str());
        match of.key.map {
            MapIndex::UNMAPPED => url,
            map => with_query(&url, "map_index", &map.to_string()),
        }
    }
}

/// `GET /dags/{dag_id}/runs/{run_id}?task=…&map_index=…`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id)): Path<(String, String)>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let clock = Clock::of(&who);
    let run = lookup_run(&app, &dag_id, &run_id).await?;
    let version = app.versions.one(&app.pool, run.version).await?;
    let tasks = instances::of_runs(&app, vec![run.clone()]).await?;
    let ask = Ask::WhyRun { dag_id: run.dag_id.clone(), run_id: run.run_id.clone() };
    let (sentence, reasons) = if run.state.is_finished() { (None, Vec::new()) } else { why(&app, ask).await };
    let reasons: BTreeMap<(TaskId, MapIndex), String> =
        reasons.into_iter().map(|why| ((why.task_id, why.map_index), why.sentence)).collect();
    let url = run_url(&run.dag_id, &run.run_id);
    let chosen = Chosen { of: chosen(&tasks, &query)?, run_url: &url };
    let mut past = Past::new();
    for (key, one) in read::tries_of_run(&app.pool, run.key, TRIES_MAX).await? {
        past.entry(key).or_default().push(one);
    }
    let asset_facts = taken_up(&app, &run).await?;
    let gantt = Gantt::of(&run, &tasks, &past, clock);
    let mut by_task: BTreeMap<TaskPos, Vec<&TaskOfRun>> = BTreeMap::new();
    tasks.iter().for_each(|of| by_task.entry(of.pos).or_default().push(of));
    let backfill = read::backfill_of_run(&app.pool, run.key).await?.map(|id| {
        let url = with_query(&with_query(&dag_url(&run.dag_id), "tab", "backfills"), "backfill", &id.to_string());
        Fact::new("backfill", id.to_string()).to(url)
    });
    let shown_rows = rows_of(&by_task, query.text("unfold"));
    let print_row = |of: &TaskOfRun| rows::row(of, &chosen, &gantt, &past, &reasons, clock);
    let neighbours = read::neighbours(&app.pool, &run).await?;
    let other = |id: Option<model::RunId>| id.map(|id| run_url(&run.dag_id, &id));
    let title = format!("{}, {}", kind(run.run_type), clock.day(run.logical_date.unwrap_or(run.run_after)));
    let watched = Watched(Subject::Run(run.dag_id.clone(), run.key), pace(run.state.is_finished()));
    let shown = View {
        frame: Frame::new(&app, &who, Place::Dags, title).await?.about(&who, &run.dag_id),
        dag_name: version.dag.display_name().to_owned(),
        dag_url: dag_url(&run.dag_id),
        on: watched.0.to_string(),
        run_id: run.run_id.to_string(),
        badge: Badge::from(run.state),
        stand: stand(&run, clock),
        is_finished: run.state.is_finished(),
        facts: facts(&run, &version, &tasks, clock).into_iter().chain(backfill).chain(asset_facts).collect(),
        note: run.note.clone(),
        conf: (!run.conf.is_empty())
            .then(|| serde_json::to_string_pretty(&masking::masked_members(&run.conf)).unwrap_or_default()),
        why_class: if sentence.is_some() { Badge::from(run.state) } else { Badge::from(TaskState::Failed) }.class,
        why: sentence.or_else(|| failure(&tasks)),
        before: other(neighbours.0),
        after: other(neighbours.1),
        picture: app.pictures.of(&version).map(|picture| picture.shown(|pos| face(by_task.get(&pos), &chosen, clock))),
        more: shown_rows.len().saturating_sub(ROWS_MAX),
        rows: shown_rows.into_iter().take(ROWS_MAX).map(|row| row.print(&chosen, print_row)).collect(),
        log: match chosen.of {
            Some(of) => Some(log_of(&app, of, !is_fragment(&headers), clock).await?),
            None => None,
        },
        gantt,
        url: url.clone(),
    };
    Ok(print(&headers, &shown, watched)?)
}

/// Times of what goes on are of seconds.
pub const fn pace(is_finished: bool) -> Pace {
    if is_finished { Pace::Rests } else { Pace::Moves }
}

/// What is one row of the list.
enum OneRow<'a> {
    /// A task instance.
    Instance(&'a TaskOfRun),
    /// All instances of a task.
    Folded(&'a [&'a TaskOfRun]),
}

impl OneRow<'_> {
    fn print(&self, chosen: &Chosen<'_>, print: impl Fn(&TaskOfRun) -> Row) -> Row {
        match self {
            Self::Instance(of) => print(of),
            Self::Folded(all) => rows::folded(all, chosen).expect("a task has an instance"),
        }
    }
}

/// The rows of a run: one a task, and of the one that is unfolded one an instance.
fn rows_of<'a>(by_task: &'a BTreeMap<TaskPos, Vec<&'a TaskOfRun>>, unfolded: Option<&str>) -> Vec<OneRow<'a>> {
    let mut rows = Vec::new();
    for instances in by_task.values() {
        let is_open = instances.len() == 1 || instances.iter().any(|of| Some(of.task().task_id.as_str()) == unfolded);
        if is_open {
            rows.extend(instances.iter().copied().map(OneRow::Instance));
        } else {
            rows.push(OneRow::Folded(instances));
        }
    }
    rows
}

fn stand(run: &RunRow, clock: Clock) -> String {
    match (run.state, run.started_at, run.ended_at) {
        (DagRunState::Running, Some(start), _) => format!("running for {}", words::between(start, clock.now)),
        (DagRunState::Queued, ..) => format!("queued for {}", words::between(run.queued_at, clock.now)),
        (state, Some(start), Some(end)) => format!("{state} after {}", words::between(start, end)),
        (state, ..) => state.to_string(),
    }
}

fn facts(run: &RunRow, version: &Version, tasks: &[TaskOfRun], clock: Clock) -> Vec<Fact> {
    let mut facts = Vec::new();
    if let Some((start, end)) = run.data_interval.filter(|(start, end)| start != end) {
        let exact = format!("{} – {}", clock.moment(start).exact, clock.moment(end).exact);
        let words = format!("{} – {}", clock.short(start), clock.short(end));
        facts.push(Fact::new("data interval", words).exactly(exact));
    }
    facts.extend(run.started_at.map(|at| Fact::at("started", clock.stamp(at))));
    facts.extend(run.ended_at.map(|at| Fact::at("ended", clock.moment(at))));
    let hash = version.content_hash.get(..7).unwrap_or_default();
    let code = format!("{}?tab=code&version={}", dag_url(&run.dag_id), version.number);
    facts.push(Fact::new("version", format!("{} · {hash}", version.number)).to(code));
    facts.push(Fact::new("triggered by", run.triggered_by.name().replace('_', " ")));
    let count = |fits: fn(TaskState) -> bool| tasks.iter().filter(|of| fits(of.state())).count();
    let done = count(TaskState::is_success_like);
    let failed = count(TaskState::is_failed_like);
    let running = count(|state| matches!(state, TaskState::Running | TaskState::Queued));
    let rest = tasks.len() - done - failed - running;
    let parts = [(done, "done"), (failed, "failed"), (running, "running"), (rest, "wait")];
    let parts: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    facts.push(Fact::new("tasks", parts.join(", ")));
    if run.clear_number > 0 {
        facts.push(Fact::new("cleared", words::count(usize::try_from(run.clear_number).unwrap_or(0), "time")));
    }
    facts
}

/// The assets by whose change a run was made, each with how many events it has taken up.
async fn taken_up(app: &App, run: &RunRow) -> ApiResult<Vec<Fact>> {
    if run.run_type != RunType::AssetTriggered {
        return Ok(Vec::new());
    }
    let wanted = EventFilter { taken_by: Some(run.key), ..EventFilter::default() };
    let (events, _) = read::asset_events(&app.pool, &wanted, Window { limit: EVENTS_MAX, offset: 0 }).await?;
    let mut by_asset: BTreeMap<i64, (String, usize)> = BTreeMap::new();
    for event in events {
        by_asset.entry(event.asset_id).or_insert_with(|| (event.asset.name.to_string(), 0)).1 += 1;
    }
    let fact = |(id, (name, count))| {
        let words = format!("{name} · {}", words::count(count, "event"));
        Fact::new("took up", words).to(format!("/assets/{id}"))
    };
    Ok(by_asset.into_iter().take(ASSETS_SHOWN_MAX).map(fact).collect())
}

/// Which task failed first, and why: what a reader of a failed run wants to know.
fn failure(tasks: &[TaskOfRun]) -> Option<String> {
    let failed = tasks.iter().filter(|of| of.state() == TaskState::Failed);
    let first = failed.min_by_key(|of| of.stored.as_ref().and_then(|stored| stored.row.ended_at))?;
    let reason = first.stored.as_ref().and_then(|stored| stored.row.extra.reason.as_deref());
    let tries = format!("try {} of {}", first.try_number(), first.tries_max());
    Some(format!("{} failed ({tries}): {}", first.task().task_id, reason.unwrap_or("its log has more")))
}

/// The task whose log is open: the one of the address, else one that runs, has failed, or ran last.
fn chosen<'a>(tasks: &'a [TaskOfRun], query: &Query) -> ApiResult<Option<&'a TaskOfRun>> {
    if let Some(id) = query.text("task") {
        let map = query.map_index()?;
        return Ok(tasks.iter().find(|of| of.task().task_id.as_str() == id && of.key.map == map));
    }
    let of_state = |fits: fn(TaskState) -> bool| tasks.iter().find(|of| fits(of.state()));
    Ok(of_state(|state| state == TaskState::Running)
        .or_else(|| of_state(|state| state == TaskState::Failed))
        .or_else(|| tasks.iter().rev().find(|of| of.stored.as_ref().is_some_and(|stored| stored.row.attempt.is_some())))
        .or(tasks.first()))
}

/// A task's box on the picture; an expanded task shows its worst instance.
fn face(of_task: Option<&Vec<&TaskOfRun>>, chosen: &Chosen<'_>, clock: Clock) -> Face {
    let instances = || of_task.into_iter().flatten().copied();
    let worst = instances().max_by_key(|of| (of.state().is_failed_like(), !of.state().is_finished()));
    match worst {
        Some(of) => Face {
            badge: Badge::from(of.state()),
            stand: rows::stand(of, clock),
            full_name: of.task().task_id.to_string(),
            url: chosen.url(of),
            chosen: instances().any(|of| chosen.is(of)),
        },
        None => Face {
            badge: Badge::from(TaskState::Removed),
            stand: String::new(),
            full_name: String::new(),
            url: String::new(),
            chosen: false,
        },
    }
}

/// The log of a task's current try, its end first: that is what people open it for. The live part of the page prints none.
async fn log_of(app: &App, of: &TaskOfRun, is_printed: bool, clock: Clock) -> ApiResult<LogView> {
    let badge = Badge::from(of.state());
    let mut details = vec![Fact::new("operator", of.task().operator.name())];
    if let Some(stored) = &of.stored {
        details.push(Fact::new("try", format!("{} of {}", of.try_number(), of.tries_max())));
        details.extend(stored.row.started_at.map(|at| Fact::at("started", clock.moment(at))));
        details.extend(stored.worker.clone().map(|worker| Fact::new("worker", worker)));
        details.extend(stored.row.extra.exit_code.map(|code| Fact::new("exit code", code.to_string())));
    }
    Ok(LogView {
        label: rows::name(of),
        badge,
        task_url: task_url(of),
        mark: format!("{}/{}/{}", rows::name(of), of.try_number(), badge.class),
        pane: if is_printed { run_log::pane(app, of, of.try_number(), "", clock).await? } else { Pane::default() },
        details,
    })
}
