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
use store::read::{self, EventFilter, TaskCell, Try, Version, Window};

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
        instances::{TaskOfRun, tries_of},
        lookup::lookup_run,
        run_tasks::{OneTask, RunTasks},
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

    /// Whether it is an instance of this task.
    fn is_of(&self, pos: TaskPos) -> bool {
        self.of.is_some_and(|of| of.pos == pos)
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
    let tasks = RunTasks::read(&app, &run, &version, query.text("unfold")).await?;
    let ask = Ask::WhyRun { dag_id: run.dag_id.clone(), run_id: run.run_id.clone() };
    let (sentence, reasons) = if run.state.is_finished() { (None, Vec::new()) } else { why(&app, ask).await };
    let reasons: BTreeMap<(TaskId, MapIndex), String> =
        reasons.into_iter().map(|why| ((why.task_id, why.map_index), why.sentence)).collect();
    let url = run_url(&run.dag_id, &run.run_id);
    let open = match query.text("task") {
        Some(id) => tasks.named(&app, id, query.map_index()?).await?,
        None => tasks.likely(&app).await?,
    };
    let chosen = Chosen { of: open.as_ref(), run_url: &url };
    let mut past = Past::new();
    for (key, one) in read::tries_of_run(&app.pool, run.key, TRIES_MAX).await? {
        past.entry(key).or_default().push(one);
    }
    let asset_facts = taken_up(&app, &run).await?;
    let gantt = Gantt::of(&run, tasks.tasks.iter().filter_map(|of| of.cell.as_ref()), &past, clock);
    let backfill = read::backfill_of_run(&app.pool, run.key).await?.map(|id| {
        let url = with_query(&with_query(&dag_url(&run.dag_id), "tab", "backfills"), "backfill", &id.to_string());
        Fact::new("backfill", id.to_string()).to(url)
    });
    let print_row = |of: &TaskOfRun| rows::row(of, &chosen, &gantt, &past, &reasons, clock);
    let rows: Vec<Row> = rows_of(&tasks, &chosen, print_row).take(ROWS_MAX).collect();
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
        why: match sentence {
            None => failure(&app, &run, &version).await?,
            said => said,
        },
        before: other(neighbours.0),
        after: other(neighbours.1),
        picture: app.pictures.of(&version).map(|picture| picture.shown(|pos| face(&tasks, pos, &chosen, clock))),
        more: row_count(&tasks).saturating_sub(rows.len()),
        rows,
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

/// The rows of a run: one a task, and of the one that is unfolded one an instance.
fn rows_of<'t>(
    tasks: &'t RunTasks,
    chosen: &'t Chosen<'_>,
    print: impl Fn(&TaskOfRun) -> Row + 't,
) -> impl Iterator<Item = Row> + 't {
    tasks.tasks.iter().flat_map(move |of| match &of.cell {
        Some(cell) if of.instances.is_empty() => {
            vec![rows::folded(tasks.task(of), cell, chosen.is_of(of.pos), chosen.run_url)]
        }
        _ => of.instances.iter().map(&print).collect(),
    })
}

/// How many rows there are, shown or not.
fn row_count(tasks: &RunTasks) -> usize {
    let of_task = |of: &OneTask| match &of.cell {
        Some(cell) if !of.instances.is_empty() => usize::try_from(cell.rows).unwrap_or(usize::MAX),
        _ => 1,
    };
    tasks.tasks.iter().map(of_task).sum()
}

fn stand(run: &RunRow, clock: Clock) -> String {
    match (run.state, run.started_at, run.ended_at) {
        (DagRunState::Running, Some(start), _) => format!("running for {}", words::between(start, clock.now)),
        (DagRunState::Queued, ..) => format!("queued for {}", words::between(run.queued_at, clock.now)),
        (state, Some(start), Some(end)) => format!("{state} after {}", words::between(start, end)),
        (state, ..) => state.to_string(),
    }
}

fn facts(run: &RunRow, version: &Version, tasks: &RunTasks, clock: Clock) -> Vec<Fact> {
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
    let count =
        |part: fn(&TaskCell) -> i64| tasks.tasks.iter().filter_map(|of| of.cell.as_ref()).map(part).sum::<i64>();
    let (done, failed, running) = (count(|cell| cell.done), count(|cell| cell.failed), count(|cell| cell.active));
    let without_row = i64::try_from(tasks.tasks.iter().filter(|of| of.cell.is_none()).count()).unwrap_or(0);
    let rest = count(|cell| cell.instances) + without_row - done - failed - running;
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
async fn failure(app: &App, run: &RunRow, version: &Version) -> ApiResult<Option<String>> {
    let Some(first) = read::first_failures(&app.pool, &[run.key]).await?.pop() else { return Ok(None) };
    let pos = TaskId::new(first.task_id.as_str()).ok().and_then(|id| version.dag.position(&id));
    let tries_max = first.tries_max.or_else(|| pos.map(|pos| tries_of(version.dag.task(pos))));
    let of = tries_max.map(|max| format!(" of {max}")).unwrap_or_default();
    let reason = first.reason.as_deref().unwrap_or("its log has more");
    Ok(Some(format!("{} failed (try {}{of}): {reason}", first.instance(), first.try_number)))
}

/// A task's box on the picture; an expanded task shows its gravest state.
fn face(tasks: &RunTasks, pos: TaskPos, chosen: &Chosen<'_>, clock: Clock) -> Face {
    let of = &tasks.tasks[pos.0];
    let id = tasks.task(of).task_id.as_str();
    let (stand, url) = match (of.only(), &of.cell) {
        (Some(only), _) => (rows::stand(only, clock), chosen.url(only)),
        (None, Some(cell)) => {
            (format!("{} of {} done", cell.done, cell.instances), with_query(chosen.run_url, "unfold", id))
        }
        (None, None) => Default::default(),
    };
    Face { badge: Badge::from(of.state()), stand, full_name: id.to_owned(), url, chosen: chosen.is_of(pos) }
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
