//! DAGs that users have marked for themselves.

use model::DagId;
use sqlx::PgPool;

use crate::error::{Doing, StoreError};

/// Marks a DAG for a user. Whether it was not marked before.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer.
pub async fn mark(pool: &PgPool, username: &str, dag_id: &DagId) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "INSERT INTO dag_favorite (user_id, dag_id)
         SELECT u.id, d.dag_id FROM user_account u, dag d WHERE u.username = $1 AND d.dag_id = $2
         ON CONFLICT DO NOTHING",
        username,
        dag_id.as_str()
    )
    .execute(pool)
    .await
    .doing("marking a DAG")?;
    Ok(done.rows_affected() > 0)
}

/// Takes a mark away. Whether there was one.
///
/// # Errors
/// As [`mark`].
pub async fn unmark(pool: &PgPool, username: &str, dag_id: &DagId) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "DELETE FROM dag_favorite f USING user_account u WHERE f.user_id = u.id AND u.username = $1 AND f.dag_id = $2",
        username,
        dag_id.as_str()
    )
    .execute(pool)
    .await
    .doing("taking the mark of a DAG away")?;
    Ok(done.rows_affected() > 0)
}

/// Whether a user has marked a DAG.
///
/// # Errors
/// As [`mark`].
pub async fn is_marked(pool: &PgPool, username: &str, dag_id: &DagId) -> Result<bool, StoreError> {
    let found = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM dag_favorite f JOIN user_account u ON u.id = f.user_id
                          WHERE u.username = $1 AND f.dag_id = $2) AS "found!""#,
        username,
        dag_id.as_str()
    );
    found.fetch_one(pool).await.doing("looking for the mark of a DAG")
}
