//! How a DAG is held: whether it drains. Airflow's REST API has no such thing.

use axum::{Extension, Json, extract::State};
use model::{Command, command::Draining};
use store::read;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    declare::{Errors, answer, path_params},
    lookup_dag,
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    changes::commands,
    error::ApiResult,
};

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(control)).routes(routes!(drain)).routes(routes!(undrain))
}

path_params! {
    /// The DAG that is held.
    pub struct ControlPath {
        dag_id: String,
    }
}

answer! {
    /// How a DAG is held.
    pub struct DAGControlResponse {
        dag_id: String,
        is_paused: bool,
        /// Whether none of its runs starts, while those that are running go on to their end.
        is_draining: bool,
        /// How many of its runs have not ended, those that wait to start included.
        active_runs_count: i64,
    }
}

/// Get Dag Control
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/control", operation_id = "get_dag_control", tag = "DAG",
    params(ControlPath),
    responses((status = 200, description = "Successful Response", body = DAGControlResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn control(
    State(app): State<App>,
    ControlPath { dag_id }: ControlPath,
) -> ApiResult<Json<DAGControlResponse>> {
    shown(&app, &dag_id).await
}

/// Drain Dag
///
/// No further run of it starts, whatever made it; those that are running go on to their end. Runs that are triggered meanwhile wait.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/control/drain", operation_id = "drain_dag", tag = "DAG",
    params(ControlPath),
    responses((status = 200, description = "Successful Response", body = DAGControlResponse), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn drain(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    ControlPath { dag_id }: ControlPath,
) -> ApiResult<Json<DAGControlResponse>> {
    change(&app, &who, &dag_id, Draining::Draining).await
}

/// Undrain Dag
///
/// Its runs start again. Of what its schedule was due to make meanwhile the newest comes, or all with `catchup`.
#[utoipa::path(
    post, path = "/api/v2/dags/{dag_id}/control/undrain", operation_id = "undrain_dag", tag = "DAG",
    params(ControlPath),
    responses((status = 200, description = "Successful Response", body = DAGControlResponse), Errors<404>),
    security(("token" = [Right::ChangeDags]))
)]
pub async fn undrain(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    ControlPath { dag_id }: ControlPath,
) -> ApiResult<Json<DAGControlResponse>> {
    change(&app, &who, &dag_id, Draining::Active).await
}

async fn change(app: &App, who: &Principal, dag_id: &str, to: Draining) -> ApiResult<Json<DAGControlResponse>> {
    let (view, _) = lookup_dag(app, dag_id).await?;
    commands::send(app, &Command::DrainDag { dag_id: view.dag_id, to }, who).await?;
    shown(app, dag_id).await
}

async fn shown(app: &App, dag_id: &str) -> ApiResult<Json<DAGControlResponse>> {
    let (view, _) = lookup_dag(app, dag_id).await?;
    let active_runs_count = read::active_runs(&app.pool, &view.dag_id).await?;
    Ok(Json(DAGControlResponse {
        dag_id: view.dag_id.to_string(),
        is_paused: view.is_paused,
        is_draining: view.is_draining,
        active_runs_count,
    }))
}
