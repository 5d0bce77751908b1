//! Mistakes in DAG files: one entry a file, as in Airflow, with every mistake of it in the text.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use dag::ERRORS_PER_FILE_MAX;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::read::{self, ImportError, Pattern, Window};

use super::{
    path::Names,
    query::Query,
    shapes::{BUNDLE, instant},
};
use crate::{
    app::App,
    error::{ApiError, ApiResult},
};

/// Files whose mistakes are read at once.
const FILES_AT_ONCE: usize = 20;
/// What a file tells at most: its first mistakes, and what the leader may add when it takes it in. So none is cut.
const MISTAKES_OF_FILE_MAX: usize = 2 * ERRORS_PER_FILE_MAX;
/// Files that are looked through for one by its number, which no row has.
const FILES_MAX: i64 = 100_000;

/// `GET /api/v2/importErrors`.
pub async fn list(State(app): State<App>, mut query: Query) -> ApiResult<Json<Value>> {
    let page = query.page();
    let pattern = query.pattern("filename_pattern");
    query.finish()?;
    let files = read::broken_files(&app.pool, &pattern, page.window()).await?;
    let total = read::broken_file_count(&app.pool, &pattern).await?;
    let shaped: Vec<Value> = by_file(&app, &files).await?.iter().map(|(file, errors)| shape(file, errors)).collect();
    Ok(Json(json!({ "import_errors": shaped, "total_entries": total })))
}

/// `GET /api/v2/importErrors/{import_error_id}`.
pub async fn one(State(app): State<App>, names: Names) -> ApiResult<Json<Value>> {
    let id: i64 = names.number("import_error_id")?;
    let all = Window { limit: FILES_MAX, offset: 0 };
    let files = read::broken_files(&app.pool, &Pattern::default(), all).await?;
    let missing = || ApiError::NotFound(format!("The ImportError with import_error_id: `{id}` was not found"));
    let file = files.into_iter().find(|file| number(file) == id).ok_or_else(missing)?;
    let found = by_file(&app, &[file]).await?;
    let (file, errors) = found.first_key_value().ok_or_else(missing)?;
    Ok(Json(shape(file, errors)))
}

/// The mistakes of these files.
async fn by_file(app: &App, named: &[String]) -> ApiResult<BTreeMap<String, Vec<ImportError>>> {
    let mut files: BTreeMap<String, Vec<ImportError>> = BTreeMap::new();
    for some in named.chunks(FILES_AT_ONCE) {
        let limit = i64::try_from(some.len() * MISTAKES_OF_FILE_MAX).unwrap_or(i64::MAX);
        for error in read::import_errors(&app.pool, some, limit).await? {
            files.entry(error.file.clone()).or_default().push(error);
        }
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
