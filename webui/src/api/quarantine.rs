//! What the leader holds in quarantine because it could not take it in. Airflow has no such thing.

use axum::{Extension, Json, extract::State};
use store::quarantine::{self, Entry};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    declare::{At, Errors, answer, path_params, query_params},
    query::Page,
};
use crate::{
    app::App,
    auth::{Principal, rights::Right},
    changes::quarantine::{missing, release_one, subject},
    error::ApiResult,
};

/// The operations.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one)).routes(routes!(release))
}

path_params! {
    /// Something that is held.
    pub struct EntryPath {
        /// Its kind and its key, as in `version:7`.
        entry_id: String,
    }
}

query_params! {
    /// Which part of the list is meant.
    pub struct EntriesFilter {
        page: Page,
    }
}

answer! {
    /// Something that is held.
    pub struct QuarantineEntryResponse {
        /// Its kind and its key.
        entry_id: String,
        kind: String,
        key: String,
        /// Why it could not be taken in.
        reason: String,
        /// How often it was tried.
        failures: i32,
        first_failed_at: At,
        last_failed_at: At,
    }
}

answer! {
    /// A part of what is held.
    pub struct QuarantineEntryCollectionResponse {
        quarantine_entries: Vec<QuarantineEntryResponse>,
        total_entries: i64,
    }
}

answer! {
    /// What is tried again.
    pub struct QuarantineReleaseResponse {
        entry_id: String,
        released: bool,
    }
}

/// Get Quarantine Entries
#[utoipa::path(
    get, path = "/api/v2/quarantine", operation_id = "get_quarantine_entries", tag = "Quarantine",
    params(EntriesFilter),
    responses((status = 200, description = "Successful Response", body = QuarantineEntryCollectionResponse), Errors),
    security(("token" = [Right::Read]))
)]
pub async fn list(
    State(app): State<App>,
    EntriesFilter { page }: EntriesFilter,
) -> ApiResult<Json<QuarantineEntryCollectionResponse>> {
    let (entries, total_entries) = quarantine::list(&app.pool, None, (page.limit, page.offset)).await?;
    let quarantine_entries = entries.into_iter().map(shape).collect();
    Ok(Json(QuarantineEntryCollectionResponse { quarantine_entries, total_entries }))
}

/// Get Quarantine Entry
#[utoipa::path(
    get, path = "/api/v2/quarantine/{entry_id}", operation_id = "get_quarantine_entry", tag = "Quarantine",
    params(EntryPath),
    responses((status = 200, description = "Successful Response", body = QuarantineEntryResponse), Errors<404>),
    security(("token" = [Right::Read]))
)]
pub async fn one(
    State(app): State<App>,
    EntryPath { entry_id: id }: EntryPath,
) -> ApiResult<Json<QuarantineEntryResponse>> {
    let (entries, _) = quarantine::list(&app.pool, Some(&subject(&id)?), (1, 0)).await?;
    entries.into_iter().next().map(|entry| Json(shape(entry))).ok_or_else(|| missing(&id))
}

/// Release Quarantine Entry
///
/// The leader tries it again.
#[utoipa::path(
    post, path = "/api/v2/quarantine/{entry_id}/release", operation_id = "release_quarantine_entry",
    tag = "Quarantine",
    params(EntryPath),
    responses((status = 200, description = "Successful Response", body = QuarantineReleaseResponse), Errors<404>),
    security(("token" = [Right::ChangeAdmin]))
)]
pub async fn release(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    EntryPath { entry_id }: EntryPath,
) -> ApiResult<Json<QuarantineReleaseResponse>> {
    release_one(&app, &who, &entry_id).await?;
    Ok(Json(QuarantineReleaseResponse { entry_id, released: true }))
}

fn shape(entry: Entry) -> QuarantineEntryResponse {
    QuarantineEntryResponse {
        entry_id: entry.id,
        kind: entry.kind,
        key: entry.key,
        reason: entry.reason,
        failures: entry.failures,
        first_failed_at: entry.first_at.into(),
        last_failed_at: entry.last_at.into(),
    }
}
