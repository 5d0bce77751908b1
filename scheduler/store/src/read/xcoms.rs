//! XComs as pages show them: every key of one instance, long values cut.

use model::TiKey;
use sqlx::PgExecutor;

use super::DOING;
use crate::error::{Doing, StoreError};

/// More keys than this do not fit a page; an attempt leaves 256 KiB at most.
const KEYS_MAX: i64 = 200;

/// A value that a task instance has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XcomView {
    /// Its key.
    pub key: String,
    /// The beginning of its JSON text.
    pub text: String,
    /// How many characters the whole text has.
    pub chars: i32,
}

/// What an instance has left, by key; of each value at most `chars_max` characters.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer.
pub async fn xcoms(db: impl PgExecutor<'_>, key: TiKey, chars_max: i32) -> Result<Vec<XcomView>, StoreError> {
    let rows = sqlx::query_as!(
        XcomView,
        r#"SELECT key, left(value::text, $4) AS "text!", length(value::text) AS "chars!"
           FROM xcom WHERE run_id = $1 AND task_idx = $2 AND map_index = $3 ORDER BY key LIMIT $5"#,
        key.run.get(),
        key.task.get(),
        key.map.get(),
        chars_max,
        KEYS_MAX
    );
    rows.fetch_all(db).await.doing(DOING)
}
