//! The grid of runs and tasks: a column a run, oldest left, a row a task, groups as rows that open.

use std::collections::BTreeMap;

use model::{RunKey, TaskIdx, TaskState};
use schemars::JsonSchema;
use serde::Serialize;
use store::read::{self, RunBrief, TaskCell, Version};

use super::super::{
    dags::{Bar, bars},
    run_url, segment,
    state::Badge,
    words::{self, Clock},
};
use crate::{app::App, error::ApiResult};

/// Height of the tallest bar.
const BAR_HEIGHT: i64 = 58;
/// Distance of two columns.
const COLUMN: i64 = 21;
/// Cells of one page: with more, fewer runs are shown, so that the page stays below 150 KB on its way.
const CELLS_MAX: usize = 12_000;
/// So many runs are shown however many tasks there are.
const RUNS_MIN: usize = 5;

/// The grid.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Grid {
    width: i64,
    longest: Option<String>,
    bars: Vec<Bar>,
    rows: Vec<Row>,
}

/// A task, or a group with its rows.
#[derive(Debug, Serialize, JsonSchema)]
struct Row {
    label: String,
    title: String,
    cells: Vec<Cell>,
    /// Empty for a task.
    rows: Vec<Row>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Cell {
    badge: Badge,
    url: String,
    title: String,
}

/// What a cell is made of.
struct Source<'a> {
    version: &'a Version,
    oldest_first: Vec<&'a RunBrief>,
    stored: BTreeMap<(RunKey, TaskIdx), TaskCell>,
    clock: Clock,
}

/// The grid of the newest runs.
///
/// # Errors
/// When PostgreSQL does not answer.
pub(super) async fn grid(app: &App, version: &Version, newest_first: &[RunBrief], clock: Clock) -> ApiResult<Grid> {
    let fit = (CELLS_MAX / version.dag.tasks.len().max(1)).max(RUNS_MIN);
    let shown = &newest_first[..newest_first.len().min(fit)];
    let keys: Vec<RunKey> = shown.iter().map(|run| run.key).collect();
    let cells = read::task_cells(&app.pool, &keys).await?;
    let stored = cells.into_iter().map(|cell| ((cell.run, cell.task), cell)).collect();
    let source = Source { version, oldest_first: shown.iter().rev().collect(), stored, clock };
    let took =
        |run: &RunBrief| Some((run.ended_at.unwrap_or(clock.now) - run.started_at?).to_std().unwrap_or_default());
    let mut bars = bars(shown, clock, BAR_HEIGHT);
    bars.iter_mut().zip(0..).for_each(|(bar, number)| bar.x = COLUMN * number);
    Ok(Grid {
        width: COLUMN * i64::try_from(shown.len()).unwrap_or(0),
        longest: shown.iter().filter_map(took).max().map(words::duration),
        bars,
        rows: source.rows(None, &(0..version.dag.tasks.len()).collect::<Vec<_>>()),
    })
}

impl Source<'_> {
    /// The rows of the tasks at these positions, all in `group` or in groups inside it.
    fn rows(&self, group: Option<&str>, tasks: &[usize]) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut seen: Vec<&str> = Vec::new();
        for pos in tasks {
            let own = self.version.dag.tasks[*pos].group.as_deref();
            match inner_group(group, own) {
                None => rows.push(self.task(*pos, group)),
                Some(inner) if !seen.contains(&inner) => {
                    seen.push(inner);
                    rows.push(self.group(inner, tasks));
                }
                Some(_) => {}
            }
        }
        rows
    }

    fn task(&self, pos: usize, group: Option<&str>) -> Row {
        let task = &self.version.dag.tasks[pos];
        let id = task.task_id.as_str();
        let short = group.and_then(|group| id.strip_prefix(group)?.strip_prefix('.')).unwrap_or(id);
        Row {
            label: task.task_display_name.as_deref().unwrap_or(short).to_owned(),
            title: id.to_owned(),
            cells: self.oldest_first.iter().map(|run| self.cell(run, pos)).collect(),
            rows: Vec::new(),
        }
    }

    fn group(&self, group: &str, tasks: &[usize]) -> Row {
        let is_inside = |pos: &&usize| {
            let own = self.version.dag.tasks[**pos].group.as_deref();
            own == Some(group) || inner_group(Some(group), own).is_some()
        };
        let members: Vec<usize> = tasks.iter().filter(is_inside).copied().collect();
        let tooltip =
            self.version.dag.groups.iter().find(|one| one.group_id == group).and_then(|one| one.tooltip.clone());
        Row {
            label: group.rsplit('.').next().unwrap_or(group).to_owned(),
            title: tooltip.unwrap_or_else(|| format!("group {group}")),
            cells: self.oldest_first.iter().map(|run| self.summary(run, group, &members)).collect(),
            rows: self.rows(Some(group), &members),
        }
    }

    fn cell(&self, run: &RunBrief, pos: usize) -> Cell {
        let task = &self.version.dag.tasks[pos];
        let stored = self.stored(run, pos);
        let state = stored.map_or(TaskState::NoStatus, |cell| cell.state);
        let badge = Badge::from(state);
        let mut words = vec![task.task_id.to_string(), self.clock.day(run.run_after), badge.word.to_owned()];
        if let Some(cell) = stored {
            if cell.instances > 1 {
                words.push(format!("{} of {} done", cell.done, cell.instances));
            } else if cell.try_number.get() > 0 {
                words.push(format!("try {}", cell.try_number));
            }
            words.extend(cell.started_at.zip(cell.ended_at).map(|(start, end)| words::between(start, end)));
        }
        let url = format!("{}/tasks/{}", run_url(&run.dag_id, &run.run_id), segment(task.task_id.as_str()));
        Cell { badge, url, title: words.join(" · ") }
    }

    /// A group shows the gravest state of its tasks.
    fn summary(&self, run: &RunBrief, group: &str, members: &[usize]) -> Cell {
        let state_of = |pos: &usize| self.stored(run, *pos).map_or(TaskState::NoStatus, |cell| cell.state);
        let states: Vec<TaskState> = members.iter().map(state_of).collect();
        let gravest = states.iter().copied().max_by_key(|state| gravity(*state)).unwrap_or(TaskState::NoStatus);
        let done = states.iter().filter(|state| state.is_success_like()).count();
        let badge = Badge::from(gravest);
        let title =
            format!("{group} · {} · {} · {done} of {} done", self.clock.day(run.run_after), badge.word, states.len());
        Cell { badge, url: run_url(&run.dag_id, &run.run_id), title }
    }

    fn stored(&self, run: &RunBrief, pos: usize) -> Option<&TaskCell> {
        self.stored.get(&(run.key, self.version.task_idx[pos]))
    }
}

/// The group directly inside `outer` that holds `own`; none when `own` is `outer` itself.
fn inner_group<'g>(outer: Option<&str>, own: Option<&'g str>) -> Option<&'g str> {
    let own = own?;
    let inside = match outer {
        None => own,
        Some(outer) => own.strip_prefix(outer)?.strip_prefix('.')?,
    };
    let length = own.len() - inside.len() + inside.find('.').unwrap_or(inside.len());
    Some(&own[..length])
}

/// Which of several states a reader should see.
const fn gravity(state: TaskState) -> u8 {
    match state {
        TaskState::Failed => 9,
        TaskState::UpstreamFailed => 8,
        TaskState::UpForRetry => 7,
        TaskState::Running | TaskState::Restarting => 6,
        TaskState::AwaitingInput => 5,
        TaskState::Deferred | TaskState::UpForReschedule => 4,
        TaskState::Queued | TaskState::Scheduled => 3,
        TaskState::NoStatus => 2,
        TaskState::Success => 1,
        TaskState::Skipped | TaskState::Removed => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_level_by_level() {
        assert_eq!(inner_group(None, Some("a.b.c")), Some("a"));
        assert_eq!(inner_group(Some("a"), Some("a.b.c")), Some("a.b"));
        assert_eq!(inner_group(Some("a.b.c"), Some("a.b.c")), None);
        assert_eq!(inner_group(Some("a"), Some("ab")), None);
        assert_eq!(inner_group(Some("a"), None), None);
    }
}
