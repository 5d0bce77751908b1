//! What a turn has of assets, as one JSON array a table.

use engine::{AssetEventRow, ConsumedAssetRow, QueuedAssetRow};
use model::{AssetKey, DagId, Timestamp};
use serde::Serialize;

use crate::texts::storable;

#[derive(Serialize)]
pub(super) struct Event {
    id: i64,
    name: String,
    uri: String,
    at: Timestamp,
    extra: Option<String>,
    dag_id: Option<String>,
    run_id: Option<String>,
    task_id: Option<String>,
    map_index: i32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<String>,
}

impl Event {
    pub(super) fn of(row: &AssetEventRow) -> Self {
        let source = row.source.as_ref();
        Self {
            id: row.id,
            name: row.asset.name.to_string(),
            uri: row.asset.uri.to_string(),
            at: row.at,
            extra: (!row.extra.is_empty()).then(|| serde_json::to_string(&row.extra).expect("a JSON object is JSON")),
            dag_id: source.map(|source| source.dag_id.to_string()),
            run_id: source.map(|source| source.run_id.to_string()),
            task_id: source.map(|source| source.task_id.to_string()),
            map_index: source.map_or(model::MapIndex::UNMAPPED.get(), |source| source.map_index.get()),
            aliases: row.aliases.iter().map(storable).collect(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct Queued<'a> {
    #[serde(flatten)]
    entry: Entry<'a>,
    first_event: i64,
    last_event: i64,
    created_at: Timestamp,
    newest_at: Timestamp,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<String>,
}

impl<'a> Queued<'a> {
    pub(super) fn of(row: &'a QueuedAssetRow) -> Self {
        Self {
            entry: Entry::of(&row.dag_id, &row.asset),
            first_event: row.changes.first_event,
            last_event: row.changes.last_event,
            created_at: row.changes.created_at,
            newest_at: row.changes.newest_at,
            aliases: row.changes.aliases.iter().map(storable).collect(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct Entry<'a> {
    dag_id: &'a str,
    name: &'a str,
    uri: &'a str,
}

impl<'a> Entry<'a> {
    pub(super) fn of(dag_id: &'a DagId, asset: &'a AssetKey) -> Self {
        Self { dag_id: dag_id.as_str(), name: asset.name.as_str(), uri: asset.uri.as_str() }
    }
}

#[derive(Serialize)]
pub(super) struct Consumed<'a> {
    run_id: i64,
    #[serde(flatten)]
    entry: Entry<'a>,
    first_event: i64,
    last_event: i64,
}

impl<'a> Consumed<'a> {
    pub(super) fn of(row: &'a ConsumedAssetRow) -> Self {
        Self {
            run_id: row.run.get(),
            entry: Entry::of(&row.dag_id, &row.asset),
            first_event: row.first_event,
            last_event: row.last_event,
        }
    }
}
