//! Events of assets, for the attempts that ask for them.

use std::collections::{BTreeMap, BTreeSet};

use engine::RunRow;
use link::{AssetEvent, AssetEvents, FetchItem, SourceRun, WhichAssets};
use model::{AssetKey, AssetNews, DagId, RunId, RunKey};
use sqlx::PgPool;
use store::{
    StoreError,
    read::{self, AssetEventView, Direction, EventFilter, EventOrder, Window},
};

/// So many events that a run was made by are told, the newest ones.
const TRIGGERING_MAX: i64 = 1_000;
/// So many of each asset that is an inlet.
const OF_ASSET_MAX: i64 = 100;
/// So many of all inlets together.
const OF_INLETS_MAX: i64 = 1_000;
/// So many inlets are looked at.
const INLETS_MAX: usize = 100;

/// What an attempt of a run may see of events.
pub(super) async fn events(pool: &PgPool, run: RunKey, which: &WhichAssets) -> Result<FetchItem, StoreError> {
    let found = match which {
        WhichAssets::Triggering => {
            let order = vec![(EventOrder::Timestamp, Direction::Descending)];
            let filter = EventFilter { taken_by: Some(run), order, ..EventFilter::default() };
            read::asset_events(pool, &filter, Window { limit: TRIGGERING_MAX, offset: 0 }).await?.0
        }
        WhichAssets::Named(inlets) => {
            let inlets = || inlets.iter().take(INLETS_MAX);
            let aliases: Vec<String> = inlets().filter_map(|inlet| inlet.alias.clone()).collect();
            let keys: Vec<AssetKey> =
                inlets().filter(|inlet| inlet.alias.is_none()).filter_map(AssetNews::key).collect();
            let assets = read::assets_meant(pool, &keys, &aliases).await?;
            read::newest_events(pool, &assets, OF_ASSET_MAX, OF_INLETS_MAX).await?
        }
    };
    Ok(FetchItem::AssetEvents(by_asset(pool, found).await?))
}

/// Events by their asset, each list oldest first.
async fn by_asset(pool: &PgPool, newest_first: Vec<AssetEventView>) -> Result<Vec<AssetEvents>, StoreError> {
    let runs = source_runs(pool, &newest_first).await?;
    let mut found: BTreeMap<(String, String), Vec<AssetEvent>> = BTreeMap::new();
    for view in newest_first.into_iter().rev() {
        let source_dag_run = source_of(&view).and_then(|source| runs.get(&source).cloned());
        let key = (view.asset.name.to_string(), view.asset.uri.to_string());
        found.entry(key).or_default().push(AssetEvent {
            id: view.id,
            timestamp: view.at,
            extra: view.extra,
            source_dag_id: view.source_dag_id,
            source_task_id: view.source_task_id,
            source_run_id: view.source_run_id,
            source_map_index: view.source_map_index,
            source_dag_run,
        });
    }
    Ok(found.into_iter().map(|((name, uri), events)| AssetEvents { name, uri, events }).collect())
}

/// The run that an event comes from.
fn source_of(view: &AssetEventView) -> Option<(DagId, RunId)> {
    DagId::new(view.source_dag_id.as_deref()?).ok().zip(RunId::new(view.source_run_id.as_deref()?).ok())
}

/// The runs that events come from, as far as they are still there.
async fn source_runs(
    pool: &PgPool,
    events: &[AssetEventView],
) -> Result<BTreeMap<(DagId, RunId), SourceRun>, StoreError> {
    let names: BTreeSet<(DagId, RunId)> = events.iter().filter_map(source_of).collect();
    let runs = read::runs_named(pool, names.into_iter()).await?;
    let told = |row: RunRow| {
        let (run_id, logical_date, data_interval) = (row.run_id.clone(), row.logical_date, row.data_interval);
        ((row.dag_id, row.run_id), SourceRun { run_id, logical_date, data_interval })
    };
    Ok(runs.into_iter().map(told).collect())
}
