//! What tasks and assets keep between their runs: nothing yet, so that lists are empty, no key is found, and who wants to keep
//! something is told so. An XCom is what a task leaves for others.

use axum::{Extension, Json, extract::State};
use model::MapIndex;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    assets::AssetPath,
    declare::{AnyJson, At, Errors, Flag, Ignored, answer, body, path_params, query_params},
    query::Page,
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    error::{ApiError, ApiResult},
    reads::{assets::lookup_asset, lookup::lookup_instance},
};

/// What is missing.
const NOTHING_KEPT: &str = "Tasks keep no state yet: leave an XCom, which other tasks and later runs can read";

/// Why nothing is kept of an asset.
const NOTHING_KEPT_OF_ASSETS: &str =
    "Assets keep no state yet: say it as the extra of an event, which consumers and later runs can read";

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_of_task, clear_of_task))
        .routes(routes!(get_of_task, set_of_task, patch_of_task, delete_of_task))
        .routes(routes!(list_of_asset, clear_of_asset))
        .routes(routes!(get_of_asset, set_of_asset, delete_of_asset))
}

path_params! {
    /// A task instance.
    pub struct KeeperPath {
        dag_id: String,
        dag_run_id: String,
        task_id: String,
    }
}

path_params! {
    /// What a task instance keeps under a key.
    pub struct KeptPath {
        dag_id: String,
        dag_run_id: String,
        task_id: String,
        key: String,
    }
}

path_params! {
    /// What an asset keeps under a key.
    pub struct KeptOfAssetPath {
        asset_id: i64,
        key: String,
    }
}

query_params! {
    /// Which part of what an instance keeps is meant.
    pub struct KeptFilter {
        _page: Page,
        map_index: MapIndex,
    }
}

query_params! {
    /// Which instance of a task is meant.
    pub struct KeeperIndex {
        map_index: MapIndex,
    }
}

query_params! {
    /// Which instances of a task are meant.
    pub struct KeeperIndices {
        map_index: MapIndex,
        _all_map_indices: Flag<false> = "all_map_indices",
    }
}

query_params! {
    /// Which part of what an asset keeps is meant.
    pub struct KeptOfAssetFilter {
        _page: Page,
    }
}

body! {
    /// What a task is to keep.
    pub struct TaskStateStoreBody {
        _value: AnyJson = "value",
        /// How long.
        _expires_at: Ignored = "expires_at",
    }
}

body! {
    /// What a task is to keep instead.
    pub struct TaskStateStorePatchBody {
        _value: AnyJson = "value",
    }
}

body! {
    /// What an asset is to keep.
    pub struct AssetStateStoreBody {
        _value: AnyJson = "value",
    }
}

answer! {
    /// A part of what a task keeps.
    pub struct TaskStateStoreCollectionResponse {
        task_state_store: Vec<TaskStateStoreResponse>,
        total_entries: usize,
    }
}

answer! {
    /// What a task keeps under a key.
    pub struct TaskStateStoreResponse {
        key: String,
        value: Value,
        updated_at: At,
        expires_at: Option<At>,
    }
}

answer! {
    /// A part of what an asset keeps.
    pub struct AssetStateStoreCollectionResponse {
        asset_state_store: Vec<AssetStateStoreResponse>,
        total_entries: usize,
    }
}

answer! {
    /// What an asset keeps under a key.
    pub struct AssetStateStoreResponse {
        key: String,
        value: Value,
        updated_at: At,
        last_updated_by: Option<AssetStateStoreLastUpdatedBy>,
    }
}

/// What has written what an asset keeps.
#[expect(dead_code, reason = "no asset keeps anything yet, and clients are told what could be")]
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AssetStateStoreWriterKind {
    /// A task.
    Task,
    /// Who watches over it.
    Watcher,
    /// A client.
    Api,
}

answer! {
    /// Who has written what an asset keeps.
    pub struct AssetStateStoreLastUpdatedBy {
        kind: AssetStateStoreWriterKind,
        dag_id: Option<String>,
        run_id: Option<String>,
        task_id: Option<String>,
        map_index: Option<i32>,
    }
}

/// Refuses to keep anything of an instance that there is.
async fn not_kept(app: &App, path: &KeeperPath, map: MapIndex) -> ApiError {
    match lookup_instance(app, &path.dag_id, &path.dag_run_id, &path.task_id, map).await {
        Ok(_) => ApiError::NotThere(NOTHING_KEPT.into()),
        Err(error) => error,
    }
}

impl From<KeptPath> for KeeperPath {
    fn from(kept: KeptPath) -> Self {
        let KeptPath { dag_id, dag_run_id, task_id, key: _ } = kept;
        Self { dag_id, dag_run_id, task_id }
    }
}

/// List Task State Store
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/state-store",
    operation_id = "list_task_state_store", tag = "Task State Store",
    params(KeeperPath, KeptFilter),
    responses(
        (status = 200, description = "Successful Response", body = TaskStateStoreCollectionResponse),
        Errors<404>,
    ),
    security(("token" = [Right::Read]))
)]
pub async fn list_of_task(
    State(app): State<App>,
    path: KeeperPath,
    asked: KeptFilter,
) -> ApiResult<Json<TaskStateStoreCollectionResponse>> {
    lookup_instance(&app, &path.dag_id, &path.dag_run_id, &path.task_id, asked.map_index).await?;
    Ok(Json(TaskStateStoreCollectionResponse { task_state_store: Vec::new(), total_entries: 0 }))
}

/// Clear Task State Store
///
/// Not yet.
#[utoipa::path(
    delete, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/state-store",
    operation_id = "clear_task_state_store", tag = "Task State Store",
    params(KeeperPath, KeeperIndices),
    responses((status = 204, description = "Successful Response"), Errors<404, 501>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn clear_of_task(State(app): State<App>, path: KeeperPath, asked: KeeperIndices) -> ApiError {
    not_kept(&app, &path, asked.map_index).await
}

/// Get Task State Store
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/state-store/{key}",
    operation_id = "get_task_state_store", tag = "Task State Store",
    params(KeptPath, KeeperIndex),
    responses((status = 200, description = "Successful Response", body = TaskStateStoreResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn get_of_task(State(app): State<App>, path: KeptPath, asked: KeeperIndex) -> ApiError {
    let found = lookup_instance(&app, &path.dag_id, &path.dag_run_id, &path.task_id, asked.map_index).await;
    match found {
        Ok(_) => ApiError::NotFound(format!("Task state store key `{}` was not found", path.key)),
        Err(error) => error,
    }
}

/// Set Task State Store
///
/// Not yet.
#[utoipa::path(
    put, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/state-store/{key}",
    operation_id = "set_task_state_store", tag = "Task State Store",
    params(KeptPath, KeeperIndex),
    request_body = TaskStateStoreBody,
    responses((status = 204, description = "Successful Response"), Errors<404, 501>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn set_of_task(
    State(app): State<App>,
    path: KeptPath,
    asked: KeeperIndex,
    _: TaskStateStoreBody,
) -> ApiError {
    not_kept(&app, &path.into(), asked.map_index).await
}

/// Patch Task State Store
///
/// Not yet.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/state-store/{key}",
    operation_id = "patch_task_state_store", tag = "Task State Store",
    params(KeptPath, KeeperIndex),
    request_body = TaskStateStorePatchBody,
    responses((status = 200, description = "Successful Response"), Errors<404, 501>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn patch_of_task(
    State(app): State<App>,
    path: KeptPath,
    asked: KeeperIndex,
    _: TaskStateStorePatchBody,
) -> ApiError {
    not_kept(&app, &path.into(), asked.map_index).await
}

/// Delete Task State Store
///
/// Not yet.
#[utoipa::path(
    delete, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/state-store/{key}",
    operation_id = "delete_task_state_store", tag = "Task State Store",
    params(KeptPath, KeeperIndex),
    responses((status = 204, description = "Successful Response"), Errors<404, 501>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn delete_of_task(State(app): State<App>, path: KeptPath, asked: KeeperIndex) -> ApiError {
    not_kept(&app, &path.into(), asked.map_index).await
}

/// List Asset State Store
#[utoipa::path(
    get, path = "/api/v2/assets/{asset_id}/state-store", operation_id = "list_asset_state_store",
    tag = "Asset State Store",
    params(AssetPath, KeptOfAssetFilter),
    responses(
        (status = 200, description = "Successful Response", body = AssetStateStoreCollectionResponse),
        Errors<404>,
    ),
    security(("token" = [Right::Read]))
)]
pub async fn list_of_asset(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: AssetPath,
    _: KeptOfAssetFilter,
) -> ApiResult<Json<AssetStateStoreCollectionResponse>> {
    lookup_asset(&app, path.asset_id, &who.visible()).await?;
    Ok(Json(AssetStateStoreCollectionResponse { asset_state_store: Vec::new(), total_entries: 0 }))
}

/// Clear Asset State Store
///
/// Not yet.
#[utoipa::path(
    delete, path = "/api/v2/assets/{asset_id}/state-store", operation_id = "clear_asset_state_store",
    tag = "Asset State Store",
    params(AssetPath),
    responses((status = 204, description = "Successful Response"), Errors<404, 501>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn clear_of_asset(_: AssetPath) -> ApiError {
    ApiError::NotThere(NOTHING_KEPT_OF_ASSETS.into())
}

/// Get Asset State Store
#[utoipa::path(
    get, path = "/api/v2/assets/{asset_id}/state-store/{key}", operation_id = "get_asset_state_store",
    tag = "Asset State Store",
    params(KeptOfAssetPath),
    responses((status = 200, description = "Successful Response", body = AssetStateStoreResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn get_of_asset(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: KeptOfAssetPath,
) -> ApiError {
    match lookup_asset(&app, path.asset_id, &who.visible()).await {
        Ok(_) => ApiError::NotFound(format!("Asset state store key {:?} not found", path.key)),
        Err(error) => error,
    }
}

/// Set Asset State Store
///
/// Not yet.
#[utoipa::path(
    put, path = "/api/v2/assets/{asset_id}/state-store/{key}", operation_id = "set_asset_state_store",
    tag = "Asset State Store",
    params(KeptOfAssetPath),
    request_body = AssetStateStoreBody,
    responses((status = 204, description = "Successful Response"), Errors<404, 501>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn set_of_asset(_: KeptOfAssetPath, _: AssetStateStoreBody) -> ApiError {
    ApiError::NotThere(NOTHING_KEPT_OF_ASSETS.into())
}

/// Delete Asset State Store
///
/// Not yet.
#[utoipa::path(
    delete, path = "/api/v2/assets/{asset_id}/state-store/{key}", operation_id = "delete_asset_state_store",
    tag = "Asset State Store",
    params(KeptOfAssetPath),
    responses((status = 204, description = "Successful Response"), Errors<404, 501>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn delete_of_asset(_: KeptOfAssetPath) -> ApiError {
    ApiError::NotThere(NOTHING_KEPT_OF_ASSETS.into())
}
