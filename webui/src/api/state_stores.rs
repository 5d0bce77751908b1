//! What task instances keep for themselves from try to try, and what is kept of assets from run to run. An XCom is what a task leaves for
//! others; it goes with each new try, and what is kept here stays.

use axum::{Extension, Json, extract::State, http::StatusCode};
use chrono::{TimeDelta, Utc};
use model::{MapIndex, Timestamp, XComValue, door::Instant, masking};
use serde::Serialize;
use serde_json::{Value, json};
use store::{
    asset_state,
    task_state::{self, Expiry, KEY_CHARS_MAX, KEYS_MAX, Keeper, Keeping, Kept, Known},
};
use utoipa::{
    ToSchema,
    openapi::{
        RefOr,
        schema::{AnyOfBuilder, Schema},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    assets::AssetPath,
    body::Body,
    declare::{At, Errors, Flag, Member, answer, body, path_params, query_params, schema},
    lookup_run, parse_task,
    query::Page,
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    error::{ApiError, ApiResult},
    reads::{assets::lookup_asset, instances::TaskOfRun, lookup::lookup_instance},
};

/// How long something is kept when nobody says, as in Airflow.
const KEPT_DAYS_DEFAULT: i64 = 30;

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
        key: String => schema::text_of(1, KEY_CHARS_MAX),
    }
}

path_params! {
    /// What an asset keeps under a key.
    pub struct KeptOfAssetPath {
        asset_id: i64,
        key: String => schema::text_of(1, KEY_CHARS_MAX),
    }
}

query_params! {
    /// Which part of what an instance keeps is meant.
    pub struct KeptFilter {
        page: Page,
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
        /// Whether all of them are.
        all_map_indices: Flag<false>,
    }
}

query_params! {
    /// Which part of what an asset keeps is meant.
    pub struct KeptOfAssetFilter {
        page: Page,
    }
}

body! {
    /// What a task is to keep.
    pub struct TaskStateStoreBody {
        value: KeptValue,
        /// Until when; null is for ever, and `default` 30 days.
        expires_at: Until,
    }
}

body! {
    /// What a task is to keep instead.
    pub struct TaskStateStorePatchBody {
        value: KeptValue,
    }
}

body! {
    /// What an asset is to keep.
    pub struct AssetStateStoreBody {
        value: KeptValue,
    }
}

answer! {
    /// A part of what a task keeps.
    pub struct TaskStateStoreCollectionResponse {
        task_state_store: Vec<TaskStateStoreResponse>,
        total_entries: i64,
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
        total_entries: i64,
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
#[expect(dead_code, reason = "clients alone write here, and are told who could in Airflow")]
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

/// Until when something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// As long as things are when nobody says.
    Default,
    /// For ever, or until then.
    Said(Option<Instant>),
}

impl Member for Until {
    const REQUIRED: bool = false;

    fn read(body: &mut Body, name: &str) -> Self {
        if !body.has(name) {
            return Self::Default;
        }
        let sent = body.take_or_null(name);
        if sent == "default" {
            return Self::Default;
        }
        body.put_back(name, sent);
        Self::Said(body.instant(name))
    }

    fn schema() -> RefOr<Schema> {
        let word = schema::words(["default"]);
        schema::nullable(Schema::AnyOf(AnyOfBuilder::new().item(schema::instant_sent()).item(word).build())).into()
    }
}

impl Until {
    fn expiry(self, now: Timestamp) -> Expiry {
        Expiry::At(match self {
            Self::Default => Some(now + TimeDelta::days(KEPT_DAYS_DEFAULT)),
            Self::Said(at) => at.map(Instant::get),
        })
    }
}

/// What the audit log says of an instance.
fn told(of: &TaskOfRun) -> Value {
    json!({ "dag_id": of.run.dag_id, "run_id": of.run.run_id, "task_id": of.task().task_id, "map_index": of.key.map })
}

fn no_key(key: &str) -> ApiError {
    ApiError::NotFound(format!("Task state store key `{key}` was not found"))
}

/// The key of a path, which has to fit.
fn checked(key: &str) -> ApiResult<&str> {
    if key.chars().count() > KEY_CHARS_MAX {
        return Err(ApiError::BadRequest(format!("a key has at most {KEY_CHARS_MAX} characters")));
    }
    Ok(key)
}

/// A value that is kept: something, and as large as an XCom at most.
#[derive(Debug, Clone)]
pub struct KeptValue(Value);

impl Member for KeptValue {
    const REQUIRED: bool = true;

    fn read(body: &mut Body, name: &str) -> Self {
        if !body.has(name) {
            body.missing(name);
            return Self(Value::Null);
        }
        let value = body.take_or_null(name);
        let bytes = value.to_string().len();
        if value.is_null() {
            body.wrong(name, "value_error", "Value error, value cannot be null", Value::Null);
        } else if bytes > XComValue::BYTES_MAX {
            let text =
                format!("Value error, a value has at most {} bytes as JSON, this one {bytes}", XComValue::BYTES_MAX);
            body.wrong(name, "value_error", text, Value::Null);
        }
        Self(value)
    }

    fn schema() -> RefOr<Schema> {
        schema::anything().into()
    }
}

impl KeptPath {
    async fn instance(&self, app: &App, map: MapIndex) -> ApiResult<TaskOfRun> {
        lookup_instance(app, &self.dag_id, &self.dag_run_id, &self.task_id, map).await
    }
}

async fn keep(
    app: &App,
    who: &Principal,
    (of, key): (&TaskOfRun, &str),
    (value, expiry): (Value, Expiry),
    known: Known,
) -> ApiResult<()> {
    let action = match known {
        Known::Demanded => "patch_task_state_store",
        Known::NotNeeded => "set_task_state_store",
    };
    let told = told(of);
    let keeper = Keeper { key: of.key, told: &told };
    match task_state::keep(&app.pool, who.actor(), (keeper, checked(key)?), (&value, expiry), action, known).await? {
        Keeping::Done => Ok(()),
        Keeping::Missing => Err(no_key(key)),
        Keeping::Full => Err(ApiError::BadRequest(format!(
            "a task instance keeps at most {KEYS_MAX} keys: delete some that are not needed any more"
        ))),
        Keeping::Gone => Err(ApiError::NotFound("the run was deleted meanwhile".to_owned())),
    }
}

impl From<Kept> for TaskStateStoreResponse {
    fn from(Kept { key, value, updated_at, expires_at }: Kept) -> Self {
        Self { key, value, updated_at: updated_at.into(), expires_at: expires_at.map(At::from) }
    }
}

/// What somebody may see of a value: who may run the DAG sees all of it.
fn shown(who: &Principal, of: &TaskOfRun, kept: Kept) -> TaskStateStoreResponse {
    let value = who.may_see(&of.run.dag_id, &kept.key, kept.value);
    Kept { value, ..kept }.into()
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
    Extension(who): Extension<Principal>,
    path: KeeperPath,
    asked: KeptFilter,
) -> ApiResult<Json<TaskStateStoreCollectionResponse>> {
    let of = lookup_instance(&app, &path.dag_id, &path.dag_run_id, &path.task_id, asked.map_index).await?;
    let (kept, total_entries) = task_state::list(&app.pool, of.key, asked.page.limit, asked.page.offset).await?;
    let task_state_store = kept.into_iter().map(|kept| shown(&who, &of, kept)).collect();
    Ok(Json(TaskStateStoreCollectionResponse { task_state_store, total_entries }))
}

/// Clear Task State Store
#[utoipa::path(
    delete, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/state-store",
    operation_id = "clear_task_state_store", tag = "Task State Store",
    params(KeeperPath, KeeperIndices),
    responses((status = 204, description = "Successful Response"), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn clear_of_task(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: KeeperPath,
    asked: KeeperIndices,
) -> ApiResult<StatusCode> {
    let (run, task, map, told) = if asked.all_map_indices.0 {
        let run = lookup_run(&app, &path.dag_id, &path.dag_run_id).await?;
        let version = app.versions.one(&app.pool, run.version).await?;
        let task_id = parse_task(&path.task_id)?;
        let pos = version.dag.position(&task_id);
        let pos = pos.ok_or_else(|| ApiError::NotFound(format!("Task with ID {task_id} not found")))?;
        let told = json!({ "dag_id": run.dag_id, "run_id": run.run_id, "task_id": task_id });
        (run.key, version.task_idx[pos.0], None, told)
    } else {
        let of = lookup_instance(&app, &path.dag_id, &path.dag_run_id, &path.task_id, asked.map_index).await?;
        (of.key.run, of.key.task, Some(of.key.map), told(&of))
    };
    task_state::clear(&app.pool, who.actor(), (run, task, map), &told).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Get Task State Store
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/state-store/{key}",
    operation_id = "get_task_state_store", tag = "Task State Store",
    params(KeptPath, KeeperIndex),
    responses((status = 200, description = "Successful Response", body = TaskStateStoreResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn get_of_task(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: KeptPath,
    asked: KeeperIndex,
) -> ApiResult<Json<TaskStateStoreResponse>> {
    let of = path.instance(&app, asked.map_index).await?;
    let kept = task_state::one(&app.pool, of.key, &path.key).await?.ok_or_else(|| no_key(&path.key))?;
    Ok(Json(shown(&who, &of, kept)))
}

/// Set Task State Store
///
/// Airflow's tasks write it; here clients do, and tasks that are clients.
#[utoipa::path(
    put, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/state-store/{key}",
    operation_id = "set_task_state_store", tag = "Task State Store",
    params(KeptPath, KeeperIndex),
    request_body = TaskStateStoreBody,
    responses((status = 204, description = "Successful Response"), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn set_of_task(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: KeptPath,
    asked: KeeperIndex,
    body: TaskStateStoreBody,
) -> ApiResult<StatusCode> {
    let of = path.instance(&app, asked.map_index).await?;
    let expiry = body.expires_at.expiry(Utc::now());
    keep(&app, &who, (&of, &path.key), (body.value.0, expiry), Known::NotNeeded).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Patch Task State Store
///
/// The value of a key that there is; it goes when it would have gone.
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/state-store/{key}",
    operation_id = "patch_task_state_store", tag = "Task State Store",
    params(KeptPath, KeeperIndex),
    request_body = TaskStateStorePatchBody,
    responses((status = 200, description = "Successful Response", body = Value), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn patch_of_task(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: KeptPath,
    asked: KeeperIndex,
    body: TaskStateStorePatchBody,
) -> ApiResult<Json<Value>> {
    let of = path.instance(&app, asked.map_index).await?;
    keep(&app, &who, (&of, &path.key), (body.value.0, Expiry::Kept), Known::Demanded).await?;
    Ok(Json(Value::Null))
}

/// Delete Task State Store
#[utoipa::path(
    delete, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/state-store/{key}",
    operation_id = "delete_task_state_store", tag = "Task State Store",
    params(KeptPath, KeeperIndex),
    responses((status = 204, description = "Successful Response"), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn delete_of_task(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: KeptPath,
    asked: KeeperIndex,
) -> ApiResult<StatusCode> {
    let of = path.instance(&app, asked.map_index).await?;
    let told = told(&of);
    task_state::delete(&app.pool, who.actor(), Keeper { key: of.key, told: &told }, &path.key).await?;
    Ok(StatusCode::NO_CONTENT)
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
    asked: KeptOfAssetFilter,
) -> ApiResult<Json<AssetStateStoreCollectionResponse>> {
    let asset = lookup_asset(&app, path.asset_id, &who.visible()).await?;
    let (kept, total_entries) = asset_state::list(&app.pool, asset.id, asked.page.limit, asked.page.offset).await?;
    let asset_state_store = kept.into_iter().map(|kept| shown_of_asset(&who, kept)).collect();
    Ok(Json(AssetStateStoreCollectionResponse { asset_state_store, total_entries }))
}

/// What somebody may see of what is kept of an asset: who may change no DAG sees it without what has a secret's name or form.
fn shown_of_asset(who: &Principal, Kept { key, value, updated_at, .. }: Kept) -> AssetStateStoreResponse {
    let may_change = who.permissions.has(Right::ChangeDags);
    let value = if may_change { value } else { masking::masked_member(&key, &value) };
    let (kind, nobody) = (AssetStateStoreWriterKind::Api, || None);
    let by =
        AssetStateStoreLastUpdatedBy { kind, dag_id: nobody(), run_id: nobody(), task_id: nobody(), map_index: None };
    AssetStateStoreResponse { key, value, updated_at: updated_at.into(), last_updated_by: Some(by) }
}

/// Clear Asset State Store
#[utoipa::path(
    delete, path = "/api/v2/assets/{asset_id}/state-store", operation_id = "clear_asset_state_store",
    tag = "Asset State Store",
    params(AssetPath),
    responses((status = 204, description = "Successful Response"), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn clear_of_asset(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: AssetPath,
) -> ApiResult<StatusCode> {
    let asset = lookup_asset(&app, path.asset_id, &who.visible()).await?;
    asset_state::delete(&app.pool, who.actor(), asset.id, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn no_key_of_asset(key: &str) -> ApiError {
    ApiError::NotFound(format!("Asset state store key {key:?} not found"))
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
) -> ApiResult<Json<AssetStateStoreResponse>> {
    let asset = lookup_asset(&app, path.asset_id, &who.visible()).await?;
    let kept = asset_state::one(&app.pool, asset.id, &path.key).await?;
    Ok(Json(shown_of_asset(&who, kept.ok_or_else(|| no_key_of_asset(&path.key))?)))
}

/// Set Asset State Store
#[utoipa::path(
    put, path = "/api/v2/assets/{asset_id}/state-store/{key}", operation_id = "set_asset_state_store",
    tag = "Asset State Store",
    params(KeptOfAssetPath),
    request_body = AssetStateStoreBody,
    responses((status = 204, description = "Successful Response"), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn set_of_asset(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: KeptOfAssetPath,
    body: AssetStateStoreBody,
) -> ApiResult<StatusCode> {
    let asset = lookup_asset(&app, path.asset_id, &who.visible()).await?;
    let place = (asset.id, checked(&path.key)?);
    match asset_state::keep(&app.pool, who.actor(), place, &body.value.0).await? {
        Keeping::Done => Ok(StatusCode::NO_CONTENT),
        Keeping::Full => Err(ApiError::BadRequest(format!(
            "an asset keeps at most {KEYS_MAX} keys: delete some that are not needed any more"
        ))),
        Keeping::Missing | Keeping::Gone => Err(ApiError::NotFound("the asset was deleted meanwhile".to_owned())),
    }
}

/// Delete Asset State Store
#[utoipa::path(
    delete, path = "/api/v2/assets/{asset_id}/state-store/{key}", operation_id = "delete_asset_state_store",
    tag = "Asset State Store",
    params(KeptOfAssetPath),
    responses((status = 204, description = "Successful Response"), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn delete_of_asset(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: KeptOfAssetPath,
) -> ApiResult<StatusCode> {
    let asset = lookup_asset(&app, path.asset_id, &who.visible()).await?;
    asset_state::delete(&app.pool, who.actor(), asset.id, Some(&path.key)).await?;
    Ok(StatusCode::NO_CONTENT)
}
