//! Runs as tasks of other DAGs see them: by their date, with the states of single tasks.

use std::collections::BTreeMap;

use engine::RunRow;
use model::{DagId, RunKey, TaskId, TaskState, Timestamp};
use sqlx::PgExecutor;

use super::DOING;
use crate::{
    error::{Doing, StoreError},
    rows::{RunRecord, code, corrupt},
};

/// The run of a DAG that stands for a date.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer or the row makes no sense.
pub async fn run_on(db: impl PgExecutor<'_>, dag_id: &DagId, date: Timestamp) -> Result<Option<RunRow>, StoreError> {
    let row = sqlx::query_file_as!(RunRecord, "queries/read_run_on.sql", dag_id.as_str(), date);
    row.fetch_optional(db).await.doing(DOING)?.map(RunRow::try_from).transpose()
}

/// The states of these tasks in a run; tasks that the DAG never had are left out.
///
/// # Errors
/// As [`run_on`].
pub async fn task_states(
    db: impl PgExecutor<'_>,
    dag_id: &DagId,
    run: RunKey,
    tasks: &[TaskId],
) -> Result<BTreeMap<TaskId, TaskState>, StoreError> {
    let tasks: Vec<String> = tasks.iter().map(ToString::to_string).collect();
    let rows = sqlx::query_file!("queries/read_task_states.sql", dag_id.as_str(), run.get(), &tasks)
        .fetch_all(db)
        .await
        .doing(DOING)?;
    let state = |stored: Option<i16>| stored.map_or(Ok(TaskState::NoStatus), code);
    rows.into_iter()
        .map(|row| Ok((TaskId::new(row.task_id).map_err(|error| corrupt(&error))?, state(row.state)?)))
        .collect()
}
