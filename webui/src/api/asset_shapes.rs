//! Assets, aliases, events and what is queued, as they are answered.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use store::read::{self, AliasView, AssetEventView, AssetUse, AssetView, EventRun, QueuedView, Visible};

use super::declare::{At, answer};
use crate::{app::App, error::ApiResult};

answer! {
    /// A part of the list of assets.
    pub struct AssetCollectionResponse {
        assets: Vec<AssetResponse>,
        total_entries: usize,
    }
}

answer! {
    /// An asset.
    pub struct AssetResponse {
        id: i64,
        name: String,
        uri: String,
        group: String,
        extra: Option<Map<String, Value>>,
        created_at: At,
        updated_at: At,
        scheduled_dags: Vec<DagScheduleAssetReference>,
        producing_tasks: Vec<TaskOutletAssetReference>,
        consuming_tasks: Vec<TaskInletAssetReference>,
        aliases: Vec<AssetAliasResponse>,
        watchers: Vec<AssetWatcherResponse>,
        last_asset_event: Option<LastAssetEventResponse>,
    }
}

answer! {
    /// A DAG that an asset lets run.
    pub struct DagScheduleAssetReference {
        dag_id: String,
        created_at: At,
        updated_at: At,
    }
}

answer! {
    /// A task that makes an asset.
    pub struct TaskOutletAssetReference {
        dag_id: String,
        task_id: String,
        created_at: At,
        updated_at: At,
    }
}

answer! {
    /// A task that reads an asset.
    pub struct TaskInletAssetReference {
        dag_id: String,
        task_id: String,
        created_at: At,
        updated_at: At,
    }
}

answer! {
    /// Who watches over an asset.
    pub struct AssetWatcherResponse {
        name: String,
        trigger_id: i64,
        created_date: At,
    }
}

answer! {
    /// The newest event of an asset.
    pub struct LastAssetEventResponse {
        id: Option<i64>,
        timestamp: Option<At>,
    }
}

answer! {
    /// A part of the list of aliases.
    pub struct AssetAliasCollectionResponse {
        asset_aliases: Vec<AssetAliasResponse>,
        total_entries: usize,
    }
}

answer! {
    /// Another name of assets.
    pub struct AssetAliasResponse {
        id: i64,
        name: String,
        group: String,
    }
}

answer! {
    /// A part of the list of events.
    pub struct AssetEventCollectionResponse {
        asset_events: Vec<AssetEventResponse>,
        total_entries: usize,
    }
}

answer! {
    /// An event of an asset.
    pub struct AssetEventResponse {
        id: i64,
        asset_id: i64,
        uri: Option<String>,
        name: Option<String>,
        group: Option<String>,
        extra: Option<Map<String, Value>>,
        source_task_id: Option<String>,
        source_dag_id: Option<String>,
        source_run_id: Option<String>,
        source_map_index: i32,
        created_dagruns: Vec<DagRunAssetReference>,
        timestamp: At,
        partition_key: Option<String>,
    }
}

answer! {
    /// A run that an event has made.
    pub struct DagRunAssetReference {
        run_id: String,
        dag_id: String,
        logical_date: Option<At>,
        start_date: At,
        end_date: Option<At>,
        state: String,
        data_interval_start: Option<At>,
        data_interval_end: Option<At>,
        partition_key: Option<String>,
        triggering: bool,
    }
}

answer! {
    /// Events that DAGs have not taken up yet.
    pub struct QueuedEventCollectionResponse {
        queued_events: Vec<QueuedEventResponse>,
        total_entries: usize,
    }
}

answer! {
    /// An event that a DAG has not taken up yet.
    pub struct QueuedEventResponse {
        dag_id: String,
        asset_id: i64,
        created_at: At,
        dag_display_name: String,
    }
}

impl From<AliasView> for AssetAliasResponse {
    fn from(view: AliasView) -> Self {
        Self { id: view.id, name: view.name, group: view.group }
    }
}

/// Assets with everything that is told of each.
pub async fn shaped(app: &App, assets: Vec<AssetView>, visible: &Visible) -> ApiResult<Vec<AssetResponse>> {
    let ids: Vec<i64> = assets.iter().map(|asset| asset.id).collect();
    let facts = read::asset_facts(&app.pool, &ids, visible).await?;
    let shape = |asset: AssetView| {
        let of = |kind| facts.references.iter().filter(move |r| r.asset_id == asset.id && r.kind == kind);
        let last = facts.last_events.get(&asset.id);
        AssetResponse {
            id: asset.id,
            scheduled_dags: of(AssetUse::Waits)
                .map(|r| DagScheduleAssetReference {
                    dag_id: r.dag_id.to_string(),
                    created_at: r.created_at.into(),
                    updated_at: r.updated_at.into(),
                })
                .collect(),
            producing_tasks: of(AssetUse::Writes)
                .map(|r| TaskOutletAssetReference {
                    dag_id: r.dag_id.to_string(),
                    task_id: r.task_id.clone(),
                    created_at: r.created_at.into(),
                    updated_at: r.updated_at.into(),
                })
                .collect(),
            consuming_tasks: of(AssetUse::Reads)
                .map(|r| TaskInletAssetReference {
                    dag_id: r.dag_id.to_string(),
                    task_id: r.task_id.clone(),
                    created_at: r.created_at.into(),
                    updated_at: r.updated_at.into(),
                })
                .collect(),
            aliases: facts.aliases.iter().filter(|(id, _)| *id == asset.id).map(|(_, a)| a.clone().into()).collect(),
            watchers: Vec::new(),
            last_asset_event: Some(LastAssetEventResponse {
                id: last.map(|(id, _)| *id),
                timestamp: last.map(|(_, at)| (*at).into()),
            }),
            name: asset.key.name.into_string(),
            uri: asset.key.uri.into_string(),
            group: asset.group,
            extra: Some(asset.extra.unwrap_or_default()),
            created_at: asset.created_at.into(),
            updated_at: asset.updated_at.into(),
        }
    };
    Ok(assets.into_iter().map(shape).collect())
}

/// Events with the runs that have taken them up.
pub async fn shaped_events(
    app: &App,
    events: Vec<AssetEventView>,
    visible: &Visible,
) -> ApiResult<Vec<AssetEventResponse>> {
    let ids: Vec<i64> = events.iter().map(|event| event.id).collect();
    let mut runs: BTreeMap<i64, Vec<DagRunAssetReference>> = BTreeMap::new();
    for run in read::runs_of_events(&app.pool, &ids, visible).await? {
        runs.entry(run.event_id).or_default().push(run.into());
    }
    let shape = |event: AssetEventView| AssetEventResponse {
        id: event.id,
        asset_id: event.asset_id,
        uri: Some(event.asset.uri.into_string()),
        name: Some(event.asset.name.into_string()),
        group: Some(event.group),
        extra: Some(event.extra),
        source_task_id: event.source_task_id,
        source_dag_id: event.source_dag_id,
        source_run_id: event.source_run_id,
        source_map_index: event.source_map_index,
        created_dagruns: runs.remove(&event.id).unwrap_or_default(),
        timestamp: event.at.into(),
        partition_key: None,
    };
    Ok(events.into_iter().map(shape).collect())
}

impl From<EventRun> for DagRunAssetReference {
    fn from(run: EventRun) -> Self {
        let (start, end) = run.data_interval.unzip();
        Self {
            run_id: run.run_id.to_string(),
            dag_id: run.dag_id.to_string(),
            logical_date: run.logical_date.map(At),
            // Airflow knows none that has not begun.
            start_date: run.started_at.unwrap_or(run.run_after).into(),
            end_date: run.ended_at.map(At),
            state: run.state.to_string(),
            data_interval_start: start.map(At),
            data_interval_end: end.map(At),
            partition_key: None,
            triggering: run.is_last,
        }
    }
}

impl From<QueuedView> for QueuedEventResponse {
    fn from(view: QueuedView) -> Self {
        Self {
            dag_id: view.dag_id.to_string(),
            asset_id: view.asset_id,
            created_at: view.created_at.into(),
            dag_display_name: view.dag_id.to_string(),
        }
    }
}
