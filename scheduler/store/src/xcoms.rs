//! XComs, as attempts read them. They are written by the turn that ends the attempt which left them.

use model::{MapIndex, RunKey, TaskIdx};
use sqlx::PgExecutor;

use crate::error::{Doing, StoreError};

/// The values that a task of a run has left under a key, in the order of their map index; of one instance when given.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn values(
    db: impl PgExecutor<'_>,
    run: RunKey,
    task: TaskIdx,
    map_index: Option<MapIndex>,
    key: &str,
) -> Result<Vec<serde_json::Value>, StoreError> {
    sqlx::query_file_scalar!("queries/xcom_values.sql", run.get(), task.get(), map_index.map(MapIndex::get), key)
        .fetch_all(db)
        .await
        .doing("reading XComs")
}
