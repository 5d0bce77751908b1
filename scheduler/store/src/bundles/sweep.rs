//! Old revisions go, by number and age.

use sqlx::PgConnection;

use crate::error::{Doing, StoreError};

/// So many of the newest revisions of each bundle are kept, however old they are.
const KEPT_MIN: i64 = 20;
/// And no more than so many, however young they are.
const KEPT_MAX: i64 = 200;
/// Between these numbers, those are kept that are younger than so many days.
const KEPT_DAYS: i32 = 30;
/// One step deletes at most so many, each with up to some thousand rows of files.
const REVISIONS_PER_STEP: i64 = 5;

/// Deletes a few revisions that are not in force and that nobody rolls back to any more. How many.
pub(crate) async fn sweep(transaction: &mut PgConnection) -> Result<u64, StoreError> {
    let dropped =
        sqlx::query_file!("queries/bundle_revision_drop_old.sql", KEPT_MIN, KEPT_MAX, KEPT_DAYS, REVISIONS_PER_STEP);
    Ok(dropped.execute(transaction).await.doing("deleting old revisions of bundles")?.rows_affected())
}
