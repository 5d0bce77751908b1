//! What a clear or a mark would touch, told from what is stored: no command is left, nothing is audited, and no turn of the
//! leader is needed. The rule is the engine's own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dag::TaskPos;
use engine::{
    RunRow,
    selection::{self, Maps, Missing, Purpose},
};
use model::{
    DagId, RunId, RunKey, TaskIdx, TaskState, TiKey,
    command::{ClearTaskInstances, MarkTaskInstances, Relatives, TaskSelector},
};
use store::read::{self, Direction, RunFilter, RunOrder, Version};

use crate::{
    app::App,
    error::{ApiError, ApiResult},
    reads::{
        instances::{self, TaskOfRun},
        lookup::lookup_run,
        span::RUNS_MAX,
    },
};

/// More instances than this are not looked at in one request: the list would be read by nobody.
const INSTANCES_MAX: usize = 50_000;

/// What a clear would let run again.
///
/// # Errors
/// [`ApiError::NotFound`] as the leader would answer; [`ApiError::BadRequest`] when too much is meant.
pub async fn of_clear(app: &App, wish: &ClearTaskInstances) -> ApiResult<Vec<TaskOfRun>> {
    let runs = Runs { dag_id: &wish.dag_id, first: &wish.run_id, also: &wish.also };
    let is_meant = |state| selection::is_cleared(state, wish.only);
    meant(app, runs, &wish.tasks, (wish.relatives, Purpose::Clear), is_meant).await
}

/// What a mark would change: the tasks that are not in the state yet.
///
/// # Errors
/// As [`of_clear`].
pub async fn of_mark(app: &App, wish: &MarkTaskInstances) -> ApiResult<Vec<TaskOfRun>> {
    let runs = Runs { dag_id: &wish.dag_id, first: &wish.run_id, also: &wish.also };
    meant(app, runs, &wish.tasks, (wish.relatives, Purpose::Mark), |state| state != wish.state).await
}

/// The runs of a wish.
struct Runs<'a> {
    dag_id: &'a DagId,
    first: &'a RunId,
    also: &'a [RunId],
}

impl Runs<'_> {
    /// Their rows: the first one, then the others by their dates.
    async fn rows(&self, app: &App) -> ApiResult<Vec<RunRow>> {
        let first = lookup_run(app, self.dag_id.as_str(), self.first.as_str()).await?;
        let others: BTreeSet<&RunId> = self.also.iter().filter(|run| *run != self.first).collect();
        if others.is_empty() {
            return Ok(vec![first]);
        }
        let filter = RunFilter {
            dag_ids: vec![self.dag_id.clone()],
            run_ids: others.into_iter().cloned().collect(),
            order: vec![(RunOrder::LogicalDate, Direction::Ascending)],
            limit: RUNS_MAX,
            ..RunFilter::default()
        };
        let (others, _) = read::runs(&app.pool, &filter).await?;
        Ok(std::iter::once(first).chain(others).collect())
    }
}

/// The instances of a run that are meant: of an expanded task those that are stored.
async fn instances_of(app: &App, run: &RunRow, version: &Version, found: selection::Chosen) -> ApiResult<Vec<TiKey>> {
    let number = |pos: TaskPos| version.task_idx[pos.0];
    let may_be_many = |pos: &TaskPos| version.dag.task(*pos).expand.is_some();
    let expanded: Vec<TaskIdx> = found.keys().copied().filter(may_be_many).map(number).collect();
    let mut stored: BTreeMap<TaskIdx, Vec<TiKey>> = BTreeMap::new();
    if !expanded.is_empty() {
        let limit = i64::try_from(INSTANCES_MAX).unwrap_or(i64::MAX) + 1;
        for instance in read::instances_of_tasks(&app.pool, run.key, &expanded, limit).await? {
            stored.entry(instance.row.key.task).or_default().push(instance.row.key);
        }
    }
    let mut keys = Vec::new();
    for (pos, maps) in found {
        match maps {
            Maps::All => match stored.remove(&number(pos)) {
                Some(all) => keys.extend(all),
                None => keys.push(TiKey::unmapped(run.key, number(pos))),
            },
            Maps::Some(maps) => keys.extend(maps.into_iter().map(|map| TiKey { run: run.key, task: number(pos), map })),
        }
    }
    Ok(keys)
}

async fn meant(
    app: &App,
    runs: Runs<'_>,
    tasks: &[TaskSelector],
    along: (Relatives, Purpose),
    is_meant: impl Fn(TaskState) -> bool,
) -> ApiResult<Vec<TaskOfRun>> {
    let rows = runs.rows(app).await?;
    let versions = app.versions.all(&app.pool, rows.iter().map(|run| run.version)).await?;
    let mut chosen: Vec<TiKey> = Vec::new();
    let mut missing = Missing::Refused;
    for run in &rows {
        let Some(version) = versions.get(&run.version).map(Arc::clone) else { continue };
        let found = selection::chosen(&version.dag, |task| version.dag.position(task), tasks, along, missing);
        let found = found.map_err(|error| ApiError::NotFound(error.to_string()))?;
        chosen.extend(instances_of(app, run, &version, found).await?);
        if chosen.len() > INSTANCES_MAX {
            return Err(ApiError::BadRequest(format!(
                "more than {INSTANCES_MAX} task instances are meant: limit the runs by start_date and end_date"
            )));
        }
        // The first run has to have the tasks; the others need not.
        missing = Missing::PassedOver;
    }
    let runs: BTreeMap<RunKey, Arc<RunRow>> = rows.into_iter().map(|run| (run.key, Arc::new(run))).collect();
    let all = instances::at(app, &runs, &chosen).await?;
    Ok(all.into_iter().filter(|of| is_meant(of.state())).collect())
}
