//! What the leader notes of the bundles that it fetches.

use model::{BundleName, Epoch, Timestamp};
use serde_json::Value;
use sqlx::PgPool;

use super::{BUNDLES_MAX, Kind, tell};
use crate::{
    error::{Doing, StoreError},
    texts,
    versions::fence,
};

/// How a bundle stands, for the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its name.
    pub name: BundleName,
    /// Where its revisions come from.
    pub kind: Kind,
    /// Whether it is wanted.
    pub is_active: bool,
    /// The revision in force, by its key and its name.
    pub current: Option<(i64, String)>,
    /// The revision that does not come into force again by itself.
    pub passed_over: Option<String>,
    /// How it was polled last.
    pub poll: Poll,
}

/// How a bundle was polled last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Poll {
    /// When somebody asked for one at once.
    pub asked_at: Option<Timestamp>,
    /// When it was.
    pub at: Option<Timestamp>,
    /// How often it has failed since it succeeded.
    pub failures: i32,
    /// Why it failed.
    pub error: Option<String>,
}

/// Makes rows for the bundles of git that the settings name; others of git are not wanted any more. A bundle that people have pushed
/// keeps its name: it is told which ones of the settings are.
///
/// # Errors
/// [`StoreError::Deposed`], [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn configure(
    pool: &PgPool,
    epoch: Epoch,
    wanted: &[(BundleName, Value)],
) -> Result<Vec<BundleName>, StoreError> {
    const DOING: &str = "noting which bundles there are";
    let mut transaction = pool.begin().await.doing(DOING)?;
    fence(&mut transaction, epoch).await?;
    let names: Vec<String> = wanted.iter().map(|(name, _)| name.to_string()).collect();
    let settings: Vec<String> = wanted.iter().map(|(_, settings)| settings.to_string()).collect();
    sqlx::query!("UPDATE bundle SET is_active = false WHERE kind = 'git' AND is_active AND name <> ALL ($1)", &names)
        .execute(&mut *transaction)
        .await
        .doing(DOING)?;
    let set = sqlx::query_scalar!(
        "INSERT INTO bundle (name, kind, settings)
         SELECT w.name, 'git', w.settings::json FROM unnest($1::text[], $2::text[]) AS w (name, settings)
         ON CONFLICT (name) DO UPDATE SET is_active = true, settings = excluded.settings WHERE bundle.kind = 'git'
         RETURNING name",
        &names,
        &settings
    );
    let set = set.fetch_all(&mut *transaction).await.doing(DOING)?;
    transaction.commit().await.doing(DOING)?;
    Ok(wanted.iter().map(|(name, _)| name).filter(|name| !set.contains(&name.to_string())).cloned().collect())
}

/// Every bundle, by name.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`], [`StoreError::Corrupt`].
pub async fn heads(pool: &PgPool) -> Result<Vec<Head>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT b.name, b.kind, b.is_active, b.passed_over, b.poll_asked_at, b.polled_at, b.poll_failures, b.poll_error,
                  r.id AS "id?", r.revision AS "revision?"
           FROM bundle b LEFT JOIN bundle_revision r ON r.id = b.current_revision ORDER BY b.name LIMIT $1"#,
        BUNDLES_MAX
    );
    let head = |row: HeadRow| {
        Ok(Head {
            name: BundleName::new(&row.name).map_err(|error| StoreError::Corrupt { what: error.to_string() })?,
            kind: Kind::of(&row.kind)?,
            is_active: row.is_active,
            current: row.id.zip(row.revision),
            passed_over: row.passed_over,
            poll: Poll {
                asked_at: row.poll_asked_at,
                at: row.polled_at,
                failures: row.poll_failures,
                error: row.poll_error,
            },
        })
    };
    let rows = rows.fetch_all(pool).await.doing("reading bundles")?.into_iter().map(|row| HeadRow {
        name: row.name,
        kind: row.kind,
        is_active: row.is_active,
        passed_over: row.passed_over,
        poll_asked_at: row.poll_asked_at,
        polled_at: row.polled_at,
        poll_failures: row.poll_failures,
        poll_error: row.poll_error,
        id: row.id,
        revision: row.revision,
    });
    // One that a newer version has made concerns this one not.
    let readable = rows.map(head).filter_map(|head: Result<Head, StoreError>| {
        head.inspect_err(|error| tracing::warn!(%error, "a bundle is passed over")).ok()
    });
    Ok(readable.collect())
}

struct HeadRow {
    name: String,
    kind: String,
    is_active: bool,
    passed_over: Option<String>,
    poll_asked_at: Option<Timestamp>,
    polled_at: Option<Timestamp>,
    poll_failures: i32,
    poll_error: Option<String>,
    id: Option<i64>,
    revision: Option<String>,
}

/// Notes that a poll has found nothing new, or why it failed.
///
/// # Errors
/// [`StoreError::Deposed`], [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn polled(pool: &PgPool, epoch: Epoch, name: &BundleName, failure: Option<&str>) -> Result<(), StoreError> {
    const DOING: &str = "noting how a bundle was polled";
    let mut transaction = pool.begin().await.doing(DOING)?;
    fence(&mut transaction, epoch).await?;
    sqlx::query!(
        "UPDATE bundle SET polled_at = now(), poll_error = $2,
                           poll_failures = CASE WHEN $2::text IS NULL THEN 0 ELSE poll_failures + 1 END WHERE name = $1",
        name.as_str(),
        failure.map(texts::reason)
    )
    .execute(&mut *transaction)
    .await
    .doing(DOING)?;
    transaction.commit().await.doing(DOING)
}

/// Asks the leader to poll a bundle of git at once; false when there is none of this name.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn ask_poll(pool: &PgPool, name: &BundleName) -> Result<bool, StoreError> {
    let asked = sqlx::query!(
        "UPDATE bundle SET poll_asked_at = now() WHERE name = $1 AND kind = 'git' AND is_active",
        name.as_str()
    );
    let asked = asked.execute(pool).await.doing("asking for a poll")?.rows_affected() == 1;
    if asked {
        tell(pool).await;
    }
    Ok(asked)
}
