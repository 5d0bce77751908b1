//! Versions of DAGs and their text.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use store::read::{self, Version, VersionFilter, VersionOrder};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ALL,
    accept::{self, Form},
    dag_shapes::{DagVersionResponse, dag_version, dag_version_of},
    declare::{Errors, OrderBy, OrderKey, answer, path_params, query_params},
    lookup_dag,
    query::Page,
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    error::{ApiError, ApiResult},
    reads::names::Names,
};

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one)).routes(routes!(source))
}

path_params! {
    /// The DAG whose versions are meant.
    pub struct VersionsPath {
        /// `~` for all DAGs.
        dag_id: String,
    }
}

path_params! {
    /// A version.
    pub struct VersionPath {
        dag_id: String,
        /// From 1.
        version_number: i32,
    }
}

path_params! {
    /// The DAG whose text is meant.
    pub struct SourcePath {
        dag_id: String,
    }
}

query_params! {
    /// Which versions a list has.
    pub struct VersionsFilter {
        page: Page,
        order_by: OrderBy<VersionOrder>,
        version_number: Vec<i32>,
        bundle_name: Option<String>,
        /// The revision of the bundle; of the DAG folder, which has none, the hash of a version's content.
        bundle_version: Option<String>,
    }
}

query_params! {
    /// Which version's text is meant.
    pub struct SourceFilter {
        /// The newest version when none is named.
        version_number: Option<i64>,
    }
}

impl OrderKey for VersionOrder {
    const KEYS: &'static [(&'static str, Self)] = &[
        ("id", Self::Id),
        ("version_number", Self::Number),
        ("bundle_name", Self::Bundle),
        ("bundle_version", Self::Revision),
    ];
    const DEFAULT: &'static str = "id";
}

/// A part of the list of versions.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct DAGVersionCollectionResponse {
    #[schema(required)]
    dag_versions: Vec<DagVersionResponse>,
    #[schema(required)]
    total_entries: i64,
    /// Where the count was ended, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    total_entries_limit: Option<i64>,
}

answer! {
    /// The text of a version, as people wrote it.
    pub struct DAGSourceResponse {
        content: Option<String>,
        dag_id: String,
        version_number: Option<i32>,
        dag_display_name: String,
    }
}

/// Get Dag Versions
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagVersions", operation_id = "get_dag_versions", tag = "DagVersion",
    params(VersionsPath, VersionsFilter),
    responses((status = 200, description = "Successful Response", body = DAGVersionCollectionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn list(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    VersionsPath { dag_id }: VersionsPath,
    asked: VersionsFilter,
) -> ApiResult<Json<DAGVersionCollectionResponse>> {
    let filter = VersionFilter {
        visible: who.visible(),
        dag_id: if dag_id == ALL { None } else { Some(lookup_dag(&app, &dag_id).await?.0.dag_id) },
        numbers: asked.version_number,
        bundle: asked.bundle_name,
        revision: asked.bundle_version,
        order: asked.order_by.0,
    };
    let (found, total) = read::version_page(&app.pool, &filter, asked.page.window()).await?;
    let names = Names::of(&app, found.iter().map(|(dag, _)| dag.as_str())).await?;
    Ok(Json(DAGVersionCollectionResponse {
        dag_versions: found
            .iter()
            .map(|(dag, version)| dag_version_of(dag, &names.name(dag.as_str()), version))
            .collect(),
        total_entries: total.number(),
        total_entries_limit: total.limit(),
    }))
}

/// Get Dag Version
#[utoipa::path(
    get, path = "/api/v2/dags/{dag_id}/dagVersions/{version_number}", operation_id = "get_dag_version",
    tag = "DagVersion",
    params(VersionPath),
    responses((status = 200, description = "Successful Response", body = DagVersionResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn one(State(app): State<App>, path: VersionPath) -> ApiResult<Json<DagVersionResponse>> {
    let version = numbered(&app, &path.dag_id, path.version_number.into()).await?;
    Ok(Json(dag_version(&version)))
}

async fn numbered(app: &App, dag_id: &str, number: i64) -> ApiResult<Arc<Version>> {
    let missing = || {
        ApiError::NotFound(format!(
            "The DagVersion with dag_id: `{dag_id}` and version_number: `{number}` was not found"
        ))
    };
    let (dag, _) = lookup_dag(app, dag_id).await?;
    let number = i32::try_from(number).map_err(|_| missing())?;
    let id = read::version_numbered(&app.pool, &dag.dag_id, number).await?.ok_or_else(missing)?;
    app.versions.one(&app.pool, id).await
}

/// Get Dag Source
///
/// As JSON, or as it is for who accepts text only.
#[utoipa::path(
    get, path = "/api/v2/dagSources/{dag_id}", operation_id = "get_dag_source", tag = "DagSource",
    params(SourcePath, SourceFilter),
    responses(
        (
            status = 200, description = "Successful Response",
            content((DAGSourceResponse = "application/json"), (String = "text/plain"))
        ),
        Errors<404, 406>,
    ),
    security(("token" = [Right::Read]))
)]
pub async fn source(
    State(app): State<App>,
    SourcePath { dag_id }: SourcePath,
    asked: SourceFilter,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let form = accept::form(&headers, "text/plain")?;
    let version = match asked.version_number {
        Some(number) => numbered(&app, &dag_id, number).await?,
        None => lookup_dag(&app, &dag_id).await?.1,
    };
    let text = read::source(&app.pool, version.id).await?.unwrap_or_default();
    Ok(match form {
        Form::Other => ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response(),
        Form::Json => Json(DAGSourceResponse {
            content: Some(text),
            dag_id: version.dag.dag_id.to_string(),
            version_number: Some(version.number),
            dag_display_name: version.dag.display_name().to_owned(),
        })
        .into_response(),
    })
}
