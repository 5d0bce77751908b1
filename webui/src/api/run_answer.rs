//! Runs, and the DAG versions that they are pinned to, as answers show them.

use std::sync::Arc;

use engine::RunRow;
use model::{DagRunState, Timestamp, masking};
use serde_json::{Map, Value};
use store::read::{Part, Version};

use super::{
    cursor::CursorPage,
    dag_shapes::{DagVersionResponse, dag_version},
    declare::{At, answer, words},
};
use crate::{app::App, error::ApiResult, reads::versions::Versions};

answer! {
    /// A run.
    pub struct DAGRunResponse {
        dag_run_id: String,
        dag_id: String,
        dag_display_name: String,
        logical_date: Option<At>,
        queued_at: Option<At>,
        start_date: Option<At>,
        end_date: Option<At>,
        /// In seconds.
        duration: Option<f64>,
        data_interval_start: Option<At>,
        data_interval_end: Option<At>,
        /// The earliest start.
        run_after: At,
        last_scheduling_decision: Option<At>,
        run_type: words::DagRunType,
        state: words::DagRunState,
        triggered_by: Option<words::DagRunTriggeredByType>,
        triggering_user_name: Option<String>,
        conf: Map<String, Value>,
        note: Option<String>,
        dag_versions: Vec<DagVersionResponse>,
        bundle_version: Option<String>,
        /// There are no partitions yet.
        partition_key: Option<String>,
        partition_date: Option<At>,
    }
}

answer! {
    /// A part of a list of runs.
    pub struct DAGRunCollectionResponse {
        dag_runs: Vec<DAGRunResponse>,
        /// How many there are, as far as they were counted.
        total_entries: i64,
        /// Where the count was ended, when it was.
        total_entries_limit: Option<i64>,
        next_cursor: Option<String>,
        previous_cursor: Option<String>,
    }
}

/// Seconds between two instants.
#[must_use]
pub fn duration(start: Option<Timestamp>, end: Option<Timestamp>) -> Option<f64> {
    let (start, end) = start.zip(end)?;
    Some((end - start).num_microseconds().unwrap_or(i64::MAX) as f64 / 1e6)
}

impl DAGRunResponse {
    /// The answer for a run.
    #[must_use]
    pub fn of(run: &RunRow, version: Option<&Version>) -> Self {
        Self {
            dag_run_id: run.run_id.to_string(),
            dag_id: run.dag_id.to_string(),
            dag_display_name: version.map_or(run.dag_id.as_str(), |version| version.dag.display_name()).to_owned(),
            logical_date: run.logical_date.map(At),
            queued_at: Some(At(run.queued_at)),
            start_date: run.started_at.map(At),
            end_date: run.ended_at.map(At),
            duration: duration(run.started_at, run.ended_at),
            data_interval_start: run.data_interval.map(|(start, _)| At(start)),
            data_interval_end: run.data_interval.map(|(_, end)| At(end)),
            run_after: At(run.run_after),
            last_scheduling_decision: run.ended_at.or(run.started_at).map(At),
            run_type: words::DagRunType(run.run_type),
            state: words::DagRunState(run.state),
            triggered_by: Some(words::DagRunTriggeredByType(run.triggered_by)),
            triggering_user_name: run.triggering_user.clone(),
            conf: masking::masked_members(&run.conf),
            note: run.note.clone(),
            dag_versions: version.map(dag_version).into_iter().collect(),
            bundle_version: version
                .map(|version| version.bundle_version.clone().unwrap_or_else(|| version.content_hash.clone())),
            partition_key: None,
            partition_date: None,
        }
    }

    /// The answer for a run, with its version.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn read(app: &App, run: &RunRow) -> ApiResult<Self> {
        let version = app.versions.one(&app.pool, run.version).await?;
        Ok(Self::of(run, Some(&version)))
    }

    /// The answers for some runs.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn read_all(app: &App, runs: &[RunRow]) -> ApiResult<Vec<Self>> {
        let versions: Versions = app.versions.all(&app.pool, runs.iter().map(|run| run.version)).await?;
        let version = |run: &RunRow| versions.get(&run.version).map(Arc::as_ref);
        Ok(runs.iter().map(|run| Self::of(run, version(run))).collect())
    }
}

impl DAGRunCollectionResponse {
    /// The answer for a part of a list.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn of(app: &App, page: &CursorPage, part: &Part<RunRow>) -> ApiResult<Self> {
        let (next_cursor, previous_cursor) = page.beside(part);
        let answer = Self::whole(DAGRunResponse::read_all(app, &part.rows).await?, part.total.number());
        Ok(Self { total_entries_limit: part.total.limit(), next_cursor, previous_cursor, ..answer })
    }

    /// The answer that has all there is.
    #[must_use]
    pub fn whole(dag_runs: Vec<DAGRunResponse>, total_entries: i64) -> Self {
        Self { dag_runs, total_entries, total_entries_limit: None, next_cursor: None, previous_cursor: None }
    }
}

/// A run as it was when it was made or cleared a moment ago, whatever has become of it since: clients expect to see it
/// queued, and wait from there.
#[must_use]
pub fn as_made(run: RunRow) -> RunRow {
    RunRow { state: DagRunState::Queued, started_at: None, ended_at: None, ..run }
}

/// The same for a run that a command may have cleared, `before` it and now.
#[must_use]
pub fn as_cleared(before: &RunRow, now: RunRow) -> RunRow {
    // One that had not ended goes on as it is.
    let was_reopened = before.state.is_finished() && now.clear_number > before.clear_number;
    if was_reopened { as_made(now) } else { now }
}
