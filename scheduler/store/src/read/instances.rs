//! Task instances and their tries.

use engine::{TiExtra, TiRow};
use model::{AttemptId, MapIndex, RunKey, TaskIdx, TaskState, TiKey, Timestamp, TryNumber, WorkerId};
use sqlx::PgExecutor;

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
    /// When it was given a slot.
    pub queued_at: Option<Timestamp>,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it failed.
    pub reason: Option<String>,
}

/// The stored instances of these runs, by run, task and map index.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer or a row makes no sense.
pub async fn instances(db: impl PgExecutor<'_>, runs: &[RunKey]) -> Result<Vec<Instance>, StoreError> {
    let runs: Vec<i64> = runs.iter().map(|run| run.get()).collect();
    let rows = sqlx::query_file!("queries/read_instances.sql", &runs).fetch_all(db).await.doing(DOING)?;
    rows.into_iter()
        .map(|row| {
            let key = TiKey { run: RunKey(row.run_id), task: TaskIdx(row.task_idx), map: MapIndex(row.map_index) };
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
            };
            let stored = TiRow {
                key,
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
            Ok(Instance { row: stored, worker: row.worker })
        })
        .collect()
}

/// How many stored instances of these runs are in which state.
///
/// # Errors
/// As [`instances`].
pub async fn task_counts(
    db: impl PgExecutor<'_>,
    runs: &[RunKey],
) -> Result<Vec<(RunKey, TaskState, i64)>, StoreError> {
    let runs: Vec<i64> = runs.iter().map(|run| run.get()).collect();
    let rows = sqlx::query!(
        r#"SELECT run_id, state, count(*) AS "count!" FROM task_instance WHERE run_id = ANY($1) GROUP BY run_id, state"#,
        &runs
    )
    .fetch_all(db).await.doing(DOING)?;
    rows.into_iter().map(|row| Ok((RunKey(row.run_id), code(row.state)?, row.count))).collect()
}

/// The superseded tries of an instance, oldest first.
///
/// # Errors
/// As [`instances`].
pub async fn tries(db: impl PgExecutor<'_>, key: TiKey) -> Result<Vec<Try>, StoreError> {
    let rows = sqlx::query_file!("queries/read_tries.sql", key.run.get(), key.task.get(), key.map.get())
        .fetch_all(db)
        .await
        .doing(DOING)?;
    rows.into_iter()
        .map(|row| {
            Ok(Try {
                try_number: TryNumber(row.try_number),
                state: code(row.state)?,
                attempt: row.attempt.map(AttemptId),
                worker: row.worker,
                queued_at: row.queued_at,
                started_at: row.started_at,
                ended_at: row.ended_at,
                reason: row.reason,
            })
        })
        .collect()
}

/// The superseded tries of all instances of a run, oldest first within each; at most `limit`.
///
/// # Errors
/// As [`instances`].
pub async fn tries_of_run(db: impl PgExecutor<'_>, run: RunKey, limit: i64) -> Result<Vec<(TiKey, Try)>, StoreError> {
    let rows = sqlx::query_file!("queries/read_tries_of_run.sql", run.get(), limit).fetch_all(db).await.doing(DOING)?;
    rows.into_iter()
        .map(|row| {
            let one = Try {
                try_number: TryNumber(row.try_number),
                state: code(row.state)?,
                attempt: row.attempt.map(AttemptId),
                worker: row.worker,
                queued_at: row.queued_at,
                started_at: row.started_at,
                ended_at: row.ended_at,
                reason: row.reason,
            };
            Ok((TiKey { run, task: TaskIdx(row.task_idx), map: MapIndex(row.map_index) }, one))
        })
        .collect()
}
