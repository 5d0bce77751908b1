//! Mistakes in DAG files, each with its place.

use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use chrono::Utc;
use serde::Serialize;
use store::read;

use super::{Frame, Place, error::PageResult, show as print, words::Moment};
use crate::{app::App, auth::Principal};

#[derive(Serialize)]
struct View {
    frame: Frame,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    place: String,
    field: Option<String>,
    message: String,
    suggestion: Option<String>,
    found: Moment,
}

/// `GET /import-errors`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
) -> PageResult<Response> {
    let now = Utc::now();
    let row = |error: read::ImportError| Row {
        place: error.line.map_or_else(|| error.file.clone(), |line| format!("{}:{line}", error.file)),
        field: error.field,
        message: error.message,
        suggestion: error.suggestion,
        found: Moment::new(error.found_at, now),
    };
    let rows = read::import_errors(&app.pool).await?.into_iter().map(row).collect();
    let frame = Frame::new(&app, &who, Place::ImportErrors, "Import errors").await?;
    Ok(print(&headers, "import_errors", &View { frame, rows })?)
}
