//! Assets: events of what tasks have written, and runs of the DAGs that wait for them.
//!
//! **An event** is made by the turn that takes a task's success, and by a command. It is a row of the same plan, so that a crash
//! neither loses nor doubles it. Its number is one more than the last one's: only a leader makes events.
//!
//! **The queue** of a DAG has an entry for each asset that has changed since the DAG's last run by assets: the first and the last
//! event, whatever many there were between them. A paused DAG and one that no file defines collect nothing, as in Airflow.
//!
//! **A run** is made as soon as the DAG's condition holds and its limit allows it, after the event that makes it hold has
//! reached its fixpoint: how many events a turn takes changes nothing. It takes all entries of the queue along, in the plan that
//! makes it; they go with it, so no event lets a DAG run twice.
//!
//! `ripe` has the DAGs whose condition holds and that have no run for it yet: they are paused, or have as many runs as they may.

mod commands;
mod explain;
mod news;
mod queue;
mod serve;

use std::collections::BTreeSet;

use model::{AssetKey, DagId, MapIndex, RunId, RunKey, TaskId, Timestamp};
use serde_json::{Map, Value};

pub(crate) use queue::{Assets, Entry, Queue};
pub(crate) use serve::AssetRun;

/// A row of `asset_event`.
#[derive(Debug, Clone, PartialEq)]
pub struct AssetEventRow {
    /// Its number.
    pub id: i64,
    /// What has changed.
    pub asset: AssetKey,
    /// When.
    pub at: Timestamp,
    /// What consumers are told.
    pub extra: Map<String, Value>,
    /// The task that has changed it; none when somebody said so.
    pub source: Option<AssetSource>,
    /// The aliases through which it was changed.
    pub aliases: BTreeSet<String>,
}

/// The task that has changed an asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetSource {
    /// Its DAG.
    pub dag_id: DagId,
    /// Its run.
    pub run_id: RunId,
    /// The task.
    pub task_id: TaskId,
    /// Which instance of an expanded task.
    pub map_index: MapIndex,
}

/// A row of `asset_queue`: an asset that has changed since a DAG's last run by assets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedAssetRow {
    /// The DAG that waits.
    pub dag_id: DagId,
    /// The asset.
    pub asset: AssetKey,
    /// What happened to it.
    pub changes: Changes,
}

/// The events of an asset that a DAG has not taken up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The first event.
    pub first_event: i64,
    /// The last one.
    pub last_event: i64,
    /// When the first one happened.
    pub created_at: Timestamp,
    /// When the last one happened.
    pub newest_at: Timestamp,
    /// The aliases through which they happened.
    pub aliases: BTreeSet<String>,
}

/// A row of `dag_run_asset`: the events of an asset that a run has taken up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumedAssetRow {
    /// The run.
    pub run: RunKey,
    /// Its DAG.
    pub dag_id: DagId,
    /// The asset.
    pub asset: AssetKey,
    /// The first event.
    pub first_event: i64,
    /// The last one.
    pub last_event: i64,
}
