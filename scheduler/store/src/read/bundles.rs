//! Bundles and their revisions, for pages and programs.

use model::{BundleName, DagId, Timestamp};
use serde_json::Value;
use sqlx::{PgExecutor, PgPool};

use super::{DOING, Window};
use crate::{
    bundles::BUNDLES_MAX,
    error::{Doing, StoreError},
    rows::dag_id,
};

/// So many DAGs of a bundle are told.
const DAGS_MAX: i64 = 10_000;

/// A bundle: the DAG folder, or one with revisions.
#[derive(Debug, Clone, PartialEq)]
pub struct BundleView {
    /// Its name.
    pub name: String,
    /// `local` for the DAG folder, else `git` or `pushed`.
    pub kind: String,
    /// Whether it is wanted.
    pub is_active: bool,
    /// The revision in force.
    pub revision: Option<String>,
    /// Who wrote it.
    pub author: Option<String>,
    /// What they say of it.
    pub message: Option<String>,
    /// Who brought it: a user, or the leader.
    pub made_by: Option<String>,
    /// Since when it is in force.
    pub since: Option<Timestamp>,
    /// The revision that somebody has rolled back from.
    pub passed_over: Option<String>,
    /// What its settings are, without secrets.
    pub settings: Value,
    /// When it was polled last.
    pub polled_at: Option<Timestamp>,
    /// How often polls have failed since one succeeded.
    pub poll_failures: i32,
    /// Why the last one failed.
    pub poll_error: Option<String>,
    /// How many DAGs its files define.
    pub dags: i64,
    /// How many of its files have mistakes.
    pub broken_files: i64,
}

/// A revision of a bundle.
#[derive(Debug, Clone, PartialEq)]
pub struct RevisionView {
    /// Its name.
    pub revision: String,
    /// Who wrote it.
    pub author: Option<String>,
    /// What they say of it.
    pub message: Option<String>,
    /// When it was written.
    pub authored_at: Option<Timestamp>,
    /// When it was stored.
    pub made_at: Timestamp,
    /// Who brought it.
    pub made_by: String,
    /// From which address.
    pub address: Option<String>,
    /// By which door.
    pub door: Option<String>,
    /// How many files it has.
    pub files: i32,
    /// How large they are together.
    pub bytes: i64,
    /// Whether it is in force.
    pub is_current: bool,
}

/// A DAG of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleDag {
    /// The DAG.
    pub dag_id: DagId,
    /// The identity of its current version.
    pub content_hash: String,
    /// The file that defines it.
    pub fileloc: String,
}

/// The page that shows a revision of a bundle with these settings.
#[must_use]
pub fn view_url(settings: &Value, revision: &str) -> Option<String> {
    let template = settings["view_url_template"].as_str()?;
    let is_of_the_web = template.starts_with("https://") || template.starts_with("http://");
    let subdir = settings["subdir"].as_str().unwrap_or_default();
    is_of_the_web.then(|| template.replace("{version}", revision).replace("{subdir}", subdir))
}

/// Every bundle, or the one of a name: the DAG folder first, the others by name. There are [`BUNDLES_MAX`] at most beside it.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer.
pub async fn bundles(db: impl PgExecutor<'_>, name: Option<&BundleName>) -> Result<Vec<BundleView>, StoreError> {
    let rows = sqlx::query_file_as!(
        BundleView,
        "queries/read_bundles.sql",
        BundleName::FOLDER,
        name.map(BundleName::as_str),
        BUNDLES_MAX + 1
    );
    rows.fetch_all(db).await.doing(DOING)
}

/// A part of the revisions of a bundle, newest first, and how many there are.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer.
pub async fn revisions(
    pool: &PgPool,
    name: &BundleName,
    window: Window,
) -> Result<(Vec<RevisionView>, i64), StoreError> {
    window.check()?;
    let rows = sqlx::query_as!(
        RevisionView,
        r#"SELECT r.revision, r.author, r.message, r.authored_at, r.made_at, r.made_by, r.address, r.door,
                  r.file_count AS files, r.byte_count AS bytes, r.id = b.current_revision AS "is_current!"
           FROM bundle_revision r JOIN bundle b ON b.name = r.bundle_name
           WHERE r.bundle_name = $1 ORDER BY r.id DESC LIMIT $2 OFFSET $3"#,
        name.as_str(),
        window.limit,
        window.offset
    );
    let rows = rows.fetch_all(pool).await.doing(DOING)?;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "total!" FROM bundle_revision WHERE bundle_name = $1"#,
        name.as_str()
    );
    Ok((rows, total.fetch_one(pool).await.doing(DOING)?))
}

/// The DAGs that the files of a bundle define, by id.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer or a row makes no sense.
pub async fn bundle_dags(db: impl PgExecutor<'_>, name: &BundleName) -> Result<Vec<BundleDag>, StoreError> {
    let rows = sqlx::query!(
        "SELECT d.dag_id, v.content_hash, d.fileloc FROM dag d JOIN dag_version v ON v.id = d.current_version
         WHERE d.bundle_name = $1 AND NOT d.is_stale ORDER BY d.dag_id LIMIT $2",
        name.as_str(),
        DAGS_MAX
    );
    let dag =
        |row: (String, String, String)| Ok(BundleDag { dag_id: dag_id(&row.0)?, content_hash: row.1, fileloc: row.2 });
    let rows = rows.fetch_all(db).await.doing(DOING)?;
    rows.into_iter().map(|row| dag((row.dag_id, row.content_hash, row.fileloc))).collect()
}
