//! Whether a key is the one that the stored secrets were sealed with.

use sqlx::PgExecutor;

use super::{Place, SecretKey};
use crate::error::{Doing, StoreError};

/// So many of each kind are tried: one that was damaged does not make the key another one.
const TRIED_MAX: i64 = 20;

/// Refuses a key that opens nothing of what is stored. What a process with another key stores can be read by no process with the
/// right one, and nobody would notice before a task needs it.
///
/// # Errors
/// [`StoreError::Refused`] with what to do; [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn check_key(db: impl PgExecutor<'_>, key: &SecretKey) -> Result<(), StoreError> {
    let rows = sqlx::query_file!("queries/secrets_sealed.sql", TRIED_MAX);
    let rows = rows.fetch_all(db).await.doing("looking whether the key opens what is stored")?;
    let opens = |kind: &str, name: &str, sealed: &[u8]| {
        let place = match kind {
            "variable" => Place::Variable(name),
            "password" => Place::Password(name),
            _ => Place::Extra(name),
        };
        key.open(&place.name(), sealed).is_ok()
    };
    if rows.is_empty() || rows.iter().any(|row| opens(&row.kind, &row.name, &row.sealed)) {
        return Ok(());
    }
    Err(StoreError::Refused {
        reason: format!(
            "WINDLASS_SECRET_KEY (or the key file of the home) is another key than the one that the connections and variables \
             were sealed with: none of {} opens. Give the key that they were sealed with; if it is lost, delete them first \
             (`windlass variables delete`, `windlass connections delete`) and enter them anew afterwards",
            rows.len()
        ),
    })
}
