//! XComs, for people.

use model::{MapIndex, RunKey, TaskIdx};
use serde_json::Value;
use sqlx::{PgExecutor, types::Json};

use super::DOING;
use crate::error::{Doing, StoreError};

/// An XCom.
#[derive(Debug, Clone, PartialEq)]
pub struct XComEntry {
    /// The run.
    pub run: RunKey,
    /// The task that left it.
    pub task: TaskIdx,
    /// Its instance.
    pub map: MapIndex,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: Value,
}

/// The XComs of these runs, by run, task, map index and key; of one task when given.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer.
pub async fn xcom_entries(
    db: impl PgExecutor<'_>,
    runs: &[RunKey],
    task: Option<TaskIdx>,
) -> Result<Vec<XComEntry>, StoreError> {
    let runs: Vec<i64> = runs.iter().map(|run| run.get()).collect();
    let rows = sqlx::query_file_as!(XComRecord, "queries/read_xcoms.sql", &runs, task.map(TaskIdx::get))
        .fetch_all(db)
        .await
        .doing(DOING)?;
    let view = |row: XComRecord| XComEntry {
        run: RunKey(row.run_id),
        task: TaskIdx(row.task_idx),
        map: MapIndex(row.map_index),
        key: row.key,
        value: row.value.0,
    };
    Ok(rows.into_iter().map(view).collect())
}

struct XComRecord {
    run_id: i64,
    task_idx: i32,
    map_index: i32,
    key: String,
    value: Json<Value>,
}
