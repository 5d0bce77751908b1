//! Bundles of DAG files, as both faces look one up.

use model::BundleName;
use store::read::{self, BundleView};

use crate::{
    app::App,
    error::{ApiError, ApiResult},
};

/// The name that a text of a client is.
///
/// # Errors
/// [`ApiError::NotFound`] when it can not be one.
pub fn bundle_name(text: &str) -> ApiResult<BundleName> {
    BundleName::new(text).map_err(|_| missing(text))
}

/// A bundle.
///
/// # Errors
/// [`ApiError::NotFound`].
pub async fn lookup_bundle(app: &App, name: &str) -> ApiResult<(BundleName, BundleView)> {
    let name = bundle_name(name)?;
    let found = read::bundles(&app.pool, Some(&name)).await?.pop().ok_or_else(|| missing(name.as_str()))?;
    Ok((name, found))
}

/// The page that shows the revision in force, where that is known.
#[must_use]
pub fn view_url(bundle: &BundleView) -> Option<String> {
    read::view_url(&bundle.settings, bundle.revision.as_deref()?)
}

fn missing(name: &str) -> ApiError {
    ApiError::NotFound(format!("The DAG bundle with name: `{name}` was not found"))
}
