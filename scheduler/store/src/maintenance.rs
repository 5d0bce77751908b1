//! Housekeeping: what nobody reads any more goes, in small steps, between turns of the leader.

use model::{DagId, Epoch};
use sqlx::{Connection, PgConnection};

use crate::{
    bundles,
    connect::Writer,
    error::{Doing, StoreError},
    limit::{self, statement, within},
    notifications, quarantine,
    versions::{ended, fence},
};

/// One step deletes at most so many rows of a table: some 50 ms, for which a turn may wait.
const ROWS_MAX: i64 = 5_000;
/// One step looks for what belongs to so many deleted runs.
const DROPPED_RUNS_MAX: i64 = 500;
/// One step deletes so many runs of a DAG that goes.
const RUNS_MAX: i64 = 2_000;
const DOING: &str = "sweeping old rows";

/// Whether a step has left something for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swept {
    /// Nothing is left to do.
    All,
    /// There may be more.
    Some,
}

/// Deletes answers that are older than a minute, tokens that have expired or were revoked long ago, commands that were put
/// aside a week ago, backfills that are dropped, workers that are gone for a month with their certificates, and forgets which ended
/// runs had a living attempt once these have ended, too; and a few old revisions of bundles: how many.
///
/// # Errors
/// [`StoreError::Deposed`], [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn sweep(writer: &mut Writer, epoch: Epoch) -> Result<u64, StoreError> {
    within(limit::STATEMENT, DOING, async {
        let mut transaction = writer.connection().begin().await.doing(DOING)?;
        let swept = sweep_tables(&mut transaction, epoch).await;
        ended(transaction, swept, DOING).await
    })
    .await
}

async fn sweep_tables(transaction: &mut PgConnection, epoch: Epoch) -> Result<u64, StoreError> {
    fence(transaction, epoch).await?;
    sweep_inbox(transaction).await.doing(DOING)?;
    sweep_tokens(transaction).await.doing(DOING)?;
    sqlx::query_file!("queries/worker_forget.sql", ROWS_MAX).execute(&mut *transaction).await.doing(DOING)?;
    sqlx::query_file!("queries/backfill_sweep.sql", ROWS_MAX).execute(&mut *transaction).await.doing(DOING)?;
    quarantine::sweep(transaction).await?;
    notifications::sweep(transaction).await?;
    let leftovers = sqlx::query_file!("queries/dag_run_forget_leftovers.sql", ROWS_MAX);
    leftovers.execute(&mut *transaction).await.doing(DOING)?;
    bundles::sweep(transaction).await
}

async fn sweep_inbox(transaction: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query_file!("queries/inbox_answer_sweep.sql", ROWS_MAX).execute(&mut *transaction).await?;
    let put_aside = sqlx::query!(
        "DELETE FROM inbox WHERE id = ANY (ARRAY(
             SELECT id FROM inbox WHERE dead_because IS NOT NULL AND sent_at < now() - interval '7 days'
             ORDER BY id LIMIT $1))",
        ROWS_MAX
    );
    put_aside.execute(transaction).await.map(drop)
}

/// A revoked join token is kept so that its holder is told what happened to it; after a quarter nobody asks any more.
async fn sweep_tokens(transaction: &mut PgConnection) -> Result<(), sqlx::Error> {
    let expired = sqlx::query!(
        "DELETE FROM token WHERE jti = ANY (ARRAY(
             SELECT jti FROM token WHERE expires_at < now() ORDER BY expires_at LIMIT $1))",
        ROWS_MAX
    );
    expired.execute(&mut *transaction).await?;
    let revoked = sqlx::query!("DELETE FROM join_token WHERE revoked_at < now() - interval '90 days'");
    revoked.execute(transaction).await.map(drop)
}

/// Deletes a part of what belongs to runs that are gone.
///
/// # Errors
/// [`StoreError::Deposed`], [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn sweep_dropped_runs(writer: &mut Writer, epoch: Epoch) -> Result<Swept, StoreError> {
    within(limit::STATEMENT, DOING, async {
        let mut transaction = writer.connection().begin().await.doing(DOING)?;
        let swept = sweep_some_dropped_runs(&mut transaction, epoch).await;
        ended(transaction, swept, DOING).await
    })
    .await
}

async fn sweep_some_dropped_runs(transaction: &mut PgConnection, epoch: Epoch) -> Result<Swept, StoreError> {
    fence(transaction, epoch).await?;
    let runs = sqlx::query_scalar!("SELECT run_id FROM dropped_run ORDER BY run_id LIMIT $1", DROPPED_RUNS_MAX)
        .fetch_all(&mut *transaction)
        .await
        .doing(DOING)?;
    if runs.is_empty() {
        return Ok(Swept::All);
    }
    let sweep = sqlx::query_file!("queries/dropped_run_sweep.sql", &runs, ROWS_MAX);
    sweep.execute(transaction).await.doing(DOING)?;
    Ok(Swept::Some)
}

/// Deletes a part of a DAG's ended runs, so that what is left of it fits into one turn.
///
/// # Errors
/// [`StoreError::Deposed`], [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn drop_ended_runs(writer: &mut Writer, epoch: Epoch, dag: &DagId) -> Result<Swept, StoreError> {
    const DOING: &str = "deleting a DAG's ended runs";
    let dropped = statement(
        DOING,
        sqlx::query_file_scalar!("queries/dag_run_drop_ended.sql", epoch.get(), dag.as_str(), RUNS_MAX)
            .fetch_one(writer.connection()),
    )
    .await?;
    Ok(if dropped < RUNS_MAX { Swept::All } else { Swept::Some })
}
