//! XComs: list, read, leave, replace and remove.

use axum::{Extension, Json, extract::State, http::StatusCode};
use model::{
    Command, MapIndex, XComValue,
    command::XComName,
    door::{InvalidText, Json as Storable, XComKey},
};
use serde::Serialize;
use serde_json::Value;
use store::read::{self, Pattern, Range, RunFilter, XComEntry, XComFilter, XComOrder};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ALL,
    declare::{AnyJson, At, Errors, Flag, OrderBy, OrderKey, Prefix, answer, body, path_params, query_params, schema},
    instances::{Scope, TaskPath, scope},
    parse_task,
    query::Page,
    tries::OfIndex,
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    changes::commands,
    error::{ApiError, ApiResult},
    reads::{instances::TaskOfRun, names::Names},
};

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(one, update, delete))
}

path_params! {
    /// An XCom.
    pub struct XComPath {
        dag_id: String,
        dag_run_id: String,
        task_id: String,
        xcom_key: String,
    }
}

impl XComPath {
    async fn instance(self, app: &App, map: MapIndex) -> ApiResult<(TaskOfRun, String)> {
        let Self { dag_id, dag_run_id, task_id, xcom_key } = self;
        Ok((TaskPath { dag_id, dag_run_id, task_id }.instance(app, map).await?, xcom_key))
    }
}

impl OrderKey for XComOrder {
    const KEYS: &'static [(&'static str, Self)] = &[
        ("key", Self::Key),
        ("dag_id", Self::DagId),
        ("run_id", Self::RunId),
        ("task_id", Self::TaskId),
        ("map_index", Self::MapIndex),
        ("timestamp", Self::LeftAt),
        ("run_after", Self::RunAfter),
    ];
    const DEFAULT: &'static str = "-run_after";
}

query_params! {
    /// Which XComs a list has.
    pub struct XComsQuery {
        page: Page,
        order_by: OrderBy<XComOrder>,
        /// Exactly this key.
        xcom_key: Option<String>,
        /// Part of the key, whatever its case; `%` and `_` are wildcards, `|` separates alternatives.
        xcom_key_pattern: Pattern,
        /// How the key begins.
        xcom_key_prefix_pattern: Prefix,
        /// Of instances with these indexes; -1 is one that is not expanded.
        map_index: Vec<i32>,
        /// The same.
        map_index_filter: Vec<i32>,
        /// Part of the DAG's id.
        dag_display_name_pattern: Pattern,
        /// How the DAG's id begins.
        dag_display_name_prefix_pattern: Prefix,
        /// Part of the run's id.
        run_id_pattern: Pattern,
        /// How the run's id begins.
        run_id_prefix_pattern: Prefix,
        /// Part of the task's id.
        task_id_pattern: Pattern,
        /// How the task's id begins.
        task_id_prefix_pattern: Prefix,
        /// The date that the run stands for.
        logical_date: Range,
        /// When the run starts at the earliest.
        run_after: Range,
    }
}

query_params! {
    /// Which instance left it, and how its value is written.
    pub struct XComQuery {
        map_index: MapIndex,
        /// As text.
        stringify: Flag<false>,
        /// Values are JSON here: there is nothing to deserialize.
        _deserialize: Flag<false> = "deserialize",
    }
}

body! {
    /// An XCom that is to be left.
    pub struct XComCreateBody {
        key: String => schema::text_of(1, XComKey::CHARS_MAX),
        value: AnyJson,
        map_index: MapIndex,
    }
}

body! {
    /// The new value of an XCom.
    pub struct XComUpdateBody {
        value: AnyJson,
        map_index: MapIndex,
    }
}

answer! {
    /// An XCom without its value.
    pub struct XComResponse {
        key: String,
        /// When it was left.
        timestamp: At,
        logical_date: Option<At>,
        run_after: At,
        map_index: i32,
        task_id: String,
        task_display_name: String,
        dag_id: String,
        dag_display_name: String,
        run_id: String,
    }
}

answer! {
    /// An XCom with its value as JSON, or as text when that was asked for.
    pub struct XComResponseNative {
        key: String,
        /// When it was left.
        timestamp: At,
        logical_date: Option<At>,
        run_after: At,
        map_index: i32,
        task_id: String,
        task_display_name: String,
        dag_id: String,
        dag_display_name: String,
        run_id: String,
        value: Value,
    }
}

/// A part of a list of XComs.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct XComCollectionResponse {
    #[schema(required)]
    xcom_entries: Vec<XComResponse>,
    /// How many there are, as far as they were counted.
    #[schema(required)]
    total_entries: i64,
    /// Where the count was ended, when it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    total_entries_limit: Option<i64>,
}

impl XComResponse {
    /// One whose task is at hand.
    fn left_by(of: &TaskOfRun, key: String) -> Self {
        let (dag, task) = (of.version.dag.display_name().to_owned(), of.task().display_name().to_owned());
        Self { dag_display_name: dag, task_display_name: task, ..Self::of(entry_of(of, key), &Names::default()) }
    }

    fn of(entry: XComEntry, names: &Names) -> Self {
        Self {
            key: entry.key,
            timestamp: At(entry.left_at),
            logical_date: entry.logical_date.map(At),
            run_after: At(entry.run_after),
            map_index: entry.map.get(),
            task_id: entry.task_id.to_string(),
            task_display_name: entry.task_id.to_string(),
            dag_id: entry.dag_id.to_string(),
            dag_display_name: names.name(entry.dag_id.as_str()),
            run_id: entry.run_id.to_string(),
        }
    }

    fn with_value(self, value: Value) -> XComResponseNative {
        XComResponseNative {
            key: self.key,
            timestamp: self.timestamp,
            logical_date: self.logical_date,
            run_after: self.run_after,
            map_index: self.map_index,
            task_id: self.task_id,
            task_display_name: self.task_display_name,
            dag_id: self.dag_id,
            dag_display_name: self.dag_display_name,
            run_id: self.run_id,
            value,
        }
    }
}

/// Get Xcom Entries
///
/// `~` stands for all DAGs, runs, tasks.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries", operation_id = "get_xcom_entries", tag = "XCom",
    params(TaskPath, XComsQuery),
    responses((status = 200, description = "Successful Response", body = XComCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn list(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    TaskPath { dag_id, dag_run_id, task_id }: TaskPath,
    query: XComsQuery,
) -> ApiResult<Json<XComCollectionResponse>> {
    let task_id = if task_id == ALL { None } else { Some(parse_task(&task_id)?) };
    let (run, dag_ids) = match scope(&app, &dag_id, &dag_run_id).await? {
        Scope::Run(run) => (Some(run.key), Vec::new()),
        Scope::Runs(dag_ids) => (None, dag_ids),
    };
    let runs = RunFilter {
        visible: who.visible(),
        dag_ids,
        dag_id_pattern: query.dag_display_name_pattern,
        dag_id_prefix: query.dag_display_name_prefix_pattern.0,
        run_id_pattern: query.run_id_pattern,
        run_id_prefix: query.run_id_prefix_pattern.0,
        logical_date: query.logical_date,
        run_after: query.run_after,
        ..RunFilter::default()
    };
    let filter = XComFilter {
        runs,
        run,
        task_id,
        task_pattern: query.task_id_pattern,
        task_prefix: query.task_id_prefix_pattern.0,
        key: query.xcom_key,
        key_pattern: query.xcom_key_pattern,
        key_prefix: query.xcom_key_prefix_pattern.0,
        map_indexes: query.map_index.into_iter().chain(query.map_index_filter).collect(),
        order: query.order_by.0,
        window: query.page.window(),
    };
    let _search = app.searches.enter().await?;
    let (found, total) = read::xcom_entries(&app.pool, &filter).await?;
    let names = Names::of(&app, found.iter().map(|entry| entry.dag_id.as_str())).await?;
    Ok(Json(XComCollectionResponse {
        xcom_entries: found.into_iter().map(|entry| XComResponse::of(entry, &names)).collect(),
        total_entries: total.number(),
        total_entries_limit: total.limit(),
    }))
}

/// Get Xcom Entry
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}", operation_id = "get_xcom_entry", tag = "XCom",
    params(XComPath, XComQuery),
    responses((status = 200, description = "Successful Response", body = XComResponseNative), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn one(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: XComPath,
    query: XComQuery,
) -> ApiResult<Json<XComResponseNative>> {
    let (of, key) = path.instance(&app, query.map_index).await?;
    let value = read::xcom_value(&app.pool, of.key, &key).await?.ok_or_else(|| missing(&key))?;
    let value = match who.may_see(&of.run.dag_id, &key, value) {
        Value::String(text) => Value::String(text),
        value if query.stringify.0 => Value::String(value.to_string()),
        value => value,
    };
    Ok(Json(XComResponse::left_by(&of, key).with_value(value)))
}

/// Create Xcom Entry
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries", operation_id = "create_xcom_entry", tag = "XCom",
    params(TaskPath),
    request_body = XComCreateBody,
    responses((status = 201, description = "Successful Response", body = XComResponseNative), Errors<404, 409>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn create(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: TaskPath,
    body: XComCreateBody,
) -> ApiResult<(StatusCode, Json<XComResponseNative>)> {
    let key = key_of(body.key)?;
    let of = path.instance(&app, body.map_index).await?;
    if read::xcom_value(&app.pool, of.key, key.as_str()).await?.is_some() {
        return Err(ApiError::Conflict(format!(
            "The XCom with key: `{key}` with mentioned task instance already exists."
        )));
    }
    Ok((StatusCode::CREATED, set(&app, &of, key, body.value.0, &who).await?))
}

/// Update Xcom Entry
#[utoipa::path(
    patch, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}", operation_id = "update_xcom_entry", tag = "XCom",
    params(XComPath),
    request_body = XComUpdateBody,
    responses((status = 200, description = "Successful Response", body = XComResponseNative), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn update(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: XComPath,
    body: XComUpdateBody,
) -> ApiResult<Json<XComResponseNative>> {
    let (of, key) = path.instance(&app, body.map_index).await?;
    read::xcom_value(&app.pool, of.key, &key).await?.ok_or_else(|| missing(&key))?;
    set(&app, &of, key_of(key)?, body.value.0, &who).await
}

/// Delete Xcom Entry
#[utoipa::path(
    delete, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}", operation_id = "delete_xcom_entry", tag = "XCom",
    params(XComPath, OfIndex),
    responses((status = 204, description = "Successful Response"), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn delete(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: XComPath,
    OfIndex { map_index }: OfIndex,
) -> ApiResult<StatusCode> {
    let (of, key) = path.instance(&app, map_index).await?;
    read::xcom_value(&app.pool, of.key, &key).await?.ok_or_else(|| missing(&key))?;
    commands::send(&app, &Command::DeleteXCom(name_of(&of, key_of(key)?)), &who).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn key_of(text: String) -> ApiResult<XComKey> {
    XComKey::new(text).map_err(|error: InvalidText| ApiError::BadRequest(format!("the XCom's key: {error}")))
}

async fn set(
    app: &App,
    of: &TaskOfRun,
    key: XComKey,
    value: Value,
    who: &Principal,
) -> ApiResult<Json<XComResponseNative>> {
    let bytes = value.to_string().len();
    if bytes > XComValue::BYTES_MAX {
        return Err(ApiError::BadRequest(format!(
            "an XCom has at most {} bytes as JSON, this one {bytes}",
            XComValue::BYTES_MAX
        )));
    }
    let xcom = name_of(of, key.clone());
    let value = Storable::new(value).map_err(|error| ApiError::BadRequest(error.to_string()))?;
    commands::send(app, &Command::SetXCom { xcom, value: value.clone() }, who).await?;
    Ok(Json(XComResponse::left_by(of, key.into_string()).with_value(value.into_value())))
}

fn name_of(of: &TaskOfRun, key: XComKey) -> XComName {
    XComName {
        dag_id: of.run.dag_id.clone(),
        run_id: of.run.run_id.clone(),
        task_id: of.task().task_id.clone(),
        map_index: of.key.map,
        key,
    }
}

/// An XCom of an instance. It is as old as the attempt's end that left it.
fn entry_of(of: &TaskOfRun, key: String) -> XComEntry {
    let row = of.stored.as_ref().map(|stored| &stored.row);
    let left_at = row.and_then(|row| row.ended_at.or(row.started_at)).unwrap_or(of.run.queued_at);
    XComEntry { left_at, ..XComEntry::of_run(&of.run, of.task().task_id.clone(), of.key.map, key) }
}

fn missing(key: &str) -> ApiError {
    ApiError::NotFound(format!("XCom entry with key: `{key}` not found"))
}
