//! Housekeeping: what nobody reads any more goes. The leader calls it about once a minute, between turns.

use model::Epoch;
use sqlx::Connection;

use crate::{
    connect::Writer,
    error::{Doing, StoreError},
    quarantine,
    versions::fence,
};

/// One sweep deletes at most so many rows of a table, so that no turn waits long behind it.
const ROWS_MAX: i64 = 10_000;
/// One sweep deletes what belongs to so many deleted runs: with 1,000 tasks each these are 50,000 rows.
const DROPPED_RUNS_MAX: i64 = 50;
const DOING: &str = "sweeping old rows";

/// Deletes answers that are older than a minute, tokens that have expired, commands that were put aside a week ago, what
/// belongs to deleted runs, and forgets which ended runs had a living attempt once these have ended, too.
///
/// # Errors
/// [`StoreError::Deposed`], [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn sweep(writer: &mut Writer, epoch: Epoch) -> Result<(), StoreError> {
    let mut transaction = writer.connection().begin().await.doing(DOING)?;
    fence(&mut transaction, epoch).await?;
    sqlx::query_file!("queries/inbox_answer_sweep.sql", ROWS_MAX).execute(&mut *transaction).await.doing(DOING)?;
    sqlx::query!("DELETE FROM token WHERE expires_at < now()").execute(&mut *transaction).await.doing(DOING)?;
    sqlx::query!("DELETE FROM inbox WHERE dead_because IS NOT NULL AND sent_at < now() - interval '7 days'")
        .execute(&mut *transaction)
        .await
        .doing(DOING)?;
    quarantine::sweep(&mut transaction).await?;
    sqlx::query_file!("queries/dag_run_forget_leftovers.sql").execute(&mut *transaction).await.doing(DOING)?;
    let dropped = sqlx::query_scalar!("SELECT run_id FROM dropped_run ORDER BY run_id LIMIT $1", DROPPED_RUNS_MAX)
        .fetch_all(&mut *transaction)
        .await
        .doing(DOING)?;
    sqlx::query_file!("queries/dropped_run_sweep.sql", &dropped).execute(&mut *transaction).await.doing(DOING)?;
    transaction.commit().await.doing(DOING)
}
