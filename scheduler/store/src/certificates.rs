//! The certificates of workers: what each has bought with its join token, and whether it still counts.

use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use crate::{
    error::{Doing, StoreError},
    limit::statement,
};

/// Whether a certificate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is the worker's.
    Known,
    /// The worker has none, or another one.
    Unknown,
    /// It was taken back.
    Revoked,
}

/// What becomes of a worker's wish for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issued {
    /// It is noted.
    Noted,
    /// The worker has one, and has used it.
    InUse,
    /// The worker's was taken back.
    Revoked,
}

/// Notes the certificate of a worker, unless it has one that it has used.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn issue(pool: &PgPool, worker: Uuid, fingerprint: &[u8], token: &str) -> Result<Issued, StoreError> {
    const DOING: &str = "noting a worker's certificate";
    let noted = sqlx::query_file_scalar!("queries/worker_certificate_issue.sql", worker, fingerprint, token);
    if noted.fetch_optional(pool).await.doing(DOING)?.is_some() {
        return Ok(Issued::Noted);
    }
    let revoked = sqlx::query_scalar!("SELECT revoked_at FROM worker_certificate WHERE identity = $1", worker);
    Ok(match revoked.fetch_optional(pool).await.doing(DOING)? {
        Some(Some(_)) => Issued::Revoked,
        Some(None) | None => Issued::InUse,
    })
}

/// How a certificate that a worker shows stands. From its first use on it is the worker's only one.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn standing(pool: &PgPool, worker: Uuid, fingerprint: &[u8]) -> Result<Standing, StoreError> {
    let row = sqlx::query_file!("queries/worker_certificate_use.sql", worker, fingerprint);
    let row = row.fetch_optional(pool).await.doing("looking for a worker's certificate")?;
    Ok(match row {
        None => Standing::Unknown,
        Some(row) if row.revoked => Standing::Revoked,
        Some(row) if row.same => Standing::Known,
        Some(_) => Standing::Unknown,
    })
}

/// Whether a worker is known by a certificate, so that nobody without it may speak in its name.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn is_certified(db: impl PgExecutor<'_>, worker: Uuid) -> Result<bool, StoreError> {
    const DOING: &str = "looking for a worker's certificate";
    let found = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM worker_certificate WHERE identity = $1 AND (used_at IS NOT NULL OR revoked_at IS NOT NULL)) AS "found!""#,
        worker
    );
    statement(DOING, found.fetch_one(db)).await
}

/// Takes back the certificates of the workers with this name or identity; how many that were.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn revoke(pool: &PgPool, worker: &str) -> Result<u64, StoreError> {
    let done = sqlx::query_file!("queries/worker_certificate_revoke.sql", worker).execute(pool).await;
    Ok(done.doing("taking back a worker's certificate")?.rows_affected())
}

/// Forgets the certificates of the workers with this name or identity, so that each may buy another one; how many that were.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn forget(pool: &PgPool, worker: &str) -> Result<u64, StoreError> {
    let done = sqlx::query_file!("queries/worker_certificate_forget.sql", worker).execute(pool).await;
    Ok(done.doing("forgetting a worker's certificate")?.rows_affected())
}
