//! Mistakes in DAG files: one entry a file, as in Airflow, with every mistake of it in the text.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::read::{self, ImportError};

use super::{
    path::Names,
    query::{Query, matches},
    shapes::{BUNDLE, instant},
};
use crate::{
    app::App,
    error::{ApiError, ApiResult},
};

/// `GET /api/v2/importErrors`.
pub async fn list(State(app): State<App>, mut query: Query) -> ApiResult<Json<Value>> {
    let page = query.page();
    let pattern = query.pattern("filename_pattern");
    query.finish()?;
    let mut found = by_file(&app).await?;
    found.retain(|file, _| matches(&pattern, file));
    let total = found.len();
    let shaped: Vec<Value> = page.of(found).iter().map(|(file, errors)| shape(file, errors)).collect();
    Ok(Json(json!({ "import_errors": shaped, "total_entries": total })))
}

/// `GET /api/v2/importErrors/{import_error_id}`.
pub async fn one(State(app): State<App>, names: Names) -> ApiResult<Json<Value>> {
    let id: i64 = names.number("import_error_id")?;
    let found = by_file(&app).await?;
    let found = found.iter().find(|(file, _)| number(file) == id);
    let missing = || ApiError::NotFound(format!("The ImportError with import_error_id: `{id}` was not found"));
    let (file, errors) = found.ok_or_else(missing)?;
    Ok(Json(shape(file, errors)))
}

async fn by_file(app: &App) -> ApiResult<BTreeMap<String, Vec<ImportError>>> {
    let mut files: BTreeMap<String, Vec<ImportError>> = BTreeMap::new();
    for error in read::import_errors(&app.pool).await? {
        files.entry(error.file.clone()).or_default().push(error);
    }
    Ok(files)
}

/// A number for a file, the same as long as it has mistakes: rows have none.
fn number(file: &str) -> i64 {
    let digest = Sha256::digest(file);
    i64::from(u32::from_be_bytes([digest[0] & 0x7f, digest[1], digest[2], digest[3]]))
}

/// One mistake in words: place, field, what is wrong, what to write.
fn sentence(error: &ImportError) -> String {
    let line = error.line.map(|line| format!(":{line}")).unwrap_or_default();
    let field = error.field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default();
    let suggestion = error.suggestion.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
    format!("{}{line}: {field}{}{suggestion}", error.file, error.message)
}

fn shape(file: &str, errors: &[ImportError]) -> Value {
    let text: Vec<String> = errors.iter().map(sentence).collect();
    json!({
        "import_error_id": number(file), "filename": file, "bundle_name": BUNDLE, "stack_trace": text.join("\n"),
        "timestamp": errors.iter().map(|error| error.found_at).max().map(instant),
    })
}
