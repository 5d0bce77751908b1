//! Bundles that people push go, too.

use store::bundles::{self, Deleted};

use crate::{
    app::App,
    auth::Principal,
    error::{ApiError, ApiResult},
    reads::bundles::lookup_bundle,
};

/// Deletes a bundle that was pushed.
///
/// # Errors
/// [`ApiError::NotFound`], [`ApiError::Conflict`] while runs of its DAGs are running; what is said of one that is not pushed.
pub async fn delete(app: &App, who: &Principal, name: &str) -> ApiResult<()> {
    let (name, _) = lookup_bundle(app, name).await?;
    match bundles::delete(&app.pool, who.actor(), &name).await? {
        Deleted::Done => Ok(()),
        Deleted::Missing => Err(ApiError::NotFound(format!("The DAG bundle with name: `{name}` was not found"))),
        Deleted::Busy(runs) => Err(ApiError::Conflict(format!(
            "Runs of DAGs of the bundle `{name}` are running ({}): wait for their end, or mark them as failed",
            runs.join(", ")
        ))),
    }
}
