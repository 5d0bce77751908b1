//! The tasks of one run as its page shows them. However many instances a task has, it is read as one row that PostgreSQL has counted;
//! only the task that a reader unfolds is read instance by instance.

use std::{collections::BTreeMap, sync::Arc};

use dag::{Task, TaskPos};
use engine::RunRow;
use model::{MapIndex, TaskId, TaskIdx, TaskState, TiKey};
use store::read::{self, Instance, TaskCell, Version};

use super::instances::{self, Found, TaskOfRun};
use crate::{app::App, error::ApiResult};

/// Instances of the unfolded task that are read; more are found by the REST API.
const UNFOLDED_MAX: i64 = 500;

/// A run with its tasks.
pub struct RunTasks {
    run: Arc<RunRow>,
    version: Arc<Version>,
    /// In topological order.
    pub tasks: Vec<OneTask>,
}

/// A task of a run.
pub struct OneTask {
    /// Where it stands in the version.
    pub pos: TaskPos,
    /// Its rows together; none before its first.
    pub cell: Option<TaskCell>,
    /// Its instances, one in no state when it has no row; none while it is folded.
    pub instances: Vec<TaskOfRun>,
}

impl OneTask {
    /// Its state, the gravest of its instances'.
    #[must_use]
    pub fn state(&self) -> TaskState {
        self.cell.as_ref().map_or(TaskState::NoStatus, |cell| cell.state)
    }

    /// Its only instance; none of an expanded task.
    #[must_use]
    pub fn only(&self) -> Option<&TaskOfRun> {
        self.instances.first().filter(|_| self.cell.as_ref().is_none_or(|cell| cell.rows == 1))
    }

    fn was_tried(&self) -> bool {
        match self.only() {
            Some(of) => of.stored.as_ref().is_some_and(|stored| stored.row.attempt.is_some()),
            None => self.cell.as_ref().is_some_and(|cell| cell.started_at.is_some()),
        }
    }
}

impl RunTasks {
    /// Reads them, with the instances of the task that is unfolded.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn read(app: &App, run: &RunRow, version: &Arc<Version>, unfolded: Option<&str>) -> ApiResult<Self> {
        let cells = read::task_cells(&app.pool, &[run.key]).await?;
        let mut cells: BTreeMap<TaskIdx, TaskCell> = cells.into_iter().map(|cell| (cell.task, cell)).collect();
        let of_one_row: Vec<TaskIdx> = cells.values().filter(|cell| cell.rows == 1).map(|cell| cell.task).collect();
        let limit = i64::try_from(of_one_row.len()).unwrap_or(i64::MAX);
        let mut rows = read::instances_of_tasks(&app.pool, run.key, &of_one_row, limit).await?;
        let unfolded = unfolded.and_then(|id| version.dag.position(&TaskId::new(id).ok()?));
        let unfolded = unfolded.map(|pos| version.task_idx[pos.0]).filter(|task| !of_one_row.contains(task));
        if let Some(task) = unfolded {
            rows.extend(read::instances_of_tasks(&app.pool, run.key, &[task], UNFOLDED_MAX).await?);
        }
        let mut stored: BTreeMap<TaskIdx, Vec<Instance>> = BTreeMap::new();
        for instance in rows {
            stored.entry(instance.row.key.task).or_default().push(instance);
        }
        let mut found = Self { run: Arc::new(run.clone()), version: Arc::clone(version), tasks: Vec::new() };
        for (pos, task) in version.dag.positions().zip(&version.task_idx) {
            let cell = cells.remove(task);
            let rows = stored.remove(task).unwrap_or_default();
            let mut instances: Vec<TaskOfRun> =
                rows.into_iter().map(|row| found.instance(pos, row.row.key.map, Some(row))).collect();
            if cell.is_none() {
                instances.push(found.instance(pos, MapIndex::UNMAPPED, None));
            }
            found.tasks.push(OneTask { pos, cell, instances });
        }
        Ok(found)
    }

    fn instance(&self, pos: TaskPos, map: MapIndex, stored: Option<Instance>) -> TaskOfRun {
        let key = TiKey { run: self.run.key, task: self.version.task_idx[pos.0], map };
        TaskOfRun { run: Arc::clone(&self.run), version: Arc::clone(&self.version), pos, key, stored }
    }

    /// A task's definition.
    #[must_use]
    pub fn task(&self, of: &OneTask) -> &Task {
        self.version.dag.task(of.pos)
    }

    /// The instance that is named; none when the run has none of that name.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn named(&self, app: &App, task_id: &str, map: MapIndex) -> ApiResult<Option<TaskOfRun>> {
        let Ok(task_id) = TaskId::new(task_id) else { return Ok(None) };
        match instances::find(app, (*self.run).clone(), &task_id, map).await? {
            Found::One(of) => Ok(Some(*of)),
            Found::Expanded | Found::Nothing => Ok(None),
        }
    }

    /// The instance that a reader most likely looks for: one that runs, has failed, or ran last.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn likely(&self, app: &App) -> ApiResult<Option<TaskOfRun>> {
        let of_state = |state| self.tasks.iter().find(|of| of.state() == state);
        let task = of_state(TaskState::Running)
            .or_else(|| of_state(TaskState::Failed))
            .or_else(|| self.tasks.iter().rev().find(|of| of.was_tried()))
            .or(self.tasks.first());
        let Some(task) = task else { return Ok(None) };
        if let Some(only) = task.only() {
            return Ok(Some(only.clone()));
        }
        let idx = self.version.task_idx[task.pos.0];
        match read::instance_of_state(&app.pool, self.run.key, idx, task.state()).await? {
            Some(map) => self.named(app, self.task(task).task_id.as_str(), map).await,
            // It has changed meanwhile.
            None => Ok(None),
        }
    }
}
