//! DAGs that users mark for themselves, for which it is enough to see them, as in Airflow.

use axum::{Extension, extract::State, http::StatusCode};
use store::favorites;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    declare::{Errors, path_params},
    lookup_dag,
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    error::{ApiError, ApiResult},
};

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(mark)).routes(routes!(unmark))
}

path_params! {
    /// The DAG that is marked.
    pub struct MarkedPath {
        dag_id: String,
    }
}

/// Favorite Dag
///
/// For who asks, and for nobody else.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/favorite", operation_id = "favorite_dag", tag = "DAG",
    params(MarkedPath),
    responses((status = 204, description = "Successful Response"), Errors<404, 409>),
    security(("token" = [Right::Read]))
)]
pub async fn mark(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    MarkedPath { dag_id }: MarkedPath,
) -> ApiResult<StatusCode> {
    let (dag, _) = lookup_dag(&app, &dag_id).await?;
    if favorites::mark(&app.pool, who.actor(), &who.name, &dag.dag_id).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(ApiError::AlreadyExists(format!("Dag with ID: `{dag_id}` is a favorite already")))
}

/// Unfavorite Dag
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/unfavorite", operation_id = "unfavorite_dag", tag = "DAG",
    params(MarkedPath),
    responses((status = 204, description = "Successful Response"), Errors<404, 409>),
    security(("token" = [Right::Read]))
)]
pub async fn unmark(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    MarkedPath { dag_id }: MarkedPath,
) -> ApiResult<StatusCode> {
    let (dag, _) = lookup_dag(&app, &dag_id).await?;
    if favorites::unmark(&app.pool, who.actor(), &who.name, &dag.dag_id).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(ApiError::Conflict(format!("Dag with ID: `{dag_id}` is not a favorite")))
}
