//! What will happen in the next hours when nothing goes wrong: runs, pools that are too small, deadlines that are missed.

use std::time::Duration;

use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use engine::ahead::forecast::{Forecast, ForeseenPool, ForeseenRun, HOURS_MAX};
use model::{DagId, RunId};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Frame, Place, dag_url,
    error::PageResult,
    run_url, show as print,
    words::{Clock, Moment, duration, number},
};
use crate::{
    app::App,
    auth::Principal,
    http::query::Query,
    reads::forecasts::{Asked, HOURS},
};

/// Runs that the page lists; the others are counted, and the REST API has them.
const ROWS_MAX: usize = 300;
/// Pools that the page lists.
const POOLS_MAX: usize = 50;
/// Hours that a pool's row tells of.
const HOURS_SHOWN_MAX: usize = 168;
/// What can be chosen.
const CHOICES: [u32; 4] = [6, 24, 72, 168];

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    hours: u32,
    choices: Vec<Choice>,
    until: Moment,
    cut_because: Option<String>,
    misses: Vec<Miss>,
    pools: Vec<Pool>,
    workers: String,
    rows: Vec<Row>,
    /// How many runs there are, in words.
    total: String,
    more: Option<String>,
    assumptions: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Choice {
    word: String,
    url: String,
    chosen: bool,
}

#[derive(Serialize, JsonSchema)]
struct Miss {
    run: Link,
    name: String,
    at: Moment,
}

/// A word and the page that it leads to; none of what is not there yet.
#[derive(Serialize, JsonSchema)]
struct Link {
    label: String,
    url: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Pool {
    name: String,
    slots: String,
    exists: bool,
    occupied: String,
    share: String,
    contended: Option<String>,
    longest: Option<Wait>,
    /// The hours in which something waits, each with what waits.
    busy: Vec<Hour>,
}

#[derive(Serialize, JsonSchema)]
struct Wait {
    label: String,
    url: String,
    secs: String,
}

#[derive(Serialize, JsonSchema)]
struct Hour {
    at: Moment,
    words: String,
}

#[derive(Serialize, JsonSchema)]
struct Row {
    dag: String,
    dag_url: String,
    run: Link,
    run_type: String,
    start: Option<Moment>,
    end: Option<Moment>,
    took: String,
    late: Option<String>,
    state: String,
    is_failed: bool,
    why: Option<String>,
}

/// `GET /forecast?hours=…`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let asked = query.text("hours").and_then(|text| text.parse::<u32>().ok());
    let hours = asked.filter(|hours| (1..=HOURS_MAX).contains(hours)).unwrap_or(HOURS);
    let found = app.forecasts.get(&app.pool, Asked::hours(hours)).await?;
    let frame = Frame::new(&app, &who, Place::Forecast, "Forecast").await?;
    Ok(print(&headers, &view(frame, &found, hours, Clock::of(&who)))?)
}

fn view(frame: Frame, found: &Forecast, hours: u32, clock: Clock) -> View {
    let choice = |choice: u32| Choice {
        word: if choice < 48 { format!("{choice} hours") } else { format!("{} days", choice / 24) },
        url: format!("/forecast?hours={choice}"),
        chosen: choice == hours,
    };
    let rows: Vec<Row> = found.dag_runs.iter().take(ROWS_MAX).map(|run| row(run, clock)).collect();
    let more = found.total_dag_runs.saturating_sub(rows.len());
    let misses = found.deadlines_missed.iter().take(ROWS_MAX);
    View {
        frame,
        hours,
        choices: CHOICES.into_iter().map(choice).collect(),
        until: clock.moment(found.until),
        cut_because: found.cut_because.clone(),
        misses: misses
            .map(|miss| Miss {
                run: link(found, &miss.dag_id, &miss.dag_run_id),
                name: miss.name.clone().unwrap_or_default(),
                at: clock.moment(miss.deadline),
            })
            .collect(),
        pools: found.pools.iter().take(POOLS_MAX).map(|one| pool(one, clock)).collect(),
        workers: workers(found),
        total: number(i64::try_from(found.total_dag_runs).unwrap_or(i64::MAX)),
        more: (more > 0).then(|| number(i64::try_from(more).unwrap_or(i64::MAX))),
        rows,
        assumptions: found.assumptions.clone(),
    }
}

/// A run that is there has a page; one that is foreseen has that of its DAG.
fn link(found: &Forecast, dag: &DagId, run: &RunId) -> Link {
    let known = found.dag_runs.iter().take(ROWS_MAX).find(|one| one.dag_id == *dag && one.dag_run_id == *run);
    let url = match known {
        Some(one) if !one.is_foreseen => run_url(dag, run),
        _ => dag_url(dag),
    };
    Link { label: format!("{dag} · {run}"), url: Some(url) }
}

fn row(run: &ForeseenRun, clock: Clock) -> Row {
    let took = match (run.start_date, run.end_date) {
        (Some(start), Some(end)) => duration((end - start).to_std().unwrap_or_default()),
        _ => String::new(),
    };
    let late = seconds(run.waits_secs);
    let is_failed = run.state == model::DagRunState::Failed;
    Row {
        dag: run.dag_id.to_string(),
        dag_url: dag_url(&run.dag_id),
        run: Link {
            label: run.dag_run_id.to_string(),
            url: (!run.is_foreseen).then(|| run_url(&run.dag_id, &run.dag_run_id)),
        },
        run_type: run.run_type.name().replace('_', " "),
        start: run.start_date.map(|at| clock.moment(at)),
        end: run.end_date.map(|at| clock.moment(at)),
        took,
        late: (late.as_secs() > 0).then(|| duration(late)),
        state: run.state.name().to_owned(),
        is_failed,
        why: run.why.clone(),
    }
}

fn pool(pool: &ForeseenPool, clock: Clock) -> Pool {
    let contended = seconds(pool.contended_secs);
    let busy = pool.hours.iter().filter(|hour| hour.waiting_max > 0).take(HOURS_SHOWN_MAX);
    Pool {
        name: pool.name.clone(),
        slots: pool.slots.map_or_else(|| "no limit".to_owned(), |slots| number(i64::from(slots))),
        exists: pool.exists,
        occupied: number(i64::from(pool.occupied_max)),
        share: pool.occupied_share.map_or_else(String::new, |share| format!("{:.0} %", share * 100.0)),
        contended: (contended.as_secs() > 0).then(|| duration(contended)),
        longest: pool.longest_wait.as_ref().map(|wait| Wait {
            label: format!("{} · {}", wait.dag_id, wait.task_id),
            url: dag_url(&wait.dag_id),
            secs: duration(seconds(wait.secs)),
        }),
        busy: busy
            .map(|hour| Hour {
                at: clock.moment(hour.start),
                words: format!("{} taken, {} waited for", hour.occupied_max, hour.waiting_max),
            })
            .collect(),
    }
}

fn workers(found: &Forecast) -> String {
    let workers = &found.workers;
    let full = seconds(workers.full_secs);
    let full = if full.as_secs() > 0 { format!("; all are taken for {}", duration(full)) } else { String::new() };
    format!(
        "at most {} of the {} slots of {} workers are taken{full}",
        workers.occupied_max, workers.slots, workers.workers
    )
}

fn seconds(secs: f64) -> Duration {
    Duration::try_from_secs_f64(secs).unwrap_or_default()
}
