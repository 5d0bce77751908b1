//! What Airflow has and Windlass has none of: clients ask for it and get Airflow's empty answers, and who wants to make one
//! is told what is missing.

use axum::{Extension, Json, extract::State};
use model::{Command, MapIndex, door::Instant};
use serde_json::{Map, Value};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    declare::{Errors, Flag, answer, body, path_params, query_params},
    lookup_dag,
    query::Page,
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    changes::commands,
    error::{ApiError, ApiResult},
    reads::lookup::lookup_instance,
};

/// Names that a list can be ordered by which has no rows: they are checked, and that is all.
macro_rules! order_names {
    ($(#[$meta:meta])* $name:ident: $default:literal $(, $more:literal)* $(,)?) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name;

        impl $crate::declare::OrderKey for $name {
            const KEYS: &'static [(&'static str, Self)] = &[($default, Self) $(, ($more, Self))*];
            const DEFAULT: &'static str = $default;
        }
    };
}
pub(super) use order_names;

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(plugins))
        .routes(routes!(plugin_errors))
        .routes(routes!(providers))
        .routes(routes!(links))
        .routes(routes!(external_log))
        .routes(routes!(delete_instance))
        .routes(routes!(clear_partitions))
}

query_params! {
    /// Which part of an empty list is meant.
    pub struct AnyPart {
        _page: Page,
    }
}

answer! {
    /// The plugins.
    pub struct PluginCollectionResponse {
        plugins: Vec<PluginResponse>,
        total_entries: usize,
    }
}

answer! {
    /// A plugin.
    pub struct PluginResponse {
        name: String,
        macros: Vec<String>,
        flask_blueprints: Vec<String>,
        fastapi_apps: Vec<Value>,
        fastapi_root_middlewares: Vec<Value>,
        external_views: Vec<Value>,
        react_apps: Vec<Value>,
        appbuilder_views: Vec<Value>,
        appbuilder_menu_items: Vec<Value>,
        global_operator_extra_links: Vec<String>,
        operator_extra_links: Vec<String>,
        source: String,
        listeners: Vec<String>,
        timetables: Vec<String>,
    }
}

answer! {
    /// What is wrong with plugins.
    pub struct PluginImportErrorCollectionResponse {
        import_errors: Vec<PluginImportErrorResponse>,
        total_entries: usize,
    }
}

answer! {
    /// What is wrong with a plugin.
    pub struct PluginImportErrorResponse {
        source: String,
        error: String,
    }
}

answer! {
    /// The providers.
    pub struct ProviderCollectionResponse {
        providers: Vec<ProviderResponse>,
        total_entries: usize,
    }
}

answer! {
    /// A package of operators.
    pub struct ProviderResponse {
        package_name: String,
        description: String,
        version: String,
        documentation_url: Option<String>,
    }
}

/// Get Plugins
///
/// There are none: nothing of others is loaded into the server.
#[utoipa::path(
    get, path = "/api/v2/plugins", operation_id = "get_plugins", tag = "Plugin",
    params(AnyPart),
    responses((status = 200, description = "Successful Response", body = PluginCollectionResponse), Errors),
    security(("token" = [Right::Read]))
)]
pub async fn plugins(_: AnyPart) -> Json<PluginCollectionResponse> {
    Json(PluginCollectionResponse { plugins: Vec::new(), total_entries: 0 })
}

/// Import Errors
///
/// There are no plugins.
#[utoipa::path(
    get, path = "/api/v2/plugins/importErrors", operation_id = "import_errors", tag = "Plugin",
    responses((status = 200, description = "Successful Response", body = PluginImportErrorCollectionResponse), Errors),
    security(("token" = [Right::Read]))
)]
pub async fn plugin_errors() -> Json<PluginImportErrorCollectionResponse> {
    Json(PluginImportErrorCollectionResponse { import_errors: Vec::new(), total_entries: 0 })
}

/// Get Providers
///
/// There are none: operators are built in, and come with no package of their own.
#[utoipa::path(
    get, path = "/api/v2/providers", operation_id = "get_providers", tag = "Provider",
    params(AnyPart),
    responses((status = 200, description = "Successful Response", body = ProviderCollectionResponse), Errors),
    security(("token" = [Right::Read]))
)]
pub async fn providers(_: AnyPart) -> Json<ProviderCollectionResponse> {
    Json(ProviderCollectionResponse { providers: Vec::new(), total_entries: 0 })
}

path_params! {
    /// A task instance.
    pub struct InstancePath {
        dag_id: String,
        dag_run_id: String,
        task_id: String,
    }
}

path_params! {
    /// A try of a task instance.
    pub struct TryPath {
        dag_id: String,
        dag_run_id: String,
        task_id: String,
        /// From 1.
        _try_number: u32 = "try_number",
    }
}

query_params! {
    /// Which instance of a task is meant.
    pub struct InstanceIndex {
        map_index: MapIndex,
    }
}

query_params! {
    /// Which try of which instance of a task is meant.
    pub struct TryOfIndex {
        map_index: MapIndex,
        _try_number: Option<i64> = "try_number",
    }
}

answer! {
    /// Links of a task instance to other places, by their names.
    pub struct ExtraLinkCollectionResponse {
        extra_links: Map<String, Value>,
        total_entries: usize,
    }
}

answer! {
    /// Where else a log is.
    pub struct ExternalLogUrlResponse {
        url: String,
    }
}

/// Get Extra Links
///
/// Operators have none.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/links",
    operation_id = "get_extra_links", tag = "Extra Links",
    params(InstancePath, TryOfIndex),
    responses((status = 200, description = "Successful Response", body = ExtraLinkCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn links(
    State(app): State<App>,
    path: InstancePath,
    asked: TryOfIndex,
) -> ApiResult<Json<ExtraLinkCollectionResponse>> {
    lookup_instance(&app, &path.dag_id, &path.dag_run_id, &path.task_id, asked.map_index).await?;
    Ok(Json(ExtraLinkCollectionResponse { extra_links: Map::new(), total_entries: 0 }))
}

/// Get External Log Url
///
/// Logs are read here, also those that were shipped: there is no other place to send a reader to.
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/externalLogUrl/{try_number}",
    operation_id = "get_external_log_url", tag = "Task Instance",
    params(TryPath, InstanceIndex),
    responses((status = 200, description = "Successful Response", body = ExternalLogUrlResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn external_log(
    State(app): State<App>,
    path: TryPath,
    InstanceIndex { map_index }: InstanceIndex,
) -> ApiResult<Json<ExternalLogUrlResponse>> {
    lookup_instance(&app, &path.dag_id, &path.dag_run_id, &path.task_id, map_index).await?;
    Err(ApiError::BadRequest("Task log handler does not support external logs.".to_owned()))
}

/// Delete Task Instance
///
/// What has happened to it is forgotten: its tries, XComs and notes. Since the version of its run has the task, it stands in the run as one that
/// has not begun: a run that goes on starts it. It is refused while an attempt of it is at work.
#[utoipa::path(
    delete, path = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}",
    operation_id = "delete_task_instance", tag = "Task Instance",
    params(InstancePath, InstanceIndex),
    responses((status = 200, description = "Successful Response", body = Value), Errors<404, 409>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn delete_instance(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    path: InstancePath,
    InstanceIndex { map_index }: InstanceIndex,
) -> ApiResult<Json<Value>> {
    let found = lookup_instance(&app, &path.dag_id, &path.dag_run_id, &path.task_id, map_index).await?;
    commands::send(&app, &Command::DeleteTaskInstance(found.name()), &who).await?;
    Ok(Json(Value::Null))
}

/// What is missing.
const NO_PARTITIONS: &str = "Runs have no partitions yet: clear runs by their ids or dates with clearDagRuns";

path_params! {
    /// The DAG whose runs are meant.
    pub struct PartitionedPath {
        dag_id: String,
    }
}

body! {
    /// Which partitions are meant.
    pub struct ClearPartitionsBody {
        _partition_key: Option<String> = "partition_key",
        _partition_date_start: Option<Instant> = "partition_date_start",
        _partition_date_end: Option<Instant> = "partition_date_end",
        _run_id: Option<String> = "run_id",
        _clear_task_instances: Flag<true> = "clear_task_instances",
        _dry_run: Flag<true> = "dry_run",
    }
}

answer! {
    /// What was cleared, or would be.
    pub struct ClearPartitionsResponse {
        dag_runs_cleared: i64,
        task_instances_cleared: i64,
        dry_run: bool,
    }
}

/// Clear Dag Run Partitions
///
/// Not yet.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/clearPartitions", operation_id = "clear_dag_run_partitions", tag = "DagRun",
    params(PartitionedPath),
    request_body = ClearPartitionsBody,
    responses((status = 200, description = "Successful Response", body = ClearPartitionsResponse), Errors<404, 501>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn clear_partitions(
    State(app): State<App>,
    PartitionedPath { dag_id }: PartitionedPath,
    _: ClearPartitionsBody,
) -> ApiError {
    match lookup_dag(&app, &dag_id).await {
        Ok(_) => ApiError::NotThere(NO_PARTITIONS.into()),
        Err(error) => error,
    }
}
