//! What the leader holds in quarantine because it could not take it in. Airflow has no such thing.

use axum::{Extension, Json, extract::State};
use serde_json::{Value, json};
use store::quarantine::{self, Entry, Subject};

use super::{path::Names, query::Query, shapes::instant};
use crate::{
    app::App,
    auth::Principal,
    error::{ApiError, ApiResult},
};

/// `GET /api/v2/quarantine`.
pub async fn list(State(app): State<App>, mut query: Query) -> ApiResult<Json<Value>> {
    let page = query.page();
    query.finish()?;
    let (entries, total) = quarantine::list(&app.pool, None, (page.limit, page.offset)).await?;
    let shaped: Vec<Value> = entries.iter().map(shape).collect();
    Ok(Json(json!({ "quarantine_entries": shaped, "total_entries": total })))
}

/// `GET /api/v2/quarantine/{entry_id}`.
pub async fn one(State(app): State<App>, names: Names) -> ApiResult<Json<Value>> {
    let id = names.text("entry_id");
    let subject = subject(id)?;
    let (entries, _) = quarantine::list(&app.pool, Some(&subject), (1, 0)).await?;
    entries.first().map(|entry| Json(shape(entry))).ok_or_else(|| missing(id))
}

/// `POST /api/v2/quarantine/{entry_id}/release`: the leader tries it again.
pub async fn release(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    names: Names,
) -> ApiResult<Json<Value>> {
    let id = names.text("entry_id");
    release_one(&app, &who, id).await?;
    Ok(Json(json!({ "entry_id": id, "released": true })))
}

/// Releases an entry by its id.
///
/// # Errors
/// [`ApiError::NotFound`] when nothing of that id is held.
pub async fn release_one(app: &App, who: &Principal, id: &str) -> ApiResult<()> {
    let was_held = quarantine::release(&app.pool, who.actor(), &subject(id)?).await?;
    if was_held { Ok(()) } else { Err(missing(id)) }
}

fn subject(id: &str) -> ApiResult<Subject> {
    id.parse().map_err(|_| missing(id))
}

fn missing(id: &str) -> ApiError {
    ApiError::NotFound(format!("The quarantine entry with entry_id: `{id}` was not found"))
}

fn shape(entry: &Entry) -> Value {
    json!({
        "entry_id": entry.id, "kind": entry.kind, "key": entry.key, "reason": entry.reason, "failures": entry.failures,
        "first_failed_at": instant(entry.first_at), "last_failed_at": instant(entry.last_at),
    })
}
