//! The tasks of a run, a row each: state, name, times, and why it waits or failed.

use std::collections::BTreeMap;

use dag::Task;
use model::{MapIndex, TaskId, TaskState};
use schemars::JsonSchema;
use serde::Serialize;
use store::read::TaskCell;

use super::{
    super::{
        segment,
        state::Badge,
        with_query,
        words::{self, Clock},
    },
    Chosen, Past,
    gantt::{Bar, Gantt},
};
use crate::reads::instances::TaskOfRun;

/// A row.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Row {
    label: String,
    badge: Badge,
    stand: String,
    tries: Option<String>,
    title: String,
    why: Option<String>,
    url: String,
    task_url: String,
    chosen: bool,
    bars: Vec<Bar>,
    clear_url: String,
}

/// The row of a task.
pub(super) fn row(
    of: &TaskOfRun,
    chosen: &Chosen<'_>,
    gantt: &Gantt,
    past: &Past,
    reasons: &BTreeMap<(TaskId, MapIndex), String>,
    clock: Clock,
) -> Row {
    let stored = of.stored.as_ref().map(|stored| &stored.row);
    let reason = reasons.get(&(of.task().task_id.clone(), of.key.map)).cloned();
    let failed = stored.filter(|_| of.state() == TaskState::Failed).and_then(|row| row.extra.reason.clone());
    // A running task's bar says enough.
    let waits = reason.filter(|_| of.state() != TaskState::Running);
    Row {
        label: name(of),
        badge: Badge::from(of.state()),
        stand: stand(of, clock),
        tries: (of.try_number() > 1).then(|| format!("try {}", of.try_number())),
        title: title(of, clock),
        why: waits.or(failed),
        url: chosen.url(of),
        task_url: super::super::task_url(of),
        chosen: chosen.is(of),
        bars: gantt.bars(of, past.get(&of.key).map_or(&[], Vec::as_slice), clock.now),
        clear_url: clear_url(chosen.run_url, of),
    }
}

/// Where an instance is cleared, with what is after it.
#[must_use]
pub fn clear_url(run_url: &str, of: &TaskOfRun) -> String {
    let url = format!("{run_url}/clear?task={}&downstream=1", segment(of.task().task_id.as_str()));
    match of.key.map {
        MapIndex::UNMAPPED => url,
        map => with_query(&url, "map_index", &map.to_string()),
    }
}

/// A task's name, with its number when it was expanded.
#[must_use]
pub fn name(of: &TaskOfRun) -> String {
    match of.rendered_map_index() {
        None => of.task().display_name().to_owned(),
        Some(name) => format!("{} [{name}]", of.task().display_name()),
    }
}

/// The one row of an expanded task that is folded: its gravest state, and how many instances are done.
pub(super) fn folded(task: &Task, cell: &TaskCell, is_chosen: bool, run_url: &str) -> Row {
    let id = task.task_id.as_str();
    let url = with_query(run_url, "unfold", id);
    Row {
        label: format!("{} × {}", task.display_name(), cell.instances),
        stand: format!("{} · {} of {} done", Badge::from(cell.state).word, cell.done, cell.instances),
        badge: Badge::from(cell.state),
        tries: None,
        title: format!("{} instances: open the list", cell.instances),
        why: None,
        task_url: url.clone(),
        url,
        chosen: is_chosen,
        bars: Vec::new(),
        clear_url: format!("{run_url}/clear?task={}&downstream=1", segment(id)),
    }
}

/// How a task stands, in few words.
#[must_use]
pub fn stand(of: &TaskOfRun, clock: Clock) -> String {
    let badge = Badge::from(of.state());
    let row = of.stored.as_ref().map(|stored| &stored.row);
    match (of.state(), row.and_then(|row| row.started_at), row.and_then(|row| row.ended_at)) {
        (TaskState::Running, Some(start), _) => format!("running · {}", words::between(start, clock.now)),
        (TaskState::UpForRetry, ..) => match row.and_then(|row| row.extra.wake_at) {
            Some(at) => format!("retry {}", clock.moment(at).words),
            None => badge.word.to_owned(),
        },
        (state, Some(start), Some(end)) if state.is_finished() => {
            format!("{} · {}", badge.word, words::between(start, end))
        }
        _ => badge.word.to_owned(),
    }
}

/// The exact times of a task's bars.
fn title(of: &TaskOfRun, clock: Clock) -> String {
    let Some(row) = of.stored.as_ref().map(|stored| &stored.row) else { return String::new() };
    let mut parts = Vec::new();
    if let Some((queued, started)) = row.queued_at.zip(row.started_at) {
        parts.push(format!("queued for {}", words::between(queued, started)));
    }
    if let Some((start, end)) = row.started_at.zip(row.ended_at) {
        parts.push(format!("ran for {}", words::between(start, end)));
    }
    parts.extend(row.started_at.map(|at| format!("started {}", clock.moment(at).exact)));
    parts.extend(row.ended_at.map(|at| format!("ended {}", clock.moment(at).exact)));
    parts.join(" · ")
}
