//! A DAG's page: its facts, the grid of its runs and tasks, its tasks, its text and its source.

use std::collections::BTreeMap;

use axum::{
    Extension,
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use chrono::Utc;
use link::Query as Ask;
use model::{DagRunState, RunKey, TaskIdx, TaskState, Timestamp};
use serde::Serialize;
use store::read::{self, RunBrief, Version};

use super::{
    Frame, Place, dag_url,
    dags::{Bar, bars},
    error::PageResult,
    run_url, segment, show as print,
    state::Badge,
    why,
    words::{self, Moment},
};
use crate::{api::lookup_dag, app::App, auth::Principal};

/// How many runs the grid shows.
const RUNS: u32 = 40;
/// Height of the tallest bar of the grid.
const BAR_HEIGHT: i64 = 58;
/// Left edge of the grid's first column, beside the names of the tasks.
const GRID_LEFT: i64 = 240;
/// Distance of two columns.
const COLUMN: i64 = 21;
/// Distance of two rows.
const ROW: i64 = 26;
/// Upper edge of the first row, below the bars.
const GRID_TOP: i64 = 76;

#[derive(Serialize)]
struct View {
    frame: Frame,
    dag_id: String,
    url: String,
    description: Option<String>,
    doc: Option<String>,
    tags: Vec<String>,
    owners: String,
    is_paused: bool,
    has_import_errors: bool,
    facts: Vec<(&'static str, String)>,
    why: Option<String>,
    grid: Grid,
    tasks: Vec<TaskRow>,
    source: String,
    fileloc: String,
    version: String,
}

#[derive(Serialize)]
struct Grid {
    width: i64,
    height: i64,
    longest: Option<String>,
    bars: Vec<Bar>,
    rows: Vec<GridRow>,
}

#[derive(Serialize)]
struct GridRow {
    task_id: String,
    y: i64,
    cells: Vec<Cell>,
}

#[derive(Serialize)]
struct Cell {
    x: i64,
    badge: Badge,
    url: String,
    label: String,
}

#[derive(Serialize)]
struct TaskRow {
    task_id: String,
    operator: &'static str,
    after: String,
    rule: &'static str,
    retries: u16,
    pool: String,
}

/// `GET /dags/{dag_id}`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
) -> PageResult<Response> {
    let now = Utc::now();
    let (view, version) = lookup_dag(&app, &dag_id).await?;
    let dag = &version.dag;
    let runs = read::recent_runs(&app.pool, std::slice::from_ref(&view.dag_id), RUNS).await?;
    let keys: Vec<RunKey> = runs.iter().map(|run| run.key).collect();
    let states: BTreeMap<(RunKey, TaskIdx), TaskState> = read::instances(&app.pool, &keys)
        .await?
        .into_iter()
        .map(|one| ((one.row.key.run, one.row.key.task), one.row.state))
        .collect();
    let (why, _) = why(&app, Ask::WhyDag { dag_id: view.dag_id.clone() }).await;
    let next = view.next.filter(|_| !view.is_paused).map(|next| Moment::new(next.run_after, now));
    let shown = View {
        frame: Frame::new(&app, &who, Place::Dags, dag.dag_id.to_string()).await?,
        dag_id: dag.dag_id.to_string(),
        url: dag_url(&dag.dag_id),
        description: dag.description.clone(),
        doc: dag.doc_md.clone(),
        tags: dag.tags.clone(),
        owners: dag.owners.join(", "),
        is_paused: view.is_paused,
        has_import_errors: view.has_import_errors,
        facts: facts(&version, &runs, next.as_ref(), now),
        why,
        grid: grid(&version, &runs, &states, now),
        tasks: tasks(&version),
        source: read::canonical_yaml(&app.pool, view.current).await?.unwrap_or_default(),
        fileloc: view.fileloc,
        version: format!("{} · {}", version.content_hash.get(..7).unwrap_or_default(), version.number),
    };
    Ok(print(&headers, "dag", &shown)?)
}

fn facts(version: &Version, runs: &[RunBrief], next: Option<&Moment>, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut facts = vec![("schedule", words::schedule(&version.dag.schedule))];
    facts.push(("next run", next.map_or_else(|| "none".to_owned(), |next| next.words.clone())));
    let success = runs.iter().find(|run| run.state == DagRunState::Success);
    if let Some((start, end)) = success.and_then(|run| run.started_at.zip(run.ended_at)) {
        facts.push(("last success", format!("{} · {}", Moment::new(end, now).words, words::between(start, end))));
    }
    let ended: Vec<_> = runs.iter().filter(|run| run.state.is_finished()).collect();
    if !ended.is_empty() {
        let good = ended.iter().filter(|run| run.state == DagRunState::Success).count();
        facts.push(("success", format!("{good} of the last {}", ended.len())));
    }
    facts.push(("runs at once", version.dag.max_active_runs.to_string()));
    facts
}

fn grid(
    version: &Version,
    newest_first: &[RunBrief],
    states: &BTreeMap<(RunKey, TaskIdx), TaskState>,
    now: Timestamp,
) -> Grid {
    let took = |run: &RunBrief| Some((run.ended_at.unwrap_or(now) - run.started_at?).to_std().unwrap_or_default());
    let column = |number: usize| GRID_LEFT + i64::try_from(number).unwrap_or(0) * COLUMN;
    let mut bars = bars(newest_first, now, BAR_HEIGHT);
    bars.iter_mut().enumerate().for_each(|(number, bar)| bar.x = column(number));
    let rows = version.dag.tasks.iter().zip(&version.task_idx).enumerate();
    let rows: Vec<GridRow> = rows
        .map(|(number, (task, index))| GridRow {
            task_id: task.task_id.to_string(),
            y: GRID_TOP + i64::try_from(number).unwrap_or(0) * ROW,
            cells: newest_first
                .iter()
                .rev()
                .enumerate()
                .map(|(at, run)| {
                    let badge = Badge::from(states.get(&(run.key, *index)).copied().unwrap_or(TaskState::NoStatus));
                    Cell {
                        x: column(at),
                        badge,
                        url: format!("{}?task={}", run_url(&run.dag_id, &run.run_id), segment(task.task_id.as_str())),
                        label: format!("{} · {} · {}", task.task_id, words::day(run.run_after, now), badge.word),
                    }
                })
                .collect(),
        })
        .collect();
    Grid {
        width: column(newest_first.len().max(10)) + COLUMN,
        height: GRID_TOP + i64::try_from(rows.len()).unwrap_or(0) * ROW,
        longest: newest_first.iter().filter_map(took).max().map(words::duration),
        bars,
        rows,
    }
}

fn tasks(version: &Version) -> Vec<TaskRow> {
    let dag = &version.dag;
    let row = |task: &dag::Task| TaskRow {
        task_id: task.task_id.to_string(),
        operator: task.operator.name(),
        after: task.upstream.iter().map(|pos| dag.task(*pos).task_id.as_str()).collect::<Vec<_>>().join(", "),
        rule: task.trigger_rule.name(),
        retries: task.retries,
        pool: task.pool.clone(),
    };
    dag.tasks.iter().map(row).collect()
}
