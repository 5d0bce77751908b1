//! Facts that the engine lacks: runs that have ended, and whether an id or a date is taken.

use engine::{Fact, Need, event::PreviousCounts};
use model::{DagId, DagRunState, RunId, RunKey, Timestamp};
use sqlx::PgConnection;

use crate::{
    error::{Doing, StoreError},
    load::load_version,
    rows::{RunRecord, code, corrupt, with_instances},
};

const DOING: &str = "loading a run";

/// Looks up what the engine asked for.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`], [`StoreError::Corrupt`].
pub async fn fact(connection: &mut PgConnection, need: Need) -> Result<Fact, StoreError> {
    let record = match &need {
        Need::Run { dag, run } => run_by_id(connection, dag, run).await?,
        Need::PreviousRun { dag, before, counts } => previous_run(connection, dag, *before, *counts).await?,
        Need::Version(id) => {
            let version = load_version(connection, *id).await?.map(Box::new);
            return Ok(Fact::Version { need, version });
        }
        Need::RunExists { dag, run, logical_date } => {
            let existing = run_exists(connection, dag, run, *logical_date).await?;
            return Ok(Fact::Exists { need, existing });
        }
    };
    let run = with_instances(connection, record.into_iter().collect()).await?.pop().map(Box::new);
    Ok(Fact::Run { need, run })
}

async fn run_by_id(connection: &mut PgConnection, dag: &DagId, run: &RunId) -> Result<Option<RunRecord>, StoreError> {
    sqlx::query_file_as!(RunRecord, "queries/dag_run_by_id.sql", dag.as_str(), run.as_str())
        .fetch_optional(connection)
        .await
        .doing(DOING)
}

async fn previous_run(
    connection: &mut PgConnection,
    dag: &DagId,
    before: Timestamp,
    counts: PreviousCounts,
) -> Result<Option<RunRecord>, StoreError> {
    let manual_too = match counts {
        PreviousCounts::EveryRun => true,
        PreviousCounts::AllButManual => false,
    };
    sqlx::query_file_as!(RunRecord, "queries/dag_run_previous.sql", dag.as_str(), before, manual_too)
        .fetch_optional(connection)
        .await
        .doing(DOING)
}

async fn run_exists(
    connection: &mut PgConnection,
    dag: &DagId,
    run: &RunId,
    logical_date: Option<Timestamp>,
) -> Result<Option<(RunKey, RunId, DagRunState)>, StoreError> {
    let row = sqlx::query_file!("queries/dag_run_exists.sql", dag.as_str(), run.as_str(), logical_date)
        .fetch_optional(connection)
        .await
        .doing(DOING)?;
    row.map(|row| Ok((RunKey(row.id), RunId::new(row.run_id).map_err(|error| corrupt(&error))?, code(row.state)?)))
        .transpose()
}
