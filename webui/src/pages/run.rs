//! A run's page: how it stands and why, its picture, its times, and the log of one task beside them.

use std::collections::BTreeMap;

use axum::{
    Extension,
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use chrono::Utc;
use engine::RunRow;
use link::query::{LogName, Query as Ask};
use model::{DagRunState, MapIndex, RunType, TaskId, TaskState, Timestamp};
use serde::Serialize;
use store::read::Version;

use super::{
    Frame, Place, dag_url,
    error::PageResult,
    graph::{self, Graph, NODE_HEIGHT, NODE_WIDTH},
    run_log::{self, Line},
    run_url, segment, show as print,
    state::Badge,
    why,
    words::{self, Moment},
};
use crate::{
    api::{logs::attempt_of, lookup_run, query::Query},
    app::App,
    auth::Principal,
    error::{ApiError, ApiResult},
    instances::{self, TaskOfRun},
    logs,
};

/// Width of the picture of times, in its own units.
const GANTT_WIDTH: i64 = 1000;
/// The shortest bar that can be seen.
const BAR_WIDTH_MIN: i64 = 4;
/// Rows of the list of tasks; more are found by the REST API.
const ROWS_MAX: usize = 500;

#[derive(Serialize)]
struct View {
    frame: Frame,
    dag_id: String,
    dag_url: String,
    url: String,
    run_key: i64,
    run_id: String,
    badge: Badge,
    stand: String,
    is_finished: bool,
    facts: Vec<(&'static str, String)>,
    note: Option<String>,
    conf: Option<String>,
    why: Option<String>,
    picture: Option<Picture>,
    rows: Vec<Row>,
    more: usize,
    now_x: Option<i64>,
    log: Option<LogView>,
}

#[derive(Serialize)]
struct Picture {
    graph: Graph,
    nodes: Vec<Node>,
    node_width: i32,
    node_height: i32,
}

#[derive(Serialize)]
struct Node {
    x: i32,
    y: i32,
    badge: Badge,
    name: String,
    stand: String,
    url: String,
    chosen: bool,
    full_name: String,
}

#[derive(Serialize)]
struct Row {
    task_id: String,
    label: String,
    badge: Badge,
    stand: String,
    why: Option<String>,
    url: String,
    chosen: bool,
    bar: Option<GanttBar>,
    clear_url: String,
}

#[derive(Serialize)]
struct GanttBar {
    x: i64,
    width: i64,
}

#[derive(Serialize)]
struct LogView {
    task_id: String,
    label: String,
    badge: Badge,
    tries: Vec<TryLink>,
    lines: Vec<Line>,
    note: Option<String>,
    follow_url: Option<String>,
    offset: u64,
    details: Vec<(&'static str, String)>,
}

#[derive(Serialize)]
struct TryLink {
    number: i16,
    url: String,
    chosen: bool,
}

/// `GET /dags/{dag_id}/runs/{run_id}?task=…&map_index=…&try=…`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path((dag_id, run_id)): Path<(String, String)>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let now = Utc::now();
    let run = lookup_run(&app, &dag_id, &run_id).await?;
    let version = app.versions.one(&app.pool, run.version).await?;
    let tasks = instances::of_runs(&app, vec![run.clone()]).await?;
    let ask = Ask::WhyRun { dag_id: run.dag_id.clone(), run_id: run.run_id.clone() };
    let (why, reasons) = if run.state.is_finished() { (None, Vec::new()) } else { why(&app, ask).await };
    let reasons: BTreeMap<(TaskId, MapIndex), String> =
        reasons.into_iter().map(|why| ((why.task_id, why.map_index), why.sentence)).collect();
    let url = run_url(&run.dag_id, &run.run_id);
    let chosen = chosen(&tasks, &query);
    let log = match chosen {
        Some(of) => Some(log_of(&app, of, &url, &query, now).await?),
        None => None,
    };
    let scale = Scale::of(&run, &tasks, now);
    let rows = tasks.iter().take(ROWS_MAX).map(|of| row(of, &url, chosen, &scale, &reasons, now)).collect();
    let title = title(&run, now);
    let shown = View {
        frame: Frame::new(&app, &who, Place::Dags, title).await?,
        dag_id: run.dag_id.to_string(),
        dag_url: dag_url(&run.dag_id),
        run_key: run.key.get(),
        run_id: run.run_id.to_string(),
        badge: Badge::from(run.state),
        stand: stand(&run, now),
        is_finished: run.state.is_finished(),
        facts: facts(&run, &version, &tasks, now),
        note: run.note.clone(),
        conf: (!run.conf.is_empty()).then(|| serde_json::to_string_pretty(&run.conf).unwrap_or_default()),
        why: why.or_else(|| failure(&tasks)),
        picture: picture(&version, &tasks, &url, chosen, now),
        rows,
        more: tasks.len().saturating_sub(ROWS_MAX),
        now_x: (!run.state.is_finished() && run.started_at.is_some()).then(|| scale.x(now)),
        log,
        url,
    };
    Ok(print(&headers, "run", &shown)?)
}

/// `manual, 21 November 10:04`.
fn title(run: &RunRow, now: Timestamp) -> String {
    let kind = match run.run_type {
        RunType::Scheduled => "scheduled",
        RunType::Manual => "manual",
        RunType::Backfill => "backfill",
        RunType::OperatorTriggered => "triggered by a task",
        RunType::AssetTriggered => "triggered by an asset",
        RunType::AssetMaterialization => "materialization",
    };
    format!("{kind}, {}", words::day(run.logical_date.unwrap_or(run.run_after), now))
}

fn stand(run: &RunRow, now: Timestamp) -> String {
    match (run.state, run.started_at, run.ended_at) {
        (DagRunState::Running, Some(start), _) => format!("running for {}", words::between(start, now)),
        (DagRunState::Queued, ..) => format!("queued for {}", words::between(run.queued_at, now)),
        (state, Some(start), Some(end)) => format!("{state} after {}", words::between(start, end)),
        (state, ..) => state.to_string(),
    }
}

fn facts(run: &RunRow, version: &Version, tasks: &[TaskOfRun], now: Timestamp) -> Vec<(&'static str, String)> {
    let short = |at: Timestamp| at.format("%-d %b %H:%M").to_string();
    let mut facts = Vec::new();
    if let Some((start, end)) = run.data_interval.filter(|(start, end)| start != end) {
        facts.push(("data interval", format!("{} – {}", short(start), short(end))));
    }
    if let Some(start) = run.started_at {
        facts.push(("started", Moment::new(start, now).exact.trim_end_matches(" UTC").to_owned()));
    }
    if let Some(end) = run.ended_at {
        facts.push(("ended", Moment::new(end, now).words));
    }
    let hash = version.content_hash.get(..7).unwrap_or_default();
    facts.push(("version", format!("{hash} · {}", version.number)));
    facts.push(("triggered by", run.triggered_by.name().replace('_', " ")));
    let count = |fits: fn(TaskState) -> bool| tasks.iter().filter(|of| fits(of.state())).count();
    let done = count(TaskState::is_success_like);
    let failed = count(TaskState::is_failed_like);
    let running = count(|state| matches!(state, TaskState::Running | TaskState::Queued));
    let rest = tasks.len() - done - failed - running;
    let parts = [(done, "done"), (failed, "failed"), (running, "running"), (rest, "wait")];
    let parts: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    facts.push(("tasks", parts.join(", ")));
    if run.clear_number > 0 {
        facts.push(("cleared", words::count(usize::try_from(run.clear_number).unwrap_or(0), "time")));
    }
    facts
}

/// Which task failed first, and why: what a reader of a failed run wants to know.
fn failure(tasks: &[TaskOfRun]) -> Option<String> {
    let failed = tasks.iter().filter(|of| of.state() == TaskState::Failed);
    let first = failed.min_by_key(|of| of.stored.as_ref().and_then(|stored| stored.row.ended_at))?;
    let reason = first.stored.as_ref().and_then(|stored| stored.row.extra.reason.as_deref());
    let tries = format!("try {} of {}", first.try_number(), first.tries_max());
    Some(format!("{} failed ({tries}): {}", first.task().task_id, reason.unwrap_or("its log has more")))
}

/// The task whose log is open: the one of the url, else one that runs, has failed, or ran last.
fn chosen<'a>(tasks: &'a [TaskOfRun], query: &Query) -> Option<&'a TaskOfRun> {
    let map = query.text("map_index").and_then(|text| text.parse().ok()).map_or(MapIndex::UNMAPPED, MapIndex);
    if let Some(id) = query.text("task") {
        return tasks.iter().find(|of| of.task().task_id.as_str() == id && of.key.map == map);
    }
    let of_state = |fits: fn(TaskState) -> bool| tasks.iter().find(|of| fits(of.state()));
    of_state(|state| state == TaskState::Running)
        .or_else(|| of_state(|state| state == TaskState::Failed))
        .or_else(|| tasks.iter().rev().find(|of| of.stored.as_ref().is_some_and(|stored| stored.row.attempt.is_some())))
        .or(tasks.first())
}

/// From instants to places on the picture of times.
struct Scale {
    start: Timestamp,
    micros: i64,
}

impl Scale {
    fn of(run: &RunRow, tasks: &[TaskOfRun], now: Timestamp) -> Self {
        let rows = || tasks.iter().filter_map(|of| of.stored.as_ref()).map(|stored| &stored.row);
        let first = rows().filter_map(|row| row.started_at).chain(run.started_at).min();
        let last = rows().filter_map(|row| row.ended_at).chain(run.ended_at).max();
        let start = first.unwrap_or(now);
        let end = if run.state.is_finished() { last.unwrap_or(now) } else { now };
        Self { start, micros: (end - start).num_microseconds().unwrap_or(i64::MAX).max(1) }
    }

    fn x(&self, at: Timestamp) -> i64 {
        let part = (at - self.start).num_microseconds().unwrap_or(0).clamp(0, self.micros);
        i64::try_from(i128::from(part) * i128::from(GANTT_WIDTH) / i128::from(self.micros)).unwrap_or(GANTT_WIDTH)
    }
}

fn name(of: &TaskOfRun) -> String {
    match of.key.map {
        MapIndex::UNMAPPED => of.task().task_id.to_string(),
        map => format!("{} [{map}]", of.task().task_id),
    }
}

fn address(of: &TaskOfRun, run_url: &str) -> String {
    let task = segment(of.task().task_id.as_str());
    match of.key.map {
        MapIndex::UNMAPPED => format!("{run_url}?task={task}"),
        map => format!("{run_url}?task={task}&map_index={map}"),
    }
}

/// How a task stands, in few words.
fn task_stand(of: &TaskOfRun, now: Timestamp) -> String {
    let badge = Badge::from(of.state());
    let row = of.stored.as_ref().map(|stored| &stored.row);
    match (of.state(), row.and_then(|row| row.started_at), row.and_then(|row| row.ended_at)) {
        (TaskState::Running, Some(start), _) => format!("running · {}", words::between(start, now)),
        (TaskState::UpForRetry, ..) => match row.and_then(|row| row.extra.wake_at) {
            Some(at) => format!("retry {}", Moment::new(at, now).words),
            None => badge.word.to_owned(),
        },
        (state, Some(start), Some(end)) if state.is_finished() => {
            format!("{} · {}", badge.word, words::between(start, end))
        }
        _ => badge.word.to_owned(),
    }
}

fn row(
    of: &TaskOfRun,
    run_url: &str,
    chosen: Option<&TaskOfRun>,
    scale: &Scale,
    reasons: &BTreeMap<(TaskId, MapIndex), String>,
    now: Timestamp,
) -> Row {
    let stored = of.stored.as_ref().map(|stored| &stored.row);
    let bar = stored.and_then(|row| {
        let end = row.ended_at.or((of.state() == TaskState::Running).then_some(now))?;
        let x = scale.x(row.started_at?);
        Some(GanttBar { x: x.min(GANTT_WIDTH - BAR_WIDTH_MIN), width: (scale.x(end) - x).max(BAR_WIDTH_MIN) })
    });
    let reason = reasons.get(&(of.task().task_id.clone(), of.key.map)).cloned();
    let failed = stored.filter(|_| of.state() == TaskState::Failed).and_then(|row| row.extra.reason.clone());
    Row {
        task_id: of.task().task_id.to_string(),
        label: name(of),
        badge: Badge::from(of.state()),
        stand: task_stand(of, now),
        why: reason.or(failed),
        url: address(of, run_url),
        chosen: chosen.is_some_and(|chosen| chosen.key == of.key),
        bar,
        clear_url: format!("{run_url}/clear?task={}&downstream=1", segment(of.task().task_id.as_str())),
    }
}

/// The picture of the DAG; an expanded task shows its worst instance.
fn picture(
    version: &Version,
    tasks: &[TaskOfRun],
    run_url: &str,
    chosen: Option<&TaskOfRun>,
    now: Timestamp,
) -> Option<Picture> {
    /// The longest name that fits a box.
    const NAME_CHARS: usize = 19;
    let graph = graph::layout(&version.dag)?;
    let node = |(pos, (x, y)): (usize, &(i32, i32))| {
        let of_task = tasks.iter().filter(|of| of.pos.0 == pos);
        let of = of_task.max_by_key(|of| (of.state().is_failed_like(), !of.state().is_finished()))?;
        let full_name = of.task().task_id.to_string();
        let name = match full_name.chars().count() {
            ..=NAME_CHARS => full_name.clone(),
            _ => full_name.chars().take(NAME_CHARS - 1).chain(['…']).collect(),
        };
        Some(Node {
            x: *x,
            y: *y,
            badge: Badge::from(of.state()),
            name,
            stand: task_stand(of, now),
            url: address(of, run_url),
            chosen: chosen.is_some_and(|chosen| chosen.key == of.key),
            full_name,
        })
    };
    let nodes = graph.boxes.iter().enumerate().filter_map(node).collect();
    Some(Picture { graph, nodes, node_width: NODE_WIDTH, node_height: NODE_HEIGHT })
}

/// The log of a task's try, its end first: that is what people open it for.
async fn log_of(app: &App, of: &TaskOfRun, run_url: &str, query: &Query, now: Timestamp) -> ApiResult<LogView> {
    let current = of.try_number();
    let number = query.text("try").and_then(|text| text.parse().ok()).unwrap_or(current);
    let base = address(of, run_url);
    let tries = (1..=current)
        .map(|one| TryLink { number: one, url: format!("{base}&try={one}"), chosen: one == number })
        .collect();
    let mut view = LogView {
        task_id: of.task().task_id.to_string(),
        label: name(of),
        badge: Badge::from(of.state()),
        tries,
        lines: Vec::new(),
        note: None,
        follow_url: None,
        offset: 0,
        details: details(of, now),
    };
    let Some(attempt) = attempt_of(app, of, number).await? else {
        view.note = Some(match of.state() {
            TaskState::NoStatus | TaskState::Scheduled => "It has not been started: there is no log yet.".to_owned(),
            _ => "It was decided without running: there is no log.".to_owned(),
        });
        return Ok(view);
    };
    match logs::tail(app, LogName::Attempt(attempt)).await {
        Ok(page) => {
            view.lines = run_log::lines(&page);
            view.offset = page.next;
            if page.lines.is_empty() && page.ended {
                view.note = Some("It wrote nothing.".to_owned());
            }
            if !page.ended {
                let task = segment(of.task().task_id.as_str());
                view.follow_url = Some(format!("{run_url}/log?task={task}&map_index={}&try={number}", of.key.map));
            }
        }
        Err(error @ (ApiError::NotFound(_) | ApiError::NoLeader(_))) => view.note = Some(error.to_string()),
        Err(error) => return Err(error),
    }
    Ok(view)
}

fn details(of: &TaskOfRun, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut details = vec![("operator", of.task().operator.name().to_owned())];
    if let Some(stored) = &of.stored {
        details.push(("try", format!("{} of {}", of.try_number(), of.tries_max())));
        if let Some(start) = stored.row.started_at {
            details.push(("started", Moment::new(start, now).words));
        }
        details.extend(stored.worker.clone().map(|worker| ("worker", worker)));
        details.extend(stored.row.extra.exit_code.map(|code| ("exit code", code.to_string())));
        details.extend(stored.row.extra.reason.clone().map(|reason| ("reason", reason)));
    }
    details
}
