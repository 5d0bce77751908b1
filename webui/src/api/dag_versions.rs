//! Versions of DAGs and their text.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use store::read::{self, Version, VersionFilter, VersionOrder};

use super::{
    ALL,
    accept::{self, Form},
    dag_shapes::{dag_version, dag_version_of},
    lookup_dag,
    path::Names,
    query::{Query, counted},
};
use crate::{
    app::App,
    error::{ApiError, ApiResult},
};

fn key(name: &str) -> Option<VersionOrder> {
    match name {
        "id" => Some(VersionOrder::Id),
        "version_number" => Some(VersionOrder::Number),
        // There is one bundle.
        "bundle_name" => Some(VersionOrder::Id),
        "bundle_version" => Some(VersionOrder::Hash),
        _ => None,
    }
}

/// `GET /api/v2/dags/{dag_id}/dagVersions`; `~` for all DAGs.
pub async fn list(State(app): State<App>, Path(dag_id): Path<String>, mut query: Query) -> ApiResult<Json<Value>> {
    let page = query.page();
    let filter = VersionFilter {
        order: query.order(key)?,
        numbers: query.numbers("version_number"),
        content_hash: query.text("bundle_version").map(str::to_owned),
        dag_id: if dag_id == ALL { None } else { Some(lookup_dag(&app, &dag_id).await?.0.dag_id) },
    };
    query.finish()?;
    let (found, total) = read::version_page(&app.pool, &filter, page.window()).await?;
    let shaped: Vec<Value> = found.iter().map(|(dag, version)| json!(dag_version_of(dag, version))).collect();
    Ok(Json(counted("dag_versions", shaped, total)))
}

/// `GET /api/v2/dags/{dag_id}/dagVersions/{version_number}`.
pub async fn one(State(app): State<App>, names: Names) -> ApiResult<Json<Value>> {
    Ok(Json(json!(dag_version(&*numbered(&app, names.text("dag_id"), names.number("version_number")?).await?))))
}

async fn numbered(app: &App, dag_id: &str, number: i32) -> ApiResult<Arc<Version>> {
    let missing = || {
        ApiError::NotFound(format!(
            "The DagVersion with dag_id: `{dag_id}` and version_number: `{number}` was not found"
        ))
    };
    let (dag, _) = lookup_dag(app, dag_id).await?;
    let id = read::version_numbered(&app.pool, &dag.dag_id, number).await?.ok_or_else(missing)?;
    app.versions.one(&app.pool, id).await
}

/// `GET /api/v2/dagSources/{dag_id}`: the text of a version, the newest when none is named.
pub async fn source(
    State(app): State<App>,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
    mut query: Query,
) -> ApiResult<Response> {
    let form = accept::form(&headers, "text/plain")?;
    let number = query.numbers("version_number").first().copied();
    query.finish()?;
    let version = match number {
        Some(number) => numbered(&app, &dag_id, number).await?,
        None => lookup_dag(&app, &dag_id).await?.1,
    };
    let text = read::source(&app.pool, version.id).await?.unwrap_or_default();
    Ok(match form {
        Form::Other => ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response(),
        Form::Json => Json(json!({
            "content": text, "dag_id": version.dag.dag_id, "dag_display_name": version.dag.dag_id,
            "version_number": version.number,
        }))
        .into_response(),
    })
}
