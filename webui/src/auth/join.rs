//! Workers show what their join token gives them for api processes: not the token, which only the leader is told.

use axum::http::HeaderMap;
use link::transport::tls::Secret;
use store::cluster::{TokenState, token_of_lookup};

use super::guard::{Source, token_of};
use crate::{
    app::App,
    error::{ApiError, ApiResult},
};

/// Lets the holder of a join token in use through.
///
/// # Errors
/// [`ApiError::Unauthenticated`] without one, [`ApiError::JoinToken`] for one that is not in use.
pub async fn admit(app: &App, headers: &HeaderMap) -> ApiResult<()> {
    let Some((shown, Source::Header)) = token_of(headers, app.settings.cookie) else {
        return Err(ApiError::Unauthenticated);
    };
    let problem = match token_of_lookup(&app.pool, &Secret::new(shown).digest()).await? {
        Some(TokenState::Valid) => return Ok(()),
        Some(TokenState::Expired(_)) => "the join token has expired",
        Some(TokenState::Revoked(_)) => "the join token was revoked",
        None => "this cluster has never had such a join token",
    };
    Err(ApiError::JoinToken(problem))
}
