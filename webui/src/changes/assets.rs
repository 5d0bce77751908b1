//! Events that people tell, queued events that they forget, and the DAG that makes an asset.

use model::{
    AssetKey, Command, DagId,
    command::{CreateAssetEvent, DeleteQueuedAssetEvents},
    door::{Conf, Instant},
};
use serde_json::{Map, Value};
use store::read::{self, AssetEventView, AssetUse, EventFilter, Visible, Window};

use super::commands;
use crate::{
    app::App,
    auth::Principal,
    error::{ApiError, ApiResult},
    reads::assets::lookup_asset,
};

/// Says that an asset has changed. The event that came of it.
///
/// # Errors
/// [`ApiError::BadRequest`] when the extra can not be stored, and what the leader answers.
pub async fn tell(app: &App, asset: AssetKey, extra: Map<String, Value>, who: &Principal) -> ApiResult<AssetEventView> {
    let extra = Conf::new(extra).map_err(|error| ApiError::BadRequest(format!("extra: {error}")))?;
    let answer = commands::send(app, &Command::CreateAssetEvent(CreateAssetEvent { asset, extra }), who).await?;
    let id = answer.get("asset_event_id").and_then(Value::as_i64);
    let wanted = EventFilter { id, ..EventFilter::default() };
    let (mut found, _) = read::asset_events(&app.pool, &wanted, Window { limit: 1, offset: 0 }).await?;
    found.pop().filter(|_| id.is_some()).ok_or(ApiError::Undecided)
}

/// Forgets queued events of a DAG, of an asset, or of both: how many assets of how many DAGs that were.
///
/// # Errors
/// What the leader answers.
pub async fn forget_queued(
    app: &App,
    dag_id: Option<DagId>,
    asset: Option<AssetKey>,
    before: Option<Instant>,
    who: &Principal,
) -> ApiResult<u64> {
    let wish = DeleteQueuedAssetEvents { dag_id, asset, before };
    let answer = commands::send(app, &Command::DeleteQueuedAssetEvents(wish), who).await?;
    Ok(answer.get("deleted").and_then(Value::as_u64).unwrap_or(0))
}

/// The one DAG whose tasks write an asset.
///
/// # Errors
/// [`ApiError::NotFound`], and [`ApiError::BadRequest`] when there is none or more than one, as in Airflow.
pub async fn producer_of(app: &App, asset_id: i64, visible: &Visible) -> ApiResult<DagId> {
    let asset = lookup_asset(app, asset_id, visible).await?;
    let facts = read::asset_facts(&app.pool, &[asset.id], visible).await?;
    let mut dags: Vec<DagId> =
        facts.references.into_iter().filter(|r| r.kind == AssetUse::Writes).map(|r| r.dag_id).collect();
    dags.dedup();
    match dags.as_slice() {
        [] => Err(ApiError::NotFound(format!("No DAG materializes asset with ID: {asset_id}"))),
        [dag] => Ok(dag.clone()),
        _ => Err(ApiError::Conflict(format!("More than one DAG materializes asset with ID: {asset_id}"))),
    }
}
