//! What the leader could not take in, released so that it is tried again.

use store::quarantine::{self, Subject};

use crate::{
    app::App,
    auth::Principal,
    error::{ApiError, ApiResult},
};

/// Releases an entry by its id.
///
/// # Errors
/// [`ApiError::NotFound`] when nothing of that id is held.
pub async fn release_one(app: &App, who: &Principal, id: &str) -> ApiResult<()> {
    let was_held = quarantine::release(&app.pool, who.actor(), &subject(id)?).await?;
    if was_held { Ok(()) } else { Err(missing(id)) }
}

/// What an id of a client names.
///
/// # Errors
/// [`ApiError::NotFound`] when it can not be one.
pub fn subject(id: &str) -> ApiResult<Subject> {
    id.parse().map_err(|_| missing(id))
}

/// What is said of one that is not held.
pub fn missing(id: &str) -> ApiError {
    ApiError::NotFound(format!("The quarantine entry with entry_id: `{id}` was not found"))
}
