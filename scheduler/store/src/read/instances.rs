//! Task instances and their tries.

use engine::{TiExtra, TiRow};
use model::{AttemptId, MapIndex, RunKey, TaskIdx, TaskState, TiKey, Timestamp, TryNumber, WorkerId};
use sqlx::{FromRow, PgExecutor};
use uuid::Uuid;

use super::DOING;
use crate::{
    error::{Doing, StoreError},
    rows::code,
};

/// A stored task instance; one without a row is in no state yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// The row, with what its side table has.
    pub row: TiRow,
    /// The name of its worker.
    pub worker: Option<String>,
}

/// A try that was superseded by the next.
#[derive(Debug, Clone, PartialEq)]
pub struct Try {
    /// Its number.
    pub try_number: TryNumber,
    /// How it ended.
    pub state: TaskState,
    /// Its attempt.
    pub attempt: Option<AttemptId>,
    /// The name of its worker.
    pub worker: Option<String>,
    /// Its worker, which has its log.
    pub worker_id: Option<WorkerId>,
    /// When it was given a slot.
    pub queued_at: Option<Timestamp>,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it failed.
    pub reason: Option<String>,
}

/// The stored instances of these runs, by run, task and map index. It is for runs that are looked at whole.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer or a row makes no sense.
pub async fn instances(db: impl PgExecutor<'_>, runs: &[RunKey]) -> Result<Vec<Instance>, StoreError> {
    let runs: Vec<i64> = runs.iter().map(|run| run.get()).collect();
    let rows = sqlx::query_file_as!(InstanceRecord, "queries/read_instances.sql", &runs);
    rows.fetch_all(db).await.doing(DOING)?.into_iter().map(Instance::try_from).collect()
}

/// Those of these instances that have a row, by run, task and map index.
///
/// # Errors
/// As [`instances`].
pub async fn instances_at(
    db: impl PgExecutor<'_>,
    keys: impl IntoIterator<Item = TiKey>,
) -> Result<Vec<Instance>, StoreError> {
    let (mut runs, mut tasks, mut maps) = (Vec::new(), Vec::new(), Vec::new());
    for key in keys {
        runs.push(key.run.get());
        tasks.push(key.task.get());
        maps.push(key.map.get());
    }
    let rows = sqlx::query_file_as!(InstanceRecord, "queries/read_instances_at.sql", &runs, &tasks, &maps);
    rows.fetch_all(db).await.doing(DOING)?.into_iter().map(Instance::try_from).collect()
}

/// The stored instances of these tasks in a run, by task and map index; at most `limit`.
///
/// # Errors
/// As [`instances`].
pub async fn instances_of_tasks(
    db: impl PgExecutor<'_>,
    run: RunKey,
    tasks: &[TaskIdx],
    limit: i64,
) -> Result<Vec<Instance>, StoreError> {
    let tasks: Vec<i32> = tasks.iter().map(|task| task.get()).collect();
    let rows = sqlx::query_file_as!(InstanceRecord, "queries/read_instances_of_tasks.sql", run.get(), &tasks, limit);
    rows.fetch_all(db).await.doing(DOING)?.into_iter().map(Instance::try_from).collect()
}

/// A row of `task_instance` with its side row and the name of its worker.
#[derive(Debug, FromRow)]
pub(super) struct InstanceRecord {
    pub(super) run_id: i64,
    pub(super) task_idx: i32,
    pub(super) map_index: i32,
    try_number: i16,
    state: i16,
    attempt: Option<Uuid>,
    live: bool,
    worker_id: Option<i32>,
    queued_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    max_tries: Option<i16>,
    infrastructure_losses: i16,
    wake_at: Option<Timestamp>,
    exit_code: Option<i32>,
    reason: Option<String>,
    note: Option<String>,
    skips: Option<Vec<i32>>,
    map_length: Option<i32>,
    rendered_map_index: Option<String>,
    first_poke_at: Option<Timestamp>,
    reschedules: i32,
    worker: Option<String>,
}

impl TryFrom<InstanceRecord> for Instance {
    type Error = StoreError;

    fn try_from(row: InstanceRecord) -> Result<Self, StoreError> {
        let extra = TiExtra {
            max_tries: row.max_tries,
            infrastructure_losses: row.infrastructure_losses,
            // Decides about the next loss, and is shown nowhere.
            lost_at: None,
            wake_at: row.wake_at,
            exit_code: row.exit_code,
            reason: row.reason,
            note: row.note,
            skips: row.skips.map(|skips| skips.into_iter().map(TaskIdx).collect()),
            map_length: row.map_length,
            rendered_map_index: row.rendered_map_index,
            first_poke_at: row.first_poke_at,
            reschedules: row.reschedules,
            // Decides about the next attempt that does not begin, and is shown nowhere.
            requeues: 0,
        };
        let stored = TiRow {
            key: TiKey { run: RunKey(row.run_id), task: TaskIdx(row.task_idx), map: MapIndex(row.map_index) },
            try_number: TryNumber(row.try_number),
            state: code(row.state)?,
            attempt: row.attempt.map(AttemptId),
            live: row.live,
            worker: row.worker_id.map(WorkerId),
            queued_at: row.queued_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
            extra,
        };
        Ok(Self { row: stored, worker: row.worker })
    }
}

/// A task of a run in few numbers, however many instances it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskCell {
    /// The run.
    pub run: RunKey,
    /// The task.
    pub task: TaskIdx,
    /// How many rows it has, those of removed instances among them.
    pub rows: i64,
    /// How many instances it has.
    pub instances: i64,
    /// How many of them have succeeded or were skipped.
    pub done: i64,
    /// How many of them have failed, or what is before them has.
    pub failed: i64,
    /// How many of them have a slot.
    pub active: i64,
    /// The gravest of their states.
    pub state: TaskState,
    /// The highest of their tries.
    pub try_number: TryNumber,
    /// When the first of them was given a slot.
    pub queued_at: Option<Timestamp>,
    /// When the first of them started.
    pub started_at: Option<Timestamp>,
    /// When the last of them ended.
    pub ended_at: Option<Timestamp>,
}

/// The tasks of these runs that have a row.
///
/// # Errors
/// As [`instances`].
pub async fn task_cells(db: impl PgExecutor<'_>, runs: &[RunKey]) -> Result<Vec<TaskCell>, StoreError> {
    let runs: Vec<i64> = runs.iter().map(|run| run.get()).collect();
    let rows = sqlx::query_file_as!(CellRecord, "queries/read_cells.sql", &runs).fetch_all(db).await.doing(DOING)?;
    let cell = |one: CellRecord| {
        Ok(TaskCell {
            run: RunKey(one.run_id),
            task: TaskIdx(one.task_idx),
            rows: one.rows,
            instances: one.instances,
            done: one.done,
            failed: one.failed,
            active: one.active,
            state: code(one.state)?,
            try_number: TryNumber(one.try_number),
            queued_at: one.queued_at,
            started_at: one.started_at,
            ended_at: one.ended_at,
        })
    };
    rows.into_iter().map(cell).collect()
}

struct CellRecord {
    run_id: i64,
    task_idx: i32,
    rows: i64,
    instances: i64,
    done: i64,
    failed: i64,
    active: i64,
    state: i16,
    try_number: i16,
    queued_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
}

/// Which is the first instance of a task in a run that is in this state.
///
/// # Errors
/// As [`instances`].
pub async fn instance_of_state(
    db: impl PgExecutor<'_>,
    run: RunKey,
    task: TaskIdx,
    state: TaskState,
) -> Result<Option<MapIndex>, StoreError> {
    let (run, task, state) = (run.get(), task.get(), state.code());
    let found = sqlx::query_file_scalar!("queries/read_instance_of_state.sql", run, task, state);
    Ok(found.fetch_optional(db).await.doing(DOING)?.map(MapIndex))
}

/// The task that failed first in a run, as a list of DAGs tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstFailure {
    /// The run.
    pub run: RunKey,
    /// The task.
    pub task_id: String,
    /// Which of its instances, when it is expanded.
    pub map: MapIndex,
    /// What this one is called.
    pub rendered_map_index: Option<String>,
    /// Why, when it was said.
    pub reason: Option<String>,
    /// Its try.
    pub try_number: TryNumber,
    /// The last try that a failure may lead to, when it is not what the task says.
    pub tries_max: Option<i16>,
}

impl FirstFailure {
    /// The instance as people call it: its task, and of an expanded one which.
    #[must_use]
    pub fn instance(&self) -> String {
        let Self { task_id, map, rendered_map_index, .. } = self;
        match rendered_map_index {
            _ if *map == MapIndex::UNMAPPED => task_id.clone(),
            Some(name) => format!("{task_id} [{name}]"),
            None => format!("{task_id} [{map}]"),
        }
    }
}

/// Of each of these runs the task that failed first, when one did: one walk over each run's rows.
///
/// # Errors
/// As [`instances`].
pub async fn first_failures(db: impl PgExecutor<'_>, runs: &[RunKey]) -> Result<Vec<FirstFailure>, StoreError> {
    let runs: Vec<i64> = runs.iter().map(|run| run.get()).collect();
    let rows = sqlx::query_file!("queries/read_first_failures.sql", &runs).fetch_all(db).await.doing(DOING)?;
    Ok(rows
        .into_iter()
        .map(|row| FirstFailure {
            run: RunKey(row.run_id),
            task_id: row.task_id,
            map: MapIndex(row.map_index),
            rendered_map_index: row.rendered_map_index,
            reason: row.reason,
            try_number: TryNumber(row.try_number),
            tries_max: row.max_tries,
        })
        .collect())
}

/// The superseded tries of an instance, oldest first.
///
/// # Errors
/// As [`instances`].
pub async fn tries(db: impl PgExecutor<'_>, key: TiKey) -> Result<Vec<Try>, StoreError> {
    let (run, task, map) = (key.run.get(), key.task.get(), key.map.get());
    let rows = sqlx::query_file_as!(TryRecord, "queries/read_tries.sql", run, task, map);
    rows.fetch_all(db).await.doing(DOING)?.into_iter().map(Try::try_from).collect()
}

/// The superseded tries of all instances of a run, oldest first within each; at most `limit`.
///
/// # Errors
/// As [`instances`].
pub async fn tries_of_run(db: impl PgExecutor<'_>, run: RunKey, limit: i64) -> Result<Vec<(TiKey, Try)>, StoreError> {
    let rows = sqlx::query_file_as!(TryRecord, "queries/read_tries_of_run.sql", run.get(), limit);
    let rows = rows.fetch_all(db).await.doing(DOING)?.into_iter();
    rows.map(|row| {
        let key = TiKey { run, task: TaskIdx(row.task_idx), map: MapIndex(row.map_index) };
        Ok((key, Try::try_from(row)?))
    })
    .collect()
}

struct TryRecord {
    task_idx: i32,
    map_index: i32,
    try_number: i16,
    state: i16,
    attempt: Option<Uuid>,
    queued_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    reason: Option<String>,
    worker_id: Option<i32>,
    worker: Option<String>,
}

impl TryFrom<TryRecord> for Try {
    type Error = StoreError;

    fn try_from(row: TryRecord) -> Result<Self, StoreError> {
        Ok(Self {
            try_number: TryNumber(row.try_number),
            state: code(row.state)?,
            attempt: row.attempt.map(AttemptId),
            worker: row.worker,
            worker_id: row.worker_id.map(WorkerId),
            queued_at: row.queued_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
            reason: row.reason,
        })
    }
}
