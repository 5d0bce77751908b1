//! Events of assets, for the attempts that ask for them.

use std::collections::BTreeMap;

use link::{AssetEvent, AssetEvents, FetchItem, SourceRun, WhichAssets};
use model::{AssetNews, DagId, RunId, RunKey};
use sqlx::PgPool;
use store::{
    StoreError,
    read::{self, AssetEventView, Direction, EventFilter, EventOrder, Visible, Window},
};

/// So many events that a run was made by are told, the newest ones.
const TRIGGERING_MAX: i64 = 1_000;
/// So many of each inlet.
const OF_INLET_MAX: i64 = 100;
/// So many inlets are looked at.
const INLETS_MAX: usize = 100;

/// What an attempt of a run may see of events.
pub(super) async fn events(pool: &PgPool, run: RunKey, which: &WhichAssets) -> Result<FetchItem, StoreError> {
    let newest = EventFilter { order: vec![(EventOrder::Timestamp, Direction::Descending)], ..EventFilter::default() };
    let found = match which {
        WhichAssets::Triggering => {
            let filter = EventFilter { taken_by: Some(run), ..newest };
            read::asset_events(pool, &filter, Window { limit: TRIGGERING_MAX, offset: 0 }).await?.0
        }
        WhichAssets::Named(assets) => {
            let mut found = Vec::new();
            for asset in assets.iter().take(INLETS_MAX) {
                for asset_id in ids_of(pool, asset).await? {
                    let filter = EventFilter { asset_id: Some(asset_id), ..newest.clone() };
                    found.extend(read::asset_events(pool, &filter, Window { limit: OF_INLET_MAX, offset: 0 }).await?.0);
                }
            }
            found
        }
    };
    Ok(FetchItem::AssetEvents(by_asset(pool, found).await?))
}

/// The assets that an inlet means: one, or those that have changed through an alias.
async fn ids_of(pool: &PgPool, inlet: &AssetNews) -> Result<Vec<i64>, StoreError> {
    match (&inlet.alias, inlet.key()) {
        (Some(alias), _) => read::assets_of_alias(pool, alias).await,
        (None, Some(key)) => {
            let exact = read::asset_named(pool, key.name.as_str(), &Visible::All).await?;
            let found = match exact {
                Some(found) => Some(found),
                None => read::asset_named(pool, key.uri.as_str(), &Visible::All).await?,
            };
            Ok(found.into_iter().map(|asset| asset.id).collect())
        }
        (None, None) => Ok(Vec::new()),
    }
}

/// Events by their asset, each list oldest first.
async fn by_asset(pool: &PgPool, newest_first: Vec<AssetEventView>) -> Result<Vec<AssetEvents>, StoreError> {
    let mut runs: BTreeMap<(String, String), Option<SourceRun>> = BTreeMap::new();
    let mut found: BTreeMap<(String, String), Vec<AssetEvent>> = BTreeMap::new();
    for view in newest_first.into_iter().rev() {
        let source = view.source_dag_id.clone().zip(view.source_run_id.clone());
        let source_dag_run = match source {
            None => None,
            Some(of) => match runs.get(&of) {
                Some(known) => known.clone(),
                None => {
                    let run = source_run(pool, &of).await?;
                    runs.insert(of, run.clone());
                    run
                }
            },
        };
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

async fn source_run(pool: &PgPool, (dag, run): &(String, String)) -> Result<Option<SourceRun>, StoreError> {
    let Some((dag, run)) = DagId::new(dag).ok().zip(RunId::new(run).ok()) else { return Ok(None) };
    let found = read::run(pool, &dag, &run).await?;
    Ok(found.map(|row| SourceRun {
        run_id: row.run_id,
        logical_date: row.logical_date,
        data_interval: row.data_interval,
    }))
}
