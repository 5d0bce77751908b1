//! The task instances of runs, whole: stored rows, and for tasks without a row an instance in no state.

use std::{collections::BTreeMap, sync::Arc};

use dag::{Task, TaskPos};
use engine::RunRow;
use model::{MapIndex, RunKey, TaskIdx, TaskState, TiKey};
use store::read::{self, Instance, Version};

use crate::{app::App, error::ApiResult, versions::Versions};

/// A task of a run, stored or not.
#[derive(Debug, Clone)]
pub struct TaskOfRun {
    /// Its run.
    pub run: Arc<RunRow>,
    /// The version that the run is pinned to.
    pub version: Arc<Version>,
    /// The task's position in it.
    pub pos: TaskPos,
    /// Which instance.
    pub key: TiKey,
    /// Its row, if it has one.
    pub stored: Option<Instance>,
}

impl TaskOfRun {
    /// The task's definition.
    #[must_use]
    pub fn task(&self) -> &Task {
        self.version.dag.task(self.pos)
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> TaskState {
        self.stored.as_ref().map_or(TaskState::NoStatus, |stored| stored.row.state)
    }

    /// Its try, 0 before the first.
    #[must_use]
    pub fn try_number(&self) -> i16 {
        self.stored.as_ref().map_or(0, |stored| stored.row.try_number.get())
    }

    /// The last try that a failure may lead to.
    #[must_use]
    pub fn tries_max(&self) -> i16 {
        let own = || i16::try_from(self.task().retries).unwrap_or(i16::MAX).saturating_add(1);
        self.stored.as_ref().and_then(|stored| stored.row.extra.max_tries).unwrap_or_else(own)
    }
}

/// All instances of these runs, run by run in the given order, in each the tasks in topological order.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn of_runs(app: &App, runs: Vec<RunRow>) -> ApiResult<Vec<TaskOfRun>> {
    let keys: Vec<RunKey> = runs.iter().map(|run| run.key).collect();
    let versions = app.versions.all(&app.pool, runs.iter().map(|run| run.version)).await?;
    let mut stored: BTreeMap<(RunKey, TaskIdx), Vec<Instance>> = BTreeMap::new();
    for instance in read::instances(&app.pool, &keys).await? {
        stored.entry((instance.row.key.run, instance.row.key.task)).or_default().push(instance);
    }
    Ok(runs.into_iter().flat_map(|run| of_run(run, &versions, &mut stored)).collect())
}

fn of_run(run: RunRow, versions: &Versions, stored: &mut BTreeMap<(RunKey, TaskIdx), Vec<Instance>>) -> Vec<TaskOfRun> {
    let Some(version) = versions.get(&run.version) else {
        return Vec::new();
    };
    let run = Arc::new(run);
    let mut found = Vec::new();
    for (pos, task) in version.dag.positions().zip(&version.task_idx) {
        let of = |map, stored| TaskOfRun {
            run: Arc::clone(&run),
            version: Arc::clone(version),
            pos,
            key: TiKey { run: run.key, task: *task, map },
            stored,
        };
        match stored.remove(&(run.key, *task)) {
            Some(rows) => found.extend(rows.into_iter().map(|row| of(row.row.key.map, Some(row)))),
            None => found.push(of(MapIndex::UNMAPPED, None)),
        }
    }
    found
}
