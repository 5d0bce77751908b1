//! Runs: one, the newest of each DAG, and how many are in which state.

use engine::RunRow;
use model::{DagId, DagRunState, DagVersionId, RunId, RunKey, Timestamp};
use sqlx::PgExecutor;

use super::DOING;
use crate::{
    error::{Doing, StoreError},
    rows::{RunRecord, code, corrupt, dag_id as stored_dag_id},
};

/// What the bar of a run shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunBrief {
    /// Its number.
    pub key: RunKey,
    /// Its DAG.
    pub dag_id: DagId,
    /// Its id.
    pub run_id: RunId,
    /// Its state.
    pub state: DagRunState,
    /// The version that it is pinned to.
    pub version: DagVersionId,
    /// The earliest start.
    pub run_after: Timestamp,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// One run.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer or the row makes no sense.
pub async fn run(db: impl PgExecutor<'_>, dag_id: &DagId, run_id: &RunId) -> Result<Option<RunRow>, StoreError> {
    let row = sqlx::query_file_as!(RunRecord, "queries/dag_run_by_id.sql", dag_id.as_str(), run_id.as_str());
    row.fetch_optional(db).await.doing(DOING)?.map(RunRow::try_from).transpose()
}

/// Those of these runs that exist.
///
/// # Errors
/// As [`run`].
pub async fn runs_of(db: impl PgExecutor<'_>, keys: &[RunKey]) -> Result<Vec<RunRow>, StoreError> {
    let keys: Vec<i64> = keys.iter().map(|key| key.get()).collect();
    let rows = sqlx::query_file_as!(RunRecord, "queries/read_runs_of.sql", &keys);
    rows.fetch_all(db).await.doing(DOING)?.into_iter().map(RunRow::try_from).collect()
}

/// Those of these runs that exist, by the ids of their DAGs and their own.
///
/// # Errors
/// As [`run`].
pub async fn runs_named(
    db: impl PgExecutor<'_>,
    names: impl Iterator<Item = (DagId, RunId)>,
) -> Result<Vec<RunRow>, StoreError> {
    let (dags, runs): (Vec<String>, Vec<String>) = names.map(|(dag, run)| (dag.to_string(), run.to_string())).unzip();
    let rows = sqlx::query_file_as!(RunRecord, "queries/dag_run_by_ids.sql", &dags, &runs);
    rows.fetch_all(db).await.doing(DOING)?.into_iter().map(RunRow::try_from).collect()
}

/// Those of these runs that exist, by their ids.
///
/// # Errors
/// As [`run`].
pub async fn runs_known(
    db: impl PgExecutor<'_>,
    names: impl Iterator<Item = (DagId, RunId)>,
) -> Result<Vec<(DagId, RunId)>, StoreError> {
    let (dag_ids, run_ids): (Vec<String>, Vec<String>) =
        names.map(|(dag, run)| (dag.to_string(), run.to_string())).unzip();
    let rows = sqlx::query!(
        "SELECT dag_id, run_id FROM dag_run
         WHERE (dag_id, run_id) IN (SELECT * FROM unnest($1::text[], $2::text[]))",
        &dag_ids,
        &run_ids
    );
    let rows = rows.fetch_all(db).await.doing(DOING)?;
    rows.into_iter()
        .map(|row| Ok((stored_dag_id(&row.dag_id)?, RunId::new(row.run_id).map_err(|error| corrupt(&error))?)))
        .collect()
}

/// The newest runs of each of these DAGs, newest first.
///
/// # Errors
/// As [`run`].
pub async fn recent_runs(
    db: impl PgExecutor<'_>,
    dag_ids: &[DagId],
    per_dag_max: u32,
) -> Result<Vec<RunBrief>, StoreError> {
    let dag_ids: Vec<String> = dag_ids.iter().map(ToString::to_string).collect();
    let rows = sqlx::query_file!("queries/read_recent_runs.sql", &dag_ids, i64::from(per_dag_max))
        .fetch_all(db)
        .await
        .doing(DOING)?;
    rows.into_iter()
        .map(|row| {
            Ok(RunBrief {
                key: RunKey(row.id),
                dag_id: stored_dag_id(&row.dag_id)?,
                run_id: RunId::new(row.run_id).map_err(|error| corrupt(&error))?,
                state: code(row.state)?,
                version: DagVersionId(row.version_id),
                run_after: row.run_after,
                started_at: row.started_at,
                ended_at: row.ended_at,
            })
        })
        .collect()
}

/// The newest run of each of these DAGs.
///
/// # Errors
/// As [`run`].
pub async fn latest_runs(db: impl PgExecutor<'_>, dag_ids: &[DagId]) -> Result<Vec<RunBrief>, StoreError> {
    recent_runs(db, dag_ids, 1).await
}

/// How many runs of a DAG have not ended.
///
/// # Errors
/// As [`run`].
pub async fn active_runs(db: impl PgExecutor<'_>, dag_id: &DagId) -> Result<i64, StoreError> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM dag_run
           WHERE (state IN (0, 1) OR has_leftovers) AND state IN (0, 1) AND dag_id = $1"#,
        dag_id.as_str()
    );
    count.fetch_one(db).await.doing(DOING)
}

/// How many runs each of these DAGs has in each state, ended ones included; states without a run are left out.
///
/// # Errors
/// As [`run`].
pub async fn run_counts(
    db: impl PgExecutor<'_>,
    dag_ids: &[DagId],
) -> Result<Vec<(DagId, DagRunState, i64)>, StoreError> {
    let dag_ids: Vec<String> = dag_ids.iter().map(ToString::to_string).collect();
    let rows = sqlx::query!(
        r#"SELECT dag_id, state, count(*) AS "count!" FROM dag_run WHERE dag_id = ANY ($1) GROUP BY dag_id, state"#,
        &dag_ids
    );
    let rows = rows.fetch_all(db).await.doing(DOING)?;
    rows.into_iter().map(|row| Ok((stored_dag_id(&row.dag_id)?, code(row.state)?, row.count))).collect()
}

/// The runs of the same DAG directly before and after one, by their earliest start.
///
/// # Errors
/// As [`run`].
pub async fn neighbours(db: impl PgExecutor<'_>, run: &RunRow) -> Result<(Option<RunId>, Option<RunId>), StoreError> {
    let row = sqlx::query_file!("queries/read_neighbours.sql", run.dag_id.as_str(), run.run_after, run.key.get())
        .fetch_one(db)
        .await
        .doing(DOING)?;
    let id = |text: Option<String>| text.map(RunId::new).transpose().map_err(|error| corrupt(&error));
    Ok((id(row.before)?, id(row.after)?))
}
