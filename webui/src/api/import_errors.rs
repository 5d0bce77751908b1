//! Mistakes in DAG files: one entry a file, as in Airflow, with every mistake of it in the text.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use dag::ERRORS_PER_FILE_MAX;
use model::BundleName;
use sha2::{Digest, Sha256};
use store::read::{self, BrokenFile, FileFilter, FileOrder, ImportError, Pattern, Window};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    declare::{At, Errors, OrderBy, OrderKey, Prefix, answer, path_params, query_params},
    query::Page,
};
use crate::{
    app::App,
    auth::rights::Right,
    error::{ApiError, ApiResult},
};

/// Files whose mistakes are read at once.
const FILES_AT_ONCE: usize = 20;
/// What a file tells at most: its first mistakes, and what the leader may add when it takes it in. So none is cut.
const MISTAKES_OF_FILE_MAX: usize = 2 * ERRORS_PER_FILE_MAX;
/// Files that are looked through for one by its number, which no row has.
const FILES_MAX: i64 = 100_000;

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one))
}

path_params! {
    /// A file with mistakes.
    pub struct ImportErrorPath {
        import_error_id: i64,
    }
}

query_params! {
    /// Which files a list has.
    pub struct ImportErrorFilter {
        page: Page,
        order_by: OrderBy<FileOrder>,
        /// Part of the file's name, whatever its case; `%` and `_` are wildcards, `|` separates alternatives.
        filename_pattern: Pattern,
        /// How the file's name begins.
        filename_prefix_pattern: Prefix,
        /// The file's name.
        filename: Option<String>,
        /// The bundle that the file is of; `dags-folder` is the DAG folder.
        bundle_name: Option<String>,
    }
}

impl OrderKey for FileOrder {
    // Files have no numbers of their own, which leaves the order of names.
    const KEYS: &'static [(&'static str, Self)] = &[
        ("id", Self::File),
        ("timestamp", Self::FoundAt),
        ("filename", Self::File),
        ("bundle_name", Self::Bundle),
        ("stacktrace", Self::Message),
        ("import_error_id", Self::File),
    ];
    const DEFAULT: &'static str = "id";
}

answer! {
    /// A file with all of its mistakes.
    pub struct ImportErrorResponse {
        import_error_id: i64,
        timestamp: At,
        filename: String,
        bundle_name: Option<String>,
        stack_trace: String,
    }
}

answer! {
    /// A part of the list of files with mistakes.
    pub struct ImportErrorCollectionResponse {
        import_errors: Vec<ImportErrorResponse>,
        total_entries: i64,
    }
}

/// Get Import Errors
#[utoipa::path(
    get, path = "/api/v2/importErrors", operation_id = "get_import_errors", tag = "Import Error",
    params(ImportErrorFilter),
    responses((status = 200, description = "Successful Response", body = ImportErrorCollectionResponse), Errors),
    security(("token" = [Right::Read]))
)]
pub async fn list(State(app): State<App>, filter: ImportErrorFilter) -> ApiResult<Json<ImportErrorCollectionResponse>> {
    let files = FileFilter {
        pattern: filter.filename_pattern,
        prefix: filter.filename_prefix_pattern.0,
        file: filter.filename,
        bundle: filter.bundle_name,
        order: filter.order_by.0,
    };
    let named = read::broken_files(&app.pool, &files, filter.page.window()).await?;
    let total_entries = read::broken_file_count(&app.pool, &files).await?;
    let mut found = by_file(&app, &named).await?;
    let in_order = named.iter().filter_map(|file| shape(file, &found.remove(file)?));
    Ok(Json(ImportErrorCollectionResponse { import_errors: in_order.collect(), total_entries }))
}

/// Get Import Error
#[utoipa::path(
    get, path = "/api/v2/importErrors/{import_error_id}", operation_id = "get_import_error", tag = "Import Error",
    params(ImportErrorPath),
    responses((status = 200, description = "Successful Response", body = ImportErrorResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn one(
    State(app): State<App>,
    ImportErrorPath { import_error_id: id }: ImportErrorPath,
) -> ApiResult<Json<ImportErrorResponse>> {
    let all = Window { limit: FILES_MAX, offset: 0 };
    let files = read::broken_files(&app.pool, &FileFilter::default(), all).await?;
    let missing = || ApiError::NotFound(format!("The ImportError with import_error_id: `{id}` was not found"));
    let file = files.into_iter().find(|file| number(file) == id).ok_or_else(missing)?;
    let found = by_file(&app, std::slice::from_ref(&file)).await?;
    found.get(&file).and_then(|errors| shape(&file, errors)).map(Json).ok_or_else(missing)
}

/// The mistakes of these files.
async fn by_file(app: &App, named: &[BrokenFile]) -> ApiResult<BTreeMap<BrokenFile, Vec<ImportError>>> {
    let mut files: BTreeMap<BrokenFile, Vec<ImportError>> = BTreeMap::new();
    for some in named.chunks(FILES_AT_ONCE) {
        let limit = i64::try_from(some.len() * MISTAKES_OF_FILE_MAX).unwrap_or(i64::MAX);
        for error in read::import_errors(&app.pool, some, limit).await? {
            let file = BrokenFile { bundle_name: error.bundle_name.clone(), file: error.file.clone() };
            files.entry(file).or_default().push(error);
        }
    }
    Ok(files)
}

/// A number for a file, the same as long as it has mistakes: rows have none.
fn number(file: &BrokenFile) -> i64 {
    // Those of the DAG folder have the numbers that they had when there was nothing else.
    let digest = match file.bundle_name.as_str() {
        BundleName::FOLDER => Sha256::digest(&file.file),
        bundle => Sha256::digest(format!("{bundle}\0{}", file.file)),
    };
    i64::from(u32::from_be_bytes([digest[0] & 0x7f, digest[1], digest[2], digest[3]]))
}

/// One mistake in words: place, field, what is wrong, what to write.
fn sentence(error: &ImportError) -> String {
    let line = error.line.map(|line| format!(":{line}")).unwrap_or_default();
    let field = error.field.as_ref().map(|field| format!("{field}: ")).unwrap_or_default();
    let suggestion = error.suggestion.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
    format!("{}{line}: {field}{}{suggestion}", error.file, error.message)
}

/// A file that has mistakes.
fn shape(file: &BrokenFile, errors: &[ImportError]) -> Option<ImportErrorResponse> {
    let text: Vec<String> = errors.iter().map(sentence).collect();
    Some(ImportErrorResponse {
        import_error_id: number(file),
        timestamp: errors.iter().map(|error| error.found_at).max()?.into(),
        filename: file.file.clone(),
        bundle_name: Some(file.bundle_name.clone()),
        stack_trace: text.join("\n"),
    })
}
