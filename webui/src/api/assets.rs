//! Assets, their events and what waits for them: there are none yet, so that lists are empty and none is found.

use axum::{
    Json,
    extract::{Request, State},
};
use model::door::{Conf, Instant, Note};
use serde_json::{Map, Value};
use store::read::{Pattern, Range};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    absent::order_names,
    body::Body,
    declare::{At, Errors, Flag, Ignored, OrderBy, Prefix, answer, body, path_params, query_params},
    lookup_dag, lookup_run,
    query::Page,
};
use crate::{
    app::App,
    auth::rights::Right,
    error::{ApiError, ApiResult},
    http::intake,
    router::BODY_BYTES_MAX,
};

/// What is missing.
const NO_ASSETS: &str = "There are no assets yet: let a DAG run by its schedule or by trigger_dag_run";

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(aliases))
        .routes(routes!(alias))
        .routes(routes!(events, create_event))
        .routes(routes!(one))
        .routes(routes!(materialize))
        .routes(routes!(queued_of_asset, delete_queued_of_asset))
        .routes(routes!(queued_of_dag, delete_queued_of_dag))
        .routes(routes!(queued, delete_queued))
        .routes(routes!(upstream_events))
}

path_params! {
    /// An asset.
    pub struct AssetPath {
        asset_id: i64,
    }
}

path_params! {
    /// An alias.
    pub struct AliasPath {
        asset_alias_id: i64,
    }
}

path_params! {
    /// A DAG that waits for assets.
    pub struct WaitingDagPath {
        dag_id: String,
    }
}

path_params! {
    /// A DAG and an asset that it waits for.
    pub struct WaitingPath {
        dag_id: String,
        asset_id: i64,
    }
}

path_params! {
    /// A run.
    pub struct ConsumingRunPath {
        dag_id: String,
        dag_run_id: String,
    }
}

order_names!(
    /// What assets are ordered by.
    AssetKey: "id", "name", "uri", "created_at", "updated_at"
);
order_names!(
    /// What aliases are ordered by.
    AliasKey: "id", "name", "group"
);
order_names!(
    /// What events are ordered by.
    EventKey: "timestamp", "id", "source_task_id", "source_dag_id", "source_run_id", "source_map_index"
);

query_params! {
    /// Which assets a list has.
    pub struct AssetFilter {
        _page: Page,
        _order_by: OrderBy<AssetKey> = "order_by",
        _name_pattern: Pattern = "name_pattern",
        _name_prefix_pattern: Prefix = "name_prefix_pattern",
        _uri_pattern: Pattern = "uri_pattern",
        _uri_prefix_pattern: Prefix = "uri_prefix_pattern",
        _dag_ids: Vec<String> = "dag_ids",
        _only_active: Flag<true> = "only_active",
    }
}

query_params! {
    /// Which aliases a list has.
    pub struct AliasFilter {
        _page: Page,
        _order_by: OrderBy<AliasKey> = "order_by",
        _name_pattern: Pattern = "name_pattern",
        _name_prefix_pattern: Prefix = "name_prefix_pattern",
    }
}

query_params! {
    /// Which events a list has.
    pub struct EventFilter {
        _page: Page,
        _order_by: OrderBy<EventKey> = "order_by",
        _asset_id: Option<i64> = "asset_id",
        _name_pattern: Pattern = "name_pattern",
        _name_prefix_pattern: Prefix = "name_prefix_pattern",
        _source_dag_id: Option<String> = "source_dag_id",
        _source_task_id: Option<String> = "source_task_id",
        _source_run_id: Option<String> = "source_run_id",
        _source_map_index: Option<i64> = "source_map_index",
        _timestamp: Range = "timestamp",
    }
}

query_params! {
    /// Which of what is queued is meant.
    pub struct QueuedFilter {
        _before: Option<Instant> = "before",
    }
}

body! {
    /// An event of an asset.
    pub struct CreateAssetEventsBody {
        _asset_id: i64 = "asset_id",
        _partition_key: Option<String> = "partition_key",
        _extra: Map<String, Value> = "extra",
        _access_control: Ignored = "access_control",
    }
}

body! {
    /// A run of the DAG that makes an asset.
    pub struct MaterializeAssetBody {
        _dag_run_id: Option<String> = "dag_run_id",
        _logical_date: Option<Instant> = "logical_date",
        _data_interval_start: Option<Instant> = "data_interval_start",
        _data_interval_end: Option<Instant> = "data_interval_end",
        _run_after: Option<Instant> = "run_after",
        _conf: Conf = "conf",
        _note: Option<Note> = "note",
        _partition_key: Option<String> = "partition_key",
    }
}

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

const fn nothing_queued() -> Json<QueuedEventCollectionResponse> {
    Json(QueuedEventCollectionResponse { queued_events: Vec::new(), total_entries: 0 })
}

/// An asset that was named.
pub fn no_asset(id: i64) -> ApiError {
    ApiError::NotFound(format!("The Asset with ID: `{id}` was not found"))
}

/// Why nothing is done with assets.
pub fn no_assets() -> ApiError {
    ApiError::NotThere(NO_ASSETS.into())
}

/// Get Assets
#[utoipa::path(
    get, path = "/api/v2/assets", operation_id = "get_assets", tag = "Asset",
    params(AssetFilter),
    responses((status = 200, description = "Successful Response", body = AssetCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn list(_: AssetFilter) -> Json<AssetCollectionResponse> {
    Json(AssetCollectionResponse { assets: Vec::new(), total_entries: 0 })
}

/// Get Asset
#[utoipa::path(
    get, path = "/api/v2/assets/{asset_id}", operation_id = "get_asset", tag = "Asset",
    params(AssetPath),
    responses((status = 200, description = "Successful Response", body = AssetResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn one(path: AssetPath) -> ApiError {
    no_asset(path.asset_id)
}

/// Get Asset Aliases
#[utoipa::path(
    get, path = "/api/v2/assets/aliases", operation_id = "get_asset_aliases", tag = "Asset",
    params(AliasFilter),
    responses((status = 200, description = "Successful Response", body = AssetAliasCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn aliases(_: AliasFilter) -> Json<AssetAliasCollectionResponse> {
    Json(AssetAliasCollectionResponse { asset_aliases: Vec::new(), total_entries: 0 })
}

/// Get Asset Alias
#[utoipa::path(
    get, path = "/api/v2/assets/aliases/{asset_alias_id}", operation_id = "get_asset_alias", tag = "Asset",
    params(AliasPath),
    responses((status = 200, description = "Successful Response", body = AssetAliasResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn alias(path: AliasPath) -> ApiError {
    ApiError::NotFound(format!("The AssetAlias with ID: `{}` was not found", path.asset_alias_id))
}

/// Get Asset Events
#[utoipa::path(
    get, path = "/api/v2/assets/events", operation_id = "get_asset_events", tag = "Asset",
    params(EventFilter),
    responses((status = 200, description = "Successful Response", body = AssetEventCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn events(_: EventFilter) -> Json<AssetEventCollectionResponse> {
    Json(AssetEventCollectionResponse { asset_events: Vec::new(), total_entries: 0 })
}

/// Create Asset Event
///
/// Not yet.
#[utoipa::path(
    post, path = "/api/v2/assets/events", operation_id = "create_asset_event", tag = "Asset",
    request_body = CreateAssetEventsBody,
    responses((status = 200, description = "Successful Response", body = AssetEventResponse), Errors<404, 501>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn create_event(_: CreateAssetEventsBody) -> ApiError {
    no_assets()
}

/// Materialize Asset
///
/// Not yet.
#[utoipa::path(
    post, path = "/api/v2/assets/{asset_id}/materialize", operation_id = "materialize_asset", tag = "Asset",
    params(AssetPath),
    request_body = Option<MaterializeAssetBody>,
    responses((status = 200, description = "Successful Response"), Errors<404, 409, 501>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn materialize(_: AssetPath, request: Request) -> ApiResult<()> {
    let bytes = intake::read(request, BODY_BYTES_MAX).await?;
    if !matches!(bytes.trim_ascii(), b"" | b"null") {
        let mut body = Body::parse(&bytes)?;
        MaterializeAssetBody::read(&mut body);
        body.finish()?;
    }
    Err(no_assets())
}

/// Get Asset Queued Events
#[utoipa::path(
    get, path = "/api/v2/assets/{asset_id}/queuedEvents", operation_id = "get_asset_queued_events", tag = "Asset",
    params(AssetPath, QueuedFilter),
    responses((status = 200, description = "Successful Response", body = QueuedEventCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn queued_of_asset(_: AssetPath, _: QueuedFilter) -> Json<QueuedEventCollectionResponse> {
    nothing_queued()
}

/// Delete Asset Queued Events
#[utoipa::path(
    delete, path = "/api/v2/assets/{asset_id}/queuedEvents", operation_id = "delete_asset_queued_events",
    tag = "Asset",
    params(AssetPath, QueuedFilter),
    responses((status = 204, description = "Successful Response"), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn delete_queued_of_asset(path: AssetPath, _: QueuedFilter) -> ApiError {
    ApiError::NotFound(format!("Queue event with asset_id: `{}` was not found", path.asset_id))
}

/// Get Dag Asset Queued Events
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/assets/queuedEvents", operation_id = "get_dag_asset_queued_events",
    tag = "Asset",
    params(WaitingDagPath, QueuedFilter),
    responses((status = 200, description = "Successful Response", body = QueuedEventCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn queued_of_dag(
    State(app): State<App>,
    path: WaitingDagPath,
    _: QueuedFilter,
) -> ApiResult<Json<QueuedEventCollectionResponse>> {
    lookup_dag(&app, &path.dag_id).await?;
    Ok(nothing_queued())
}

/// Delete Dag Asset Queued Events
#[utoipa::path(
    delete, path = "/api/v2/dags/{dag_id}/assets/queuedEvents", operation_id = "delete_dag_asset_queued_events",
    tag = "Asset",
    params(WaitingDagPath, QueuedFilter),
    responses((status = 204, description = "Successful Response"), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn delete_queued_of_dag(path: WaitingDagPath, _: QueuedFilter) -> ApiError {
    ApiError::NotFound(format!("Queue event with dag_id: `{}` was not found", path.dag_id))
}

/// Get Dag Asset Queued Event
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/assets/{asset_id}/queuedEvents", operation_id = "get_dag_asset_queued_event",
    tag = "Asset",
    params(WaitingPath, QueuedFilter),
    responses((status = 200, description = "Successful Response", body = QueuedEventResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn queued(path: WaitingPath, _: QueuedFilter) -> ApiError {
    not_queued(&path)
}

/// Delete Dag Asset Queued Event
#[utoipa::path(
    delete, path = "/api/v2/dags/{dag_id}/assets/{asset_id}/queuedEvents",
    operation_id = "delete_dag_asset_queued_event", tag = "Asset",
    params(WaitingPath, QueuedFilter),
    responses((status = 204, description = "Successful Response"), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn delete_queued(path: WaitingPath, _: QueuedFilter) -> ApiError {
    not_queued(&path)
}

fn not_queued(path: &WaitingPath) -> ApiError {
    let WaitingPath { dag_id, asset_id } = path;
    ApiError::NotFound(format!("Queued event with dag_id: `{dag_id}` and asset_id: `{asset_id}` was not found"))
}

/// Get Upstream Asset Events
///
/// No run is made by assets.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/upstreamAssetEvents",
    operation_id = "get_upstream_asset_events", tag = "DagRun",
    params(ConsumingRunPath),
    responses((status = 200, description = "Successful Response", body = AssetEventCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn upstream_events(
    State(app): State<App>,
    path: ConsumingRunPath,
) -> ApiResult<Json<AssetEventCollectionResponse>> {
    lookup_run(&app, &path.dag_id, &path.dag_run_id).await?;
    Ok(Json(AssetEventCollectionResponse { asset_events: Vec::new(), total_entries: 0 }))
}
