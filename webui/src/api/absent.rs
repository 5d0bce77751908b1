//! What Airflow has and Windlass has none of: clients ask for it and get Airflow's empty answers.

use axum::{
    Json,
    extract::{Path, State},
};
use model::MapIndex;
use serde_json::{Value, json};

use super::instances::lookup;
use crate::{
    app::App,
    error::{ApiError, ApiResult},
};

/// `GET /api/v2/plugins`.
pub async fn plugins() -> Json<Value> {
    Json(json!({ "plugins": [], "total_entries": 0 }))
}

/// `GET /api/v2/plugins/importErrors`.
pub async fn plugin_errors() -> Json<Value> {
    Json(json!({ "import_errors": [], "total_entries": 0 }))
}

/// `GET /api/v2/providers`: operators are built in.
pub async fn providers() -> Json<Value> {
    Json(json!({ "providers": [], "total_entries": 0 }))
}

/// `GET /api/v2/dagWarnings`: what Airflow warns of is an import error here.
pub async fn warnings() -> Json<Value> {
    Json(json!({ "dag_warnings": [], "total_entries": 0 }))
}

/// `GET /api/v2/config` and `GET /api/v2/config/section/{section}/option/{option}`: Airflow's default.
pub async fn config() -> ApiError {
    let text = "Your Airflow administrator chose not to expose the configuration, most likely for security reasons.";
    ApiError::Refused(text.to_owned())
}

/// `GET …/taskInstances/{task_id}/links`: operators have none.
pub async fn links(
    State(app): State<App>,
    Path((dag_id, run_id, task_id)): Path<(String, String, String)>,
) -> ApiResult<Json<Value>> {
    lookup(&app, &dag_id, &run_id, &task_id, MapIndex::UNMAPPED).await?;
    Ok(Json(json!({ "extra_links": {}, "total_entries": 0 })))
}

/// `GET …/taskInstances/{task_id}/externalLogUrl/{try_number}`: logs are kept here.
pub async fn external_log() -> ApiError {
    ApiError::NotFound("Task log handler does not support external logs.".to_owned())
}
