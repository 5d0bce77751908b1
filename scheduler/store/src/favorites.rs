//! DAGs that users have marked for themselves.

use std::collections::BTreeSet;

use model::DagId;
use serde_json::json;
use sqlx::PgPool;

use crate::{
    audit::{self, Actor},
    error::{Doing, StoreError},
};

/// Marks a DAG for a user, with a line in the audit log. Whether it was not marked before.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer.
pub async fn mark(pool: &PgPool, who: Actor<'_>, username: &str, dag_id: &DagId) -> Result<bool, StoreError> {
    const DOING: &str = "marking a DAG";
    let mut transaction = pool.begin().await.doing(DOING)?;
    let done = sqlx::query!(
        "INSERT INTO dag_favorite (user_id, dag_id)
         SELECT u.id, d.dag_id FROM user_account u, dag d WHERE u.username = $1 AND d.dag_id = $2
         ON CONFLICT DO NOTHING",
        username,
        dag_id.as_str()
    );
    if done.execute(&mut *transaction).await.doing(DOING)?.rows_affected() == 0 {
        return Ok(false);
    }
    audit::record(&mut *transaction, who, "favorite_dag", &json!({ "username": username, "dag_id": dag_id })).await?;
    transaction.commit().await.doing(DOING)?;
    Ok(true)
}

/// Takes a mark away, with a line in the audit log. Whether there was one.
///
/// # Errors
/// As [`mark`].
pub async fn unmark(pool: &PgPool, who: Actor<'_>, username: &str, dag_id: &DagId) -> Result<bool, StoreError> {
    const DOING: &str = "taking the mark of a DAG away";
    let mut transaction = pool.begin().await.doing(DOING)?;
    let done = sqlx::query!(
        "DELETE FROM dag_favorite f USING user_account u WHERE f.user_id = u.id AND u.username = $1 AND f.dag_id = $2",
        username,
        dag_id.as_str()
    );
    if done.execute(&mut *transaction).await.doing(DOING)?.rows_affected() == 0 {
        return Ok(false);
    }
    audit::record(&mut *transaction, who, "unfavorite_dag", &json!({ "username": username, "dag_id": dag_id })).await?;
    transaction.commit().await.doing(DOING)?;
    Ok(true)
}

/// Whether a user has marked a DAG.
///
/// # Errors
/// As [`mark`].
pub async fn is_marked(pool: &PgPool, username: &str, dag_id: &DagId) -> Result<bool, StoreError> {
    Ok(!marked_among(pool, username, std::slice::from_ref(dag_id)).await?.is_empty())
}

/// Those of these DAGs that a user has marked.
///
/// # Errors
/// As [`mark`].
pub async fn marked_among(pool: &PgPool, username: &str, dag_ids: &[DagId]) -> Result<BTreeSet<String>, StoreError> {
    let ids: Vec<String> = dag_ids.iter().map(DagId::to_string).collect();
    let found = sqlx::query_scalar!(
        "SELECT f.dag_id FROM dag_favorite f JOIN user_account u ON u.id = f.user_id
         WHERE u.username = $1 AND f.dag_id = ANY ($2)",
        username,
        &ids
    );
    Ok(found.fetch_all(pool).await.doing("looking for the marks of DAGs")?.into_iter().collect())
}
