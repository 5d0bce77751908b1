//! Events of assets, as attempts ask for them.

use model::{AssetNews, RunId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Which events are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhichAssets {
    /// Those that the attempt's run was made by.
    Triggering,
    /// Those of these assets and aliases, the newest ones.
    Named(Vec<AssetNews>),
}

/// The events of an asset, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssetEvents {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub uri: String,
    /// The events.
    pub events: Vec<AssetEvent>,
}

/// An event of an asset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssetEvent {
    /// Its number.
    pub id: i64,
    /// When.
    pub timestamp: Timestamp,
    /// What it says.
    pub extra: Map<String, Value>,
    /// The DAG of the task that has changed the asset; none when somebody said so.
    pub source_dag_id: Option<String>,
    /// The task.
    pub source_task_id: Option<String>,
    /// The run's id.
    pub source_run_id: Option<String>,
    /// Which instance of an expanded task; -1 when it is not expanded.
    pub source_map_index: i32,
    /// The run, while it has not been deleted.
    pub source_dag_run: Option<SourceRun>,
}

/// The run of the task that has changed an asset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceRun {
    /// Its id.
    pub run_id: RunId,
    /// The date that it stands for.
    pub logical_date: Option<Timestamp>,
    /// The data that it covers.
    pub data_interval: Option<(Timestamp, Timestamp)>,
}
