//! Assets by their numbers.

use store::read::{self, AssetView, Visible};

use crate::{
    app::App,
    error::{ApiError, ApiResult},
};

/// An asset that whoever asks may see.
///
/// # Errors
/// [`ApiError::NotFound`].
pub async fn lookup_asset(app: &App, id: i64, visible: &Visible) -> ApiResult<AssetView> {
    read::asset(&app.pool, id, visible).await?.ok_or_else(|| no_asset(id))
}

/// An asset that was named and is not there.
#[must_use]
pub fn no_asset(id: i64) -> ApiError {
    ApiError::NotFound(format!("The Asset with ID: `{id}` was not found"))
}
