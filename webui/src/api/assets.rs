//! Assets, their events, what has not been taken up, and runs that make an asset.

use axum::{
    Extension, Json,
    extract::{Request, State},
    http::StatusCode,
};
use model::{
    RunType, TriggeredBy,
    command::TriggerDagRun,
    door::{Conf, Instant, Note},
};
use serde_json::{Map, Value};
use store::read::{
    self, AliasFilter as OfAliases, AliasOrder, AssetFilter as OfAssets, AssetOrder, DagView, EventFilter as OfEvents,
    EventOrder, Pattern, QueueFilter, Range, Visible,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    asset_shapes::{
        AssetAliasCollectionResponse, AssetAliasResponse, AssetCollectionResponse, AssetEventCollectionResponse,
        AssetEventResponse, AssetResponse, QueuedEventCollectionResponse, QueuedEventResponse, shaped, shaped_events,
    },
    body::Body,
    declare::{Errors, Flag, Ignored, OrderBy, OrderKey, Prefix, body, path_params, query_params},
    lookup_dag, lookup_run,
    query::Page,
    run_answer::DAGRunResponse,
    runs::{parse_run_id, refuse_a_partition, refuse_half_an_interval},
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    changes::{assets as changes, runs::start},
    error::{ApiError, ApiResult},
    http::intake,
    reads::assets::{lookup_asset, no_asset},
    router::BODY_BYTES_MAX,
};

/// So many events of one run are told.
const UPSTREAM_MAX: i64 = 1_000;

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

impl OrderKey for AssetOrder {
    const KEYS: &'static [(&'static str, Self)] = &[
        ("id", Self::Id),
        ("name", Self::Name),
        ("uri", Self::Uri),
        ("created_at", Self::CreatedAt),
        ("updated_at", Self::UpdatedAt),
    ];
    const DEFAULT: &'static str = "id";
}

impl OrderKey for AliasOrder {
    const KEYS: &'static [(&'static str, Self)] = &[("id", Self::Id), ("name", Self::Name), ("group", Self::Group)];
    const DEFAULT: &'static str = "id";
}

impl OrderKey for EventOrder {
    const KEYS: &'static [(&'static str, Self)] = &[
        ("timestamp", Self::Timestamp),
        // Events are numbered in the order in which they happen.
        ("id", Self::Timestamp),
        ("source_task_id", Self::SourceTask),
        ("source_dag_id", Self::SourceDag),
        ("source_run_id", Self::SourceRun),
        ("source_map_index", Self::SourceMapIndex),
    ];
    const DEFAULT: &'static str = "timestamp";
}

query_params! {
    /// Which assets a list has.
    pub struct AssetFilter {
        page: Page,
        order_by: OrderBy<AssetOrder>,
        /// Part of the name, whatever its case; `%` and `_` are wildcards, `|` separates alternatives.
        name_pattern: Pattern,
        /// How the name begins.
        name_prefix_pattern: Prefix,
        /// Part of the uri.
        uri_pattern: Pattern,
        /// How the uri begins.
        uri_prefix_pattern: Prefix,
        /// DAGs that wait for it, write or read it.
        dag_ids: Vec<String>,
        /// Whether assets are left out that no DAG names any more.
        only_active: Flag<true>,
    }
}

query_params! {
    /// Which aliases a list has.
    pub struct AliasFilter {
        page: Page,
        order_by: OrderBy<AliasOrder>,
        /// Part of the name, whatever its case; `%` and `_` are wildcards, `|` separates alternatives.
        name_pattern: Pattern,
        /// How the name begins.
        name_prefix_pattern: Prefix,
    }
}

query_params! {
    /// Which events a list has.
    pub struct EventFilter {
        page: Page,
        order_by: OrderBy<EventOrder>,
        asset_id: Option<i64>,
        /// Part of the asset's name, whatever its case; `%` and `_` are wildcards, `|` separates alternatives.
        name_pattern: Pattern,
        /// How the asset's name begins.
        name_prefix_pattern: Prefix,
        source_dag_id: Option<String>,
        source_task_id: Option<String>,
        source_run_id: Option<String>,
        source_map_index: Option<i64>,
        timestamp: Range,
    }
}

query_params! {
    /// Which of what is queued is meant.
    pub struct QueuedFilter {
        /// Queued earlier than this.
        before: Option<Instant>,
    }
}

body! {
    /// An event of an asset.
    pub struct CreateAssetEventsBody {
        asset_id: i64,
        /// There are no partitions yet.
        partition_key: Option<String>,
        /// What consumers are told; `from_rest_api` is added to it.
        extra: Map<String, Value>,
        /// There are no teams here.
        _access_control: Ignored = "access_control",
    }
}

body! {
    /// A run of the DAG that makes an asset.
    pub struct MaterializeAssetBody {
        dag_run_id: Option<String>,
        logical_date: Option<Instant>,
        data_interval_start: Option<Instant>,
        data_interval_end: Option<Instant>,
        run_after: Option<Instant>,
        conf: Conf,
        note: Option<Note>,
        partition_key: Option<String>,
    }
}

async fn all_queued(app: &App, filter: &QueueFilter) -> ApiResult<Json<QueuedEventCollectionResponse>> {
    let found = read::asset_queue(&app.pool, filter).await?;
    let queued_events: Vec<QueuedEventResponse> = found.into_iter().map(Into::into).collect();
    Ok(Json(QueuedEventCollectionResponse { total_entries: queued_events.len(), queued_events }))
}

fn count(total: i64) -> usize {
    usize::try_from(total).unwrap_or(0)
}

/// Get Assets
#[utoipa::path(
    get, path = "/api/v2/assets", operation_id = "get_assets", tag = "Asset",
    params(AssetFilter),
    responses((status = 200, description = "Successful Response", body = AssetCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn list(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    filter: AssetFilter,
) -> ApiResult<Json<AssetCollectionResponse>> {
    let wanted = OfAssets {
        visible: who.visible(),
        name: filter.name_pattern,
        name_prefix: filter.name_prefix_pattern.0,
        uri: filter.uri_pattern,
        uri_prefix: filter.uri_prefix_pattern.0,
        dag_ids: filter.dag_ids,
        only_active: filter.only_active.0,
        order: filter.order_by.0,
    };
    let (found, total) = read::assets(&app.pool, &wanted, filter.page.window()).await?;
    let assets = shaped(&app, found, &wanted.visible).await?;
    Ok(Json(AssetCollectionResponse { assets, total_entries: count(total) }))
}

/// Get Asset
#[utoipa::path(
    get, path = "/api/v2/assets/{asset_id}", operation_id = "get_asset", tag = "Asset",
    params(AssetPath),
    responses((status = 200, description = "Successful Response", body = AssetResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn one(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: AssetPath,
) -> ApiResult<Json<AssetResponse>> {
    let visible = who.visible();
    let found = lookup_asset(&app, path.asset_id, &visible).await?;
    shaped(&app, vec![found], &visible).await?.pop().map(Json).ok_or_else(|| no_asset(path.asset_id))
}

/// Get Asset Aliases
#[utoipa::path(
    get, path = "/api/v2/assets/aliases", operation_id = "get_asset_aliases", tag = "Asset",
    params(AliasFilter),
    responses((status = 200, description = "Successful Response", body = AssetAliasCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn aliases(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    filter: AliasFilter,
) -> ApiResult<Json<AssetAliasCollectionResponse>> {
    let wanted = OfAliases {
        visible: who.visible(),
        name: filter.name_pattern,
        name_prefix: filter.name_prefix_pattern.0,
        order: filter.order_by.0,
    };
    let (found, total) = read::aliases(&app.pool, &wanted, filter.page.window()).await?;
    let asset_aliases = found.into_iter().map(Into::into).collect();
    Ok(Json(AssetAliasCollectionResponse { asset_aliases, total_entries: count(total) }))
}

/// Get Asset Alias
#[utoipa::path(
    get, path = "/api/v2/assets/aliases/{asset_alias_id}", operation_id = "get_asset_alias", tag = "Asset",
    params(AliasPath),
    responses((status = 200, description = "Successful Response", body = AssetAliasResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn alias(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: AliasPath,
) -> ApiResult<Json<AssetAliasResponse>> {
    let id = path.asset_alias_id;
    let found = read::alias(&app.pool, id, &who.visible()).await?;
    let found = found.ok_or_else(|| ApiError::NotFound(format!("The AssetAlias with ID: `{id}` was not found")))?;
    Ok(Json(found.into()))
}

/// Get Asset Events
#[utoipa::path(
    get, path = "/api/v2/assets/events", operation_id = "get_asset_events", tag = "Asset",
    params(EventFilter),
    responses((status = 200, description = "Successful Response", body = AssetEventCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn events(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    filter: EventFilter,
) -> ApiResult<Json<AssetEventCollectionResponse>> {
    let wanted = OfEvents {
        visible: who.visible(),
        asset_id: filter.asset_id,
        name: filter.name_pattern,
        name_prefix: filter.name_prefix_pattern.0,
        source_dag_id: filter.source_dag_id,
        source_task_id: filter.source_task_id,
        source_run_id: filter.source_run_id,
        // No index is larger: none is meant.
        source_map_index: filter.source_map_index.map(|index| i32::try_from(index).unwrap_or(i32::MAX)),
        timestamp: filter.timestamp,
        order: filter.order_by.0,
        ..OfEvents::default()
    };
    let (found, total) = read::asset_events(&app.pool, &wanted, filter.page.window()).await?;
    let asset_events = shaped_events(&app, found, &wanted.visible).await?;
    Ok(Json(AssetEventCollectionResponse { asset_events, total_entries: count(total) }))
}

/// Create Asset Event
#[utoipa::path(
    post, path = "/api/v2/assets/events", operation_id = "create_asset_event", tag = "Asset",
    request_body = CreateAssetEventsBody,
    responses((status = 200, description = "Successful Response", body = AssetEventResponse), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn create_event(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    mut body: Body,
) -> ApiResult<Json<AssetEventResponse>> {
    let asked = CreateAssetEventsBody::read(&mut body);
    if asked.partition_key.is_some() {
        body.wrong("partition_key", "value_error", "This asset has no partitions", Value::Null);
    }
    body.finish()?;
    let asset = lookup_asset(&app, asked.asset_id, &who.visible()).await?;
    let mut extra = asked.extra;
    extra.insert("from_rest_api".to_owned(), true.into());
    let event = changes::tell(&app, asset.key, extra, &who).await?;
    let shaped = shaped_events(&app, vec![event], &who.visible()).await?.pop();
    shaped.map(Json).ok_or(ApiError::Undecided)
}

/// Materialize Asset
///
/// Starts a run of the one DAG that writes the asset.
#[utoipa::path(
    post, path = "/api/v2/assets/{asset_id}/materialize", operation_id = "materialize_asset", tag = "Asset",
    params(AssetPath),
    request_body = Option<MaterializeAssetBody>,
    responses((status = 200, description = "Successful Response", body = DAGRunResponse), Errors<404, 409>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn materialize(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: AssetPath,
    request: Request,
) -> ApiResult<Json<DAGRunResponse>> {
    let bytes = intake::read(request, BODY_BYTES_MAX).await?;
    let text: &[u8] = if matches!(bytes.trim_ascii(), b"" | b"null") { b"{}" } else { &bytes };
    let mut body = Body::parse(text)?;
    let asked = MaterializeAssetBody::read(&mut body);
    refuse_half_an_interval(&mut body, (&asked.data_interval_start, &asked.data_interval_end));
    refuse_a_partition(&mut body, asked.partition_key.as_deref());
    body.finish()?;
    let dag_id = changes::producer_of(&app, path.asset_id, &who.visible()).await?;
    who.must_change(dag_id.as_str())?;
    let (view, version) = lookup_dag(&app, dag_id.as_str()).await?;
    let wish = TriggerDagRun {
        run_id: asked.dag_run_id.map(parse_run_id).transpose()?,
        logical_date: asked.logical_date,
        data_interval: asked.data_interval_start.zip(asked.data_interval_end),
        run_after: asked.run_after,
        conf: asked.conf,
        note: asked.note,
        run_type: RunType::AssetMaterialization,
        ..TriggerDagRun::by_hand(dag_id, TriggeredBy::RestApi)
    };
    let run = start(&app, &view, &version, wish, &who).await?;
    DAGRunResponse::read(&app, &run).await.map(Json)
}

/// Get Asset Queued Events
#[utoipa::path(
    get, path = "/api/v2/assets/{asset_id}/queuedEvents", operation_id = "get_asset_queued_events", tag = "Asset",
    params(AssetPath, QueuedFilter),
    responses((status = 200, description = "Successful Response", body = QueuedEventCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn queued_of_asset(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: AssetPath,
    filter: QueuedFilter,
) -> ApiResult<Json<QueuedEventCollectionResponse>> {
    let wanted = QueueFilter {
        visible: who.visible(),
        asset_id: Some(path.asset_id),
        before: filter.before.map(Instant::get),
        dag_id: None,
    };
    all_queued(&app, &wanted).await
}

/// Delete Asset Queued Events
#[utoipa::path(
    delete, path = "/api/v2/assets/{asset_id}/queuedEvents", operation_id = "delete_asset_queued_events",
    tag = "Asset",
    params(AssetPath, QueuedFilter),
    responses((status = 204, description = "Successful Response"), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn delete_queued_of_asset(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: AssetPath,
    filter: QueuedFilter,
) -> ApiResult<StatusCode> {
    let missing = || ApiError::NotFound(format!("Queue event with asset_id: `{}` was not found", path.asset_id));
    let asset = read::asset(&app.pool, path.asset_id, &who.visible()).await?.ok_or_else(missing)?;
    let deleted = changes::forget_queued(&app, None, Some(asset.key), filter.before, &who).await?;
    if deleted > 0 { Ok(StatusCode::NO_CONTENT) } else { Err(missing()) }
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
    filter: QueuedFilter,
) -> ApiResult<Json<QueuedEventCollectionResponse>> {
    let (dag, _) = lookup_dag(&app, &path.dag_id).await?;
    let before = filter.before.map(Instant::get);
    all_queued(&app, &QueueFilter { dag_id: Some(dag.dag_id), before, ..QueueFilter::default() }).await
}

/// Delete Dag Asset Queued Events
#[utoipa::path(
    delete, path = "/api/v2/dags/{dag_id}/assets/queuedEvents", operation_id = "delete_dag_asset_queued_events",
    tag = "Asset",
    params(WaitingDagPath, QueuedFilter),
    responses((status = 204, description = "Successful Response"), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn delete_queued_of_dag(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: WaitingDagPath,
    filter: QueuedFilter,
) -> ApiResult<StatusCode> {
    let missing = || ApiError::NotFound(format!("Queue event with dag_id: `{}` was not found", path.dag_id));
    let dag = waiting_dag(&app, &path.dag_id, missing).await?;
    let deleted = changes::forget_queued(&app, Some(dag.dag_id), None, filter.before, &who).await?;
    if deleted > 0 { Ok(StatusCode::NO_CONTENT) } else { Err(missing()) }
}

/// Get Dag Asset Queued Event
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/assets/{asset_id}/queuedEvents", operation_id = "get_dag_asset_queued_event",
    tag = "Asset",
    params(WaitingPath, QueuedFilter),
    responses((status = 200, description = "Successful Response", body = QueuedEventResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn queued(
    State(app): State<App>,
    path: WaitingPath,
    filter: QueuedFilter,
) -> ApiResult<Json<QueuedEventResponse>> {
    let dag = waiting_dag(&app, &path.dag_id, || not_queued(&path)).await?;
    let wanted = QueueFilter {
        dag_id: Some(dag.dag_id),
        asset_id: Some(path.asset_id),
        before: filter.before.map(Instant::get),
        visible: Visible::All,
    };
    let found = read::asset_queue(&app.pool, &wanted).await?.into_iter().next();
    found.map(|view| Json(view.into())).ok_or_else(|| not_queued(&path))
}

/// Delete Dag Asset Queued Event
#[utoipa::path(
    delete, path = "/api/v2/dags/{dag_id}/assets/{asset_id}/queuedEvents",
    operation_id = "delete_dag_asset_queued_event", tag = "Asset",
    params(WaitingPath, QueuedFilter),
    responses((status = 204, description = "Successful Response"), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn delete_queued(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: WaitingPath,
    filter: QueuedFilter,
) -> ApiResult<StatusCode> {
    let dag = waiting_dag(&app, &path.dag_id, || not_queued(&path)).await?;
    let asset = read::asset(&app.pool, path.asset_id, &Visible::All).await?.ok_or_else(|| not_queued(&path))?;
    let deleted = changes::forget_queued(&app, Some(dag.dag_id), Some(asset.key), filter.before, &who).await?;
    if deleted > 0 { Ok(StatusCode::NO_CONTENT) } else { Err(not_queued(&path)) }
}

/// The DAG whose queue is asked for; one that is not there has none, in Airflow's words.
async fn waiting_dag(app: &App, dag_id: &str, missing: impl FnOnce() -> ApiError) -> ApiResult<DagView> {
    match lookup_dag(app, dag_id).await {
        Ok((dag, _)) => Ok(dag),
        Err(ApiError::NotFound(_)) => Err(missing()),
        Err(other) => Err(other),
    }
}

fn not_queued(path: &WaitingPath) -> ApiError {
    let WaitingPath { dag_id, asset_id } = path;
    ApiError::NotFound(format!("Queued event with dag_id: `{dag_id}` and asset_id: `{asset_id}` was not found"))
}

/// Get Upstream Asset Events
///
/// The events that the run has taken up, oldest first, at most a thousand.
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
    let run = lookup_run(&app, &path.dag_id, &path.dag_run_id).await?;
    let wanted = OfEvents { taken_by: Some(run.key), ..OfEvents::default() };
    let window = Page { limit: UPSTREAM_MAX, offset: 0 }.window();
    let (found, total) = read::asset_events(&app.pool, &wanted, window).await?;
    let asset_events = shaped_events(&app, found, &Visible::All).await?;
    Ok(Json(AssetEventCollectionResponse { asset_events, total_entries: count(total) }))
}
