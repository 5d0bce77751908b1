//! Clearing: letting task instances run again, and what was touched by it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use engine::RunRow;
use model::{
    Command, MapIndex, RunId, TaskId, TiKey,
    command::{ClearEffect, ClearTaskInstances, ClearVersion},
};
use serde_json::Value;
use store::read::{self, RunFilter};

use super::commands;
use crate::{
    app::App,
    auth::Principal,
    error::ApiResult,
    http::body::map_index_of,
    reads::{
        instances::{self, TaskOfRun},
        preview,
    },
};

/// Instances that an answer describes; `total_entries` counts all. With the ten KiB of each this is 10 MiB.
pub const DESCRIBED_MAX: usize = 10_000;

/// Which version a cleared run goes on with.
#[must_use]
pub const fn version(latest: bool) -> ClearVersion {
    if latest { ClearVersion::Latest } else { ClearVersion::Own }
}

/// The instances that a command touches, or would touch.
#[derive(Debug)]
pub struct Touched {
    /// Of them so many as an answer describes, in the order of the answer.
    pub described: Vec<TaskOfRun>,
    /// How many there are.
    pub count: usize,
}

impl Touched {
    /// These, of which an answer describes the first.
    pub fn of(mut all: Vec<TaskOfRun>) -> Self {
        let count = all.len();
        all.truncate(DESCRIBED_MAX);
        Self { described: all, count }
    }
}

/// Sends a clear and finds the instances that it names; both doors, REST and page, come here. What is only to be told is
/// read, and nobody is asked.
///
/// # Errors
/// What the leader answers.
pub async fn cleared(app: &App, run: RunRow, wish: ClearTaskInstances, who: &Principal) -> ApiResult<Touched> {
    if wish.effect == ClearEffect::DryRun {
        return preview::of_clear(app, &wish).await.map(Touched::of);
    }
    let answer = commands::send(app, &Command::ClearTaskInstances(wish), who).await?;
    named(app, run, &answer).await
}

/// An instance in an answer of the leader.
pub struct Named {
    /// Its run.
    pub run_id: RunId,
    /// Its task.
    pub task_id: TaskId,
    /// Which one of an expanded task.
    pub map: MapIndex,
}

/// The instances that an answer of the leader names, of this run and of others of its DAG.
pub fn names_in(run: &RunRow, answer: &Value) -> Vec<Named> {
    let entries = answer.get("task_instances").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let named = |one: &Value| {
        let run_id = one.get("run_id").and_then(Value::as_str).and_then(|id| RunId::new(id).ok());
        Some(Named {
            run_id: run_id.unwrap_or_else(|| run.run_id.clone()),
            task_id: TaskId::new(one.get("task_id")?.as_str()?).ok()?,
            map: map_index_of(one.get("map_index")),
        })
    };
    entries.iter().filter_map(named).collect()
}

/// The instances that an answer of the leader names.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn named(app: &App, run: RunRow, answer: &Value) -> ApiResult<Touched> {
    let named = names_in(&run, answer);
    described(app, run, &named).await
}

/// So many of them as an answer describes: each is one look at an index.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn described(app: &App, run: RunRow, named: &[Named]) -> ApiResult<Touched> {
    let first = &named[..named.len().min(DESCRIBED_MAX)];
    let runs = runs_of_answer(app, run, first).await?;
    let versions = app.versions.all(&app.pool, runs.values().map(|run| run.version)).await?;
    let key = |of: &Named| {
        let run = runs.get(&of.run_id)?;
        let version = versions.get(&run.version)?;
        let pos = version.dag.position(&of.task_id)?;
        Some(TiKey { run: run.key, task: version.task_idx[pos.0], map: of.map })
    };
    let keys: Vec<TiKey> = first.iter().filter_map(key).collect();
    let by_key = runs.into_values().map(|run| (run.key, Arc::new(run))).collect();
    Ok(Touched { described: instances::at(app, &by_key, &keys).await?, count: named.len() })
}

/// The runs of an answer by their ids.
async fn runs_of_answer(app: &App, run: RunRow, named: &[Named]) -> ApiResult<BTreeMap<RunId, RunRow>> {
    let others: BTreeSet<&RunId> = named.iter().map(|of| &of.run_id).filter(|of| **of != run.run_id).collect();
    let mut runs = BTreeMap::new();
    if !others.is_empty() {
        let filter = RunFilter {
            dag_ids: vec![run.dag_id.clone()],
            run_ids: others.iter().copied().cloned().collect(),
            limit: i64::try_from(others.len()).unwrap_or(i64::MAX),
            ..RunFilter::default()
        };
        runs.extend(read::runs(&app.pool, &filter).await?.0.into_iter().map(|run| (run.run_id.clone(), run)));
    }
    runs.insert(run.run_id.clone(), run);
    Ok(runs)
}
