//! What Airflow has and Windlass has none of: clients ask for it and get Airflow's empty answers, and who wants to make one
//! is told that it can not be done.

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{body::Body, lookup_dag, lookup_run, path::Names, query::Query};
use crate::{
    app::App,
    error::{ApiError, ApiResult},
};

/// `GET /api/v2/plugins`.
pub async fn plugins() -> Json<Value> {
    none("plugins")
}

/// `GET /api/v2/plugins/importErrors`.
pub async fn plugin_errors() -> Json<Value> {
    none("import_errors")
}

/// `GET /api/v2/providers`: operators are built in.
pub async fn providers() -> Json<Value> {
    none("providers")
}

/// `GET /api/v2/config` and `GET /api/v2/config/section/{section}/option/{option}`: Airflow's default.
pub async fn config() -> ApiError {
    let text = "Your Airflow administrator chose not to expose the configuration, most likely for security reasons.";
    ApiError::Refused(text.to_owned())
}

/// `GET …/taskInstances/{task_id}/links`: operators have none.
pub async fn links(State(app): State<App>, names: Names) -> ApiResult<Json<Value>> {
    names.instance(&app).await?;
    Ok(Json(json!({ "extra_links": {}, "total_entries": 0 })))
}

/// `GET …/taskInstances/{task_id}/externalLogUrl/{try_number}`: logs are kept here.
pub async fn external_log() -> ApiError {
    ApiError::NotFound("Task log handler does not support external logs.".to_owned())
}

/// Why a task instance is not deleted.
pub const INSTANCE_STAYS: &str =
    "A task instance can not be deleted: it goes with its run. Clear it to let it run again";

/// `DELETE …/taskInstances/{task_id}`.
pub async fn delete_instance(State(app): State<App>, names: Names) -> ApiResult<Json<Value>> {
    names.instance(&app).await?;
    Err(ApiError::NotThere(INSTANCE_STAYS.into()))
}

/// `GET …/dagRuns/{dag_run_id}/hitlDetails`: no task asks people.
pub async fn questions(State(app): State<App>, names: Names) -> ApiResult<Json<Value>> {
    of_run(&app, &names, "hitl_details").await
}

/// `GET …/dagRuns/{dag_run_id}/upstreamAssetEvents`: no run is made by assets.
pub async fn upstream_asset_events(State(app): State<App>, names: Names) -> ApiResult<Json<Value>> {
    of_run(&app, &names, "asset_events").await
}

async fn of_run(app: &App, names: &Names, list: &str) -> ApiResult<Json<Value>> {
    lookup_run(app, names.text("dag_id"), names.text("dag_run_id")).await?;
    Ok(none(list))
}

/// `GET /api/v2/assets`.
pub async fn assets() -> Json<Value> {
    none("assets")
}

/// `GET /api/v2/assets/aliases`.
pub async fn asset_aliases() -> Json<Value> {
    none("asset_aliases")
}

/// `GET /api/v2/assets/events`.
pub async fn asset_events() -> Json<Value> {
    none("asset_events")
}

/// `POST /api/v2/assets/events`.
pub async fn make_asset_event() -> ApiError {
    ApiError::NotThere("There are no assets yet, so nothing can be told of one".into())
}

/// `GET /api/v2/assets/{asset_id}` and what lies below it.
pub async fn asset(names: Names) -> ApiResult<Json<Value>> {
    let id: i64 = names.number("asset_id")?;
    Err(ApiError::NotFound(format!("The Asset with ID: `{id}` was not found")))
}

/// `GET /api/v2/dags/{dag_id}/assets/queuedEvents`.
pub async fn queued_events(State(app): State<App>, names: Names) -> ApiResult<Json<Value>> {
    lookup_dag(&app, names.text("dag_id")).await?;
    Ok(none("queued_events"))
}

/// Why there is no backfill, and what to do.
const NO_BACKFILLS: &str =
    "Backfills can not be made yet: let the DAG catch up, or trigger a run for each logical date";

/// What a backfill would be made of, beside its DAG.
const BACKFILL_MEMBERS: [&str; 7] = [
    "from_date",
    "to_date",
    "run_backwards",
    "dag_run_conf",
    "reprocess_behavior",
    "max_active_runs",
    "run_on_latest_version",
];

/// `GET /api/v2/backfills?dag_id=…`.
pub async fn backfills(State(app): State<App>, mut query: Query) -> ApiResult<Json<Value>> {
    let dag_id = query.required_text("dag_id");
    query.finish()?;
    lookup_dag(&app, &dag_id).await?;
    Ok(none("backfills"))
}

/// `GET /api/v2/backfills/{backfill_id}` and what changes one.
pub async fn backfill(names: Names) -> ApiResult<Json<Value>> {
    let id: i64 = names.number("backfill_id")?;
    Err(ApiError::NotFound(format!("Backfill with id {id} not found")))
}

/// `POST /api/v2/backfills` and `POST /api/v2/backfills/dry_run`.
pub async fn make_backfill(State(app): State<App>, mut body: Body) -> ApiResult<Json<Value>> {
    let dag_id = body.required_text("dag_id");
    for member in BACKFILL_MEMBERS {
        body.take(member);
    }
    body.finish()?;
    lookup_dag(&app, &dag_id).await?;
    Err(ApiError::NotThere(NO_BACKFILLS.into()))
}

/// A list of what there is none of.
fn none(list: &str) -> Json<Value> {
    Json(json!({ list: [], "total_entries": 0 }))
}
