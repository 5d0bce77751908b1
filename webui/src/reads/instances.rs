//! The task instances of runs, whole: stored rows, and for tasks without a row an instance in no state.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dag::{Task, TaskPos};
use engine::RunRow;
use model::{MapIndex, RunKey, TaskId, TaskIdx, TaskState, TiKey, command::TaskInstanceName};
use store::read::{self, Instance, Listed, Version};

use crate::{app::App, error::ApiResult};

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

    /// How commands name it.
    #[must_use]
    pub fn name(&self) -> TaskInstanceName {
        TaskInstanceName {
            dag_id: self.run.dag_id.clone(),
            run_id: self.run.run_id.clone(),
            task_id: self.task().task_id.clone(),
            map_index: self.key.map,
        }
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> TaskState {
        self.stored.as_ref().map_or(TaskState::NoStatus, |stored| stored.row.state)
    }

    /// What an instance of an expanded task is called: by its `map_index_template`, else by its number.
    #[must_use]
    pub fn rendered_map_index(&self) -> Option<String> {
        let rendered = self.stored.as_ref().and_then(|stored| stored.row.extra.rendered_map_index.clone());
        (self.key.map != MapIndex::UNMAPPED).then(|| rendered.unwrap_or_else(|| self.key.map.to_string()))
    }

    /// Its try, 0 before the first.
    #[must_use]
    pub fn try_number(&self) -> i16 {
        self.stored.as_ref().map_or(0, |stored| stored.row.try_number.get())
    }

    /// The last try that a failure may lead to.
    #[must_use]
    pub fn tries_max(&self) -> i16 {
        self.stored.as_ref().and_then(|stored| stored.row.extra.max_tries).unwrap_or_else(|| tries_of(self.task()))
    }
}

/// How often a task is tried at most, as long as nobody clears it.
#[must_use]
pub fn tries_of(task: &Task) -> i16 {
    i16::try_from(task.retries).unwrap_or(i16::MAX).saturating_add(1)
}

/// Instances of one task that are looked at to find one: an expanded task has so many at most.
const OF_TASK_MAX: i64 = 1_000;

impl TaskOfRun {
    /// An instance of a list, with the run and the version that it belongs to; none when the version has no such task (any
    /// more: the run was cleared onto it).
    #[must_use]
    pub fn listed(run: &Arc<RunRow>, version: &Arc<Version>, listed: Listed) -> Option<Self> {
        let pos = version.position_of(listed.key.task)?;
        let (run, version) = (Arc::clone(run), Arc::clone(version));
        Some(Self { run, version, pos, key: listed.key, stored: listed.stored })
    }
}

/// What a run has of a task.
pub enum Found {
    /// The instance.
    One(Box<TaskOfRun>),
    /// The task was expanded: an instance needs its index.
    Expanded,
    /// Nothing of the kind.
    Nothing,
}

/// One instance of a run: one row is read, and only for one that is missing its task's others.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn find(app: &App, run: RunRow, task: &TaskId, map: MapIndex) -> ApiResult<Found> {
    let version = app.versions.one(&app.pool, run.version).await?;
    let Some(pos) = version.dag.position(task) else { return Ok(Found::Nothing) };
    let key = TiKey { run: run.key, task: version.task_idx[pos.0], map };
    let one = |stored| TaskOfRun { run: Arc::new(run.clone()), version: Arc::clone(&version), pos, key, stored };
    if let Some(row) = read::instances_at(&app.pool, [key]).await?.pop() {
        return Ok(Found::One(Box::new(one(Some(row)))));
    }
    if map != MapIndex::UNMAPPED {
        return Ok(Found::Nothing);
    }
    let others = read::instances_of_tasks(&app.pool, run.key, &[key.task], 1).await?;
    Ok(if others.is_empty() { Found::One(Box::new(one(None))) } else { Found::Expanded })
}

/// The instances of these tasks in a run, in the order of the tasks.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn of_tasks(
    app: &App,
    run: Arc<RunRow>,
    version: Arc<Version>,
    positions: &BTreeSet<TaskPos>,
) -> ApiResult<Vec<TaskOfRun>> {
    let tasks: Vec<TaskIdx> = positions.iter().map(|pos| version.task_idx[pos.0]).collect();
    let limit = OF_TASK_MAX.saturating_mul(i64::try_from(tasks.len()).unwrap_or(1));
    let mut stored: BTreeMap<TaskIdx, Vec<Instance>> = BTreeMap::new();
    for instance in read::instances_of_tasks(&app.pool, run.key, &tasks, limit).await? {
        stored.entry(instance.row.key.task).or_default().push(instance);
    }
    let mut found = Vec::new();
    for (pos, task) in positions.iter().zip(tasks) {
        let of = |map, stored| TaskOfRun {
            run: Arc::clone(&run),
            version: Arc::clone(&version),
            pos: *pos,
            key: TiKey { run: run.key, task, map },
            stored,
        };
        match stored.remove(&task) {
            Some(rows) => found.extend(rows.into_iter().map(|row| of(row.row.key.map, Some(row)))),
            None => found.push(of(MapIndex::UNMAPPED, None)),
        }
    }
    Ok(found)
}

/// The instances with these keys, in the order of the keys; those of runs or tasks that are not there are left out.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn at(app: &App, runs: &BTreeMap<RunKey, Arc<RunRow>>, keys: &[TiKey]) -> ApiResult<Vec<TaskOfRun>> {
    let versions = app.versions.all(&app.pool, runs.values().map(|run| run.version)).await?;
    let rows = read::instances_at(&app.pool, keys.iter().copied()).await?;
    let mut stored: BTreeMap<TiKey, Instance> = rows.into_iter().map(|one| (one.row.key, one)).collect();
    let found = keys.iter().filter_map(|key| {
        let run = runs.get(&key.run)?;
        TaskOfRun::listed(run, versions.get(&run.version)?, Listed { key: *key, stored: stored.remove(key) })
    });
    Ok(found.collect())
}
