//! DAGs, their versions, and the files that could not be read.

use std::{collections::BTreeMap, sync::Arc};

use dag::{Dag, TaskPos};
use engine::DueRun;
use model::{BundleFile, DagId, DagVersionId, TaskIdx, Timestamp};
use serde_json::Value;
use sqlx::{FromRow, PgExecutor, Postgres, QueryBuilder, types::Json};

use super::{DOING, Direction, Pattern, Window, word};
use crate::{
    error::{Doing, StoreError},
    rows::dag_id as stored_dag_id,
};

/// A row of `dag`.
#[derive(Debug, Clone, PartialEq)]
pub struct DagView {
    /// Its id.
    pub dag_id: DagId,
    /// The version that new runs are made with.
    pub current: DagVersionId,
    /// The file that defines it, below the DAG folder.
    pub fileloc: String,
    /// The bundle whose file that is.
    pub bundle_name: String,
    /// The revision of the bundle that brought its current version.
    pub bundle_version: Option<String>,
    /// What pages call it; its id without.
    pub display_name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its owners.
    pub owners: Vec<String>,
    /// Whether it is held back.
    pub is_paused: bool,
    /// Whether none of its runs starts, while those that are running go on.
    pub is_draining: bool,
    /// Whether no file defines it any more.
    pub is_stale: bool,
    /// Whether its file has errors, so that an older version is in force.
    pub has_import_errors: bool,
    /// The next run that its schedule makes.
    pub next: Option<DueRun>,
    /// When its file was last read.
    pub last_parsed_at: Timestamp,
}

/// A stored version of a DAG.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// Its key.
    pub id: DagVersionId,
    /// Which of its DAG's versions it is, from 1.
    pub number: i32,
    /// SHA-256 of its content, in hex.
    pub content_hash: String,
    /// When it was seen first.
    pub created_at: Timestamp,
    /// The bundle that it came from.
    pub bundle_name: String,
    /// The revision of the bundle that brought it; the DAG folder has none.
    pub bundle_version: Option<String>,
    /// The page that shows it.
    pub bundle_url: Option<String>,
    /// The definition.
    pub dag: Arc<Dag>,
    /// The number of each task, by its position.
    pub task_idx: Vec<TaskIdx>,
    positions: BTreeMap<TaskIdx, TaskPos>,
}

impl Version {
    /// Where a task of this number stands, if the version has it.
    #[must_use]
    pub fn position_of(&self, task: TaskIdx) -> Option<TaskPos> {
        self.positions.get(&task).copied()
    }
}

/// A mistake in a DAG file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportError {
    /// The bundle that the file is of.
    pub bundle_name: String,
    /// The file, below the DAG folder.
    pub file: String,
    /// Which of the file's mistakes, from 0.
    pub position: i32,
    /// What is wrong.
    pub message: String,
    /// The line.
    pub line: Option<i32>,
    /// The character in it, from 1.
    pub col: Option<i32>,
    /// The field.
    pub field: Option<String>,
    /// What to write instead.
    pub suggestion: Option<String>,
    /// When it was found.
    pub found_at: Timestamp,
    /// The line's text.
    pub excerpt: Option<String>,
}

/// One of a DAG's versions, without its definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionBrief {
    /// Its key.
    pub id: DagVersionId,
    /// Which of its DAG's versions it is, from 1.
    pub number: i32,
    /// SHA-256 of its content, in hex.
    pub content_hash: String,
    /// When it was seen first.
    pub created_at: Timestamp,
    /// The bundle that it came from.
    pub bundle_name: String,
    /// The revision of the bundle that brought it; the DAG folder has none.
    pub bundle_version: Option<String>,
    /// The page that shows it.
    pub bundle_url: Option<String>,
}

/// A row of `dag` as pages see it.
#[derive(sqlx::FromRow)]
pub(super) struct DagRecord {
    dag_id: String,
    current_version: i64,
    fileloc: String,
    bundle_name: String,
    bundle_version: Option<String>,
    display_name: Option<String>,
    description: Option<String>,
    tags: Vec<String>,
    owners: Vec<String>,
    is_paused: bool,
    is_draining: bool,
    is_stale: bool,
    has_import_errors: bool,
    next_logical_date: Option<Timestamp>,
    next_interval_start: Option<Timestamp>,
    next_interval_end: Option<Timestamp>,
    next_run_after: Option<Timestamp>,
    last_parsed_at: Timestamp,
}

impl TryFrom<DagRecord> for DagView {
    type Error = StoreError;

    fn try_from(row: DagRecord) -> Result<Self, StoreError> {
        let next = match (row.next_logical_date, row.next_interval_start, row.next_interval_end, row.next_run_after) {
            (Some(logical_date), Some(start), Some(end), Some(run_after)) => {
                Some(DueRun { logical_date, start, end, run_after })
            }
            _ => None,
        };
        Ok(Self {
            dag_id: stored_dag_id(&row.dag_id)?,
            current: DagVersionId(row.current_version),
            fileloc: row.fileloc,
            bundle_name: row.bundle_name,
            bundle_version: row.bundle_version,
            display_name: row.display_name,
            description: row.description,
            tags: row.tags,
            owners: row.owners,
            is_paused: row.is_paused,
            is_draining: row.is_draining,
            is_stale: row.is_stale,
            has_import_errors: row.has_import_errors,
            next,
            last_parsed_at: row.last_parsed_at,
        })
    }
}

/// Every DAG, by its id: an installation has thousands at most, and a row is small.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer or a row makes no sense.
pub async fn dags(db: impl PgExecutor<'_>) -> Result<Vec<DagView>, StoreError> {
    let rows = sqlx::query_file_as!(DagRecord, "queries/read_dags.sql", Option::<&str>::None)
        .fetch_all(db)
        .await
        .doing(DOING)?;
    rows.into_iter().map(DagView::try_from).collect()
}

/// One DAG.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer or the row makes no sense.
pub async fn dag(db: impl PgExecutor<'_>, dag_id: &DagId) -> Result<Option<DagView>, StoreError> {
    let row = sqlx::query_file_as!(DagRecord, "queries/read_dags.sql", Some(dag_id.as_str()))
        .fetch_optional(db)
        .await
        .doing(DOING)?;
    row.map(DagView::try_from).transpose()
}

/// The names of those of these DAGs that have one of their own.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer.
pub async fn display_names(db: impl PgExecutor<'_>, dags: &[String]) -> Result<BTreeMap<String, String>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT dag_id, display_name AS "name!" FROM dag WHERE dag_id = ANY($1) AND display_name IS NOT NULL"#,
        dags
    );
    Ok(rows.fetch_all(db).await.doing(DOING)?.into_iter().map(|row| (row.dag_id, row.name)).collect())
}

/// Whether a file defines a DAG.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer.
pub async fn defines_dags(db: impl PgExecutor<'_>, file: &BundleFile) -> Result<bool, StoreError> {
    let found = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM dag WHERE bundle_name = $1 AND fileloc = $2 AND NOT is_stale) AS "found!""#,
        file.bundle.as_str(),
        file.name
    );
    found.fetch_one(db).await.doing(DOING)
}

/// Those of these versions that exist.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer or a definition makes no sense.
pub async fn versions(db: impl PgExecutor<'_>, ids: &[DagVersionId]) -> Result<Vec<Version>, StoreError> {
    let ids: Vec<i64> = ids.iter().map(|id| id.get()).collect();
    let rows = sqlx::query!(
        r#"SELECT v.id, v.number, v.content_hash, v.created_at, v.bundle_name, v.bundle_version,
                  (SELECT b.settings FROM bundle b WHERE b.name = v.bundle_name) AS bundle_settings, v.compiled AS "dag: Json<Dag>",
                  (SELECT json_object_agg(t.task_id, t.task_idx) FROM dag_task t WHERE t.dag_id = v.dag_id)
                      AS "numbers: Json<BTreeMap<String, i32>>"
           FROM dag_version v WHERE v.id = ANY($1)"#,
        &ids
    )
    .fetch_all(db)
    .await
    .doing(DOING)?;
    rows.into_iter()
        .map(|row| {
            let dag = row.dag.0;
            let numbers = row.numbers.map(|numbers| numbers.0).unwrap_or_default();
            let number = |task: &dag::Task| {
                numbers.get(task.task_id.as_str()).copied().map(TaskIdx).ok_or_else(|| StoreError::Corrupt {
                    what: format!("task {} of DAG {} has no number", task.task_id, dag.dag_id),
                })
            };
            let task_idx: Vec<TaskIdx> = dag.tasks.iter().map(number).collect::<Result<_, _>>()?;
            Ok(Version {
                id: DagVersionId(row.id),
                number: row.number,
                content_hash: row.content_hash,
                created_at: row.created_at,
                bundle_name: row.bundle_name,
                bundle_url: url_of(row.bundle_settings.as_ref(), row.bundle_version.as_deref()),
                bundle_version: row.bundle_version,
                positions: task_idx.iter().copied().zip(dag.positions()).collect(),
                task_idx,
                dag: Arc::new(dag),
            })
        })
        .collect()
}

/// The page that shows the revision which brought a version.
pub(super) fn url_of(settings: Option<&Value>, revision: Option<&str>) -> Option<String> {
    super::view_url(settings?, revision?)
}

/// One version.
///
/// # Errors
/// As [`versions`].
pub async fn version(db: impl PgExecutor<'_>, id: DagVersionId) -> Result<Option<Version>, StoreError> {
    Ok(versions(db, &[id]).await?.pop())
}

/// The newest versions of these DAGs, of all when none is named; at most `limit`.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer.
pub async fn version_ids(
    db: impl PgExecutor<'_>,
    dag_ids: &[DagId],
    limit: i64,
) -> Result<Vec<DagVersionId>, StoreError> {
    let dag_ids: Vec<String> = dag_ids.iter().map(ToString::to_string).collect();
    let rows = sqlx::query_scalar!(
        "SELECT id FROM dag_version WHERE cardinality($1::text[]) = 0 OR dag_id = ANY ($1) ORDER BY id DESC LIMIT $2",
        &dag_ids,
        limit
    );
    Ok(rows.fetch_all(db).await.doing(DOING)?.into_iter().map(DagVersionId).collect())
}

/// The version of a DAG that has a number.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer.
pub async fn version_numbered(
    db: impl PgExecutor<'_>,
    dag_id: &DagId,
    number: i32,
) -> Result<Option<DagVersionId>, StoreError> {
    let row =
        sqlx::query_scalar!("SELECT id FROM dag_version WHERE dag_id = $1 AND number = $2", dag_id.as_str(), number);
    Ok(row.fetch_optional(db).await.doing(DOING)?.map(DagVersionId))
}

/// The text of a version as people wrote it: its file when it was last read with this content. A version of an older
/// Windlass has its canonical definition only.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer.
pub async fn source(db: impl PgExecutor<'_>, id: DagVersionId) -> Result<Option<String>, StoreError> {
    let row = sqlx::query!(
        "SELECT canonical_yaml, blob.bytes AS \"bytes?\" FROM dag_version LEFT JOIN blob ON sha256 = source_sha256 WHERE id = $1",
        id.get()
    );
    let row = row.fetch_optional(db).await.doing(DOING)?;
    // A DAG file is read as UTF-8 text, so nothing is lost here.
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(row.map(|row| row.bytes.map_or(row.canonical_yaml, text)))
}

/// The newest versions of a DAG, newest first.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer.
pub async fn version_list(
    db: impl PgExecutor<'_>,
    dag_id: &DagId,
    limit: i64,
) -> Result<Vec<VersionBrief>, StoreError> {
    let rows = sqlx::query!(
        "SELECT id, number, content_hash, created_at, bundle_name, bundle_version,
                (SELECT b.settings FROM bundle b WHERE b.name = bundle_name) AS bundle_settings FROM dag_version
         WHERE dag_id = $1 ORDER BY number DESC LIMIT $2",
        dag_id.as_str(),
        limit
    );
    let brief = rows.fetch_all(db).await.doing(DOING)?.into_iter().map(|row| VersionBrief {
        id: DagVersionId(row.id),
        number: row.number,
        content_hash: row.content_hash,
        created_at: row.created_at,
        bundle_name: row.bundle_name,
        bundle_url: url_of(row.bundle_settings.as_ref(), row.bundle_version.as_deref()),
        bundle_version: row.bundle_version,
    });
    Ok(brief.collect())
}

/// Mistakes in DAG files, by bundle, file and place: of these files, or of all when none is named; at most `limit`.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer.
pub async fn import_errors(
    db: impl PgExecutor<'_>,
    files: &[BrokenFile],
    limit: i64,
) -> Result<Vec<ImportError>, StoreError> {
    let (bundles, names): (Vec<String>, Vec<String>) =
        files.iter().map(|file| (file.bundle_name.clone(), file.file.clone())).unzip();
    let rows = sqlx::query_as!(
        ImportError,
        "SELECT bundle_name, file, position, message, line, col, field, suggestion, found_at, excerpt
         FROM import_error
         WHERE cardinality($1::text[]) = 0
            OR (bundle_name, file) IN (SELECT * FROM unnest($1::text[], $2::text[]))
         ORDER BY bundle_name <> 'dags-folder', bundle_name, file, position LIMIT $3",
        &bundles,
        &names,
        limit
    );
    rows.fetch_all(db).await.doing(DOING)
}

/// A DAG file with mistakes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, FromRow)]
pub struct BrokenFile {
    /// The bundle that it is of.
    pub bundle_name: String,
    /// Its name below the bundle's root.
    pub file: String,
}

/// Which DAG files with mistakes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FileFilter {
    /// Whose name matches.
    pub pattern: Pattern,
    /// Whose name begins so.
    pub prefix: Option<String>,
    /// Of this name.
    pub file: Option<String>,
    /// Of this bundle.
    pub bundle: Option<String>,
    /// The order; by name when empty.
    pub order: Vec<(FileOrder, Direction)>,
}

/// How a list of such files is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileOrder {
    /// By name.
    File,
    /// By the name of the bundle.
    Bundle,
    /// By the time at which the newest mistake was found.
    FoundAt,
    /// By the first mistake.
    Message,
}

impl FileOrder {
    const fn sql(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Bundle => "bundle_name",
            Self::FoundAt => {
                "(SELECT max(e.found_at) FROM import_error e WHERE e.bundle_name = import_error.bundle_name AND e.file = \
                 import_error.file)"
            }
            Self::Message => "message",
        }
    }
}

impl FileFilter {
    fn source(&self, query: &mut QueryBuilder<'_, Postgres>) {
        query.push(" FROM import_error WHERE position = 0");
        self.pattern.limit(query, "file");
        if let Some(prefix) = &self.prefix {
            query.push(" AND starts_with(file, ").push_bind(prefix.clone()).push(")");
        }
        if let Some(file) = &self.file {
            query.push(" AND file = ").push_bind(file.clone());
        }
        if let Some(bundle) = &self.bundle {
            query.push(" AND bundle_name = ").push_bind(bundle.clone());
        }
    }
}

/// The DAG files that have mistakes: a part of them.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer.
pub async fn broken_files(
    db: impl PgExecutor<'_>,
    filter: &FileFilter,
    window: Window,
) -> Result<Vec<BrokenFile>, StoreError> {
    let mut page = QueryBuilder::new("SELECT bundle_name, file");
    filter.source(&mut page);
    page.push(" ORDER BY ");
    for (key, direction) in &filter.order {
        page.push(key.sql()).push(word(*direction)).push(", ");
    }
    let direction = word(filter.order.first().map_or(Direction::Ascending, |(_, direction)| *direction));
    page.push("file").push(direction).push(", bundle_name").push(direction);
    page.push(" LIMIT ").push_bind(window.limit).push(" OFFSET ").push_bind(window.offset);
    page.build_query_as().fetch_all(db).await.doing(DOING)
}

/// How many DAG files have mistakes.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer.
pub async fn broken_file_count(db: impl PgExecutor<'_>, filter: &FileFilter) -> Result<i64, StoreError> {
    let mut count = QueryBuilder::new("SELECT count(*)");
    filter.source(&mut count);
    count.build_query_scalar().fetch_one(db).await.doing(DOING)
}
