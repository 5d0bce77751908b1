//! Versions of DAGs and their text.

use std::{cmp::Ordering, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use store::read::{self, Version};

use super::{
    ALL,
    accept::{self, Form},
    lookup_dag,
    path::Names,
    query::{Query, in_order},
    shapes,
};
use crate::{
    app::App,
    error::{ApiError, ApiResult},
};

/// What lists can be ordered by.
#[derive(Debug, Clone, Copy)]
enum Key {
    Id,
    Number,
    Bundle,
    Hash,
}

fn key(name: &str) -> Option<Key> {
    match name {
        "id" => Some(Key::Id),
        "version_number" => Some(Key::Number),
        "bundle_name" => Some(Key::Bundle),
        "bundle_version" => Some(Key::Hash),
        _ => None,
    }
}

/// `GET /api/v2/dags/{dag_id}/dagVersions`; `~` for all DAGs.
pub async fn list(State(app): State<App>, Path(dag_id): Path<String>, mut query: Query) -> ApiResult<Json<Value>> {
    let page = query.page();
    let order = query.order(key)?;
    let numbers = query.numbers("version_number");
    let hash = query.text("bundle_version").map(str::to_owned);
    query.finish()?;
    let mut found = versions(&app, &dag_id).await?;
    found.retain(|version| {
        (numbers.is_empty() || numbers.contains(&version.number))
            && hash.as_ref().is_none_or(|hash| *hash == version.content_hash)
    });
    in_order(&mut found, &order, Key::Id, |key, a, b| match key {
        Key::Id => a.id.cmp(&b.id),
        Key::Number => a.number.cmp(&b.number),
        Key::Bundle => Ordering::Equal,
        Key::Hash => a.content_hash.cmp(&b.content_hash),
    });
    let total = found.len();
    let shaped: Vec<Value> = page.of(found).iter().map(|version| shapes::dag_version(version)).collect();
    Ok(Json(json!({ "dag_versions": shaped, "total_entries": total })))
}

async fn versions(app: &App, dag_id: &str) -> ApiResult<Vec<Arc<Version>>> {
    let dag = if dag_id == ALL { None } else { Some(lookup_dag(app, dag_id).await?.0.dag_id) };
    let ids = read::version_ids(&app.pool, dag.as_ref()).await?;
    Ok(app.versions.all(&app.pool, ids).await?.into_values().collect())
}

/// `GET /api/v2/dags/{dag_id}/dagVersions/{version_number}`.
pub async fn one(State(app): State<App>, names: Names) -> ApiResult<Json<Value>> {
    Ok(Json(shapes::dag_version(&*numbered(&app, names.text("dag_id"), names.number("version_number")?).await?)))
}

async fn numbered(app: &App, dag_id: &str, number: i32) -> ApiResult<Arc<Version>> {
    let found = versions(app, dag_id).await?.into_iter().find(|version| version.number == number);
    found.ok_or_else(|| {
        ApiError::NotFound(format!(
            "The DagVersion with dag_id: `{dag_id}` and version_number: `{number}` was not found"
        ))
    })
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
