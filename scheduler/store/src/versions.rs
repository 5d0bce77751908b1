//! DAG versions: stored once by their content, with their files; each task keeps its number in all of them.
//!
//! Files of the DAG folder are stored in batches, each a transaction: all of a batch, or nothing. When PostgreSQL refuses a
//! batch the caller stores its files one by one, so that a refusal becomes the error of the file that it is about.

use std::collections::{BTreeMap, BTreeSet};

use dag::{CompiledDag, DagFile, DagFileError, FILE_BYTES_MAX, FILES_BYTES_MAX};
use engine::DagVersion;
use model::{BundleFile, BundleName, DagId, DagVersionId, Epoch, Timestamp};
use sqlx::{Connection, PgConnection, PgExecutor, Postgres, Transaction};

use crate::{
    assets,
    connect::Writer,
    error::{Doing, StoreError},
    limit::{self, within},
    load::{load_versions, task_numbers, version},
    texts,
};

const DOING: &str = "storing DAG versions";

/// What is stored of DAG files at once.
#[derive(Debug, Default)]
pub struct FileBatch<'a> {
    /// DAGs that become current, each in one version.
    pub dags: Vec<BundledDag<'a>>,
    /// What is wrong with files: it replaces what was; nothing is wrong with a file whose list is empty.
    pub errors: Vec<(&'a BundleFile, &'a [DagFileError])>,
}

/// A DAG with where it comes from.
#[derive(Debug, Clone, Copy)]
pub struct BundledDag<'a> {
    /// The DAG.
    pub compiled: &'a CompiledDag,
    /// The bundle whose file defines it.
    pub bundle: &'a str,
    /// The revision of the bundle; the DAG folder has none.
    pub revision: Option<&'a str>,
}

/// One of the DAG folder.
impl<'a> From<&'a CompiledDag> for BundledDag<'a> {
    fn from(compiled: &'a CompiledDag) -> Self {
        Self { compiled, bundle: BundleName::FOLDER, revision: None }
    }
}

/// A DAG as the store has it, to be compared with its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDefinition {
    /// The bundle whose file defines it.
    pub bundle: BundleName,
    /// The file that defines it.
    pub fileloc: String,
    /// The identity of its current version.
    pub content_hash: String,
    /// SHA-256 in hex of the file as it was last stored; versions of an older Windlass have none.
    pub source_sha256: Option<String>,
}

/// What the store has of all bundles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredFiles {
    /// Every DAG that a file defines, by its id.
    pub dags: BTreeMap<DagId, StoredDefinition>,
    /// What is wrong with files, by their names.
    pub errors: BTreeMap<BundleFile, Vec<DagFileError>>,
}

/// Stores DAGs as the versions that are current from now on, and the errors of files. The same content again gives the
/// same version.
///
/// A DAG that is seen for the first time is paused as its definition says; later versions leave the switch alone.
///
/// # Errors
/// [`StoreError::Refused`] when files of a DAG are too large, or a DAG stands in the batch twice; [`StoreError::Deposed`],
/// [`StoreError::Unreachable`]; [`StoreError::Database`] when PostgreSQL refuses something of the batch.
pub async fn store_files(
    writer: &mut Writer,
    epoch: Epoch,
    batch: &FileBatch<'_>,
) -> Result<Vec<DagVersion>, StoreError> {
    for dag in &batch.dags {
        check_sizes(&dag.compiled.files)?;
    }
    check_ids(&batch.dags)?;
    within(limit::STATEMENT, DOING, async {
        let mut transaction = writer.connection().begin().await.doing(DOING)?;
        let stored = store_batch(&mut transaction, epoch, batch).await;
        ended(transaction, stored, DOING).await
    })
    .await
}

async fn store_batch(
    transaction: &mut PgConnection,
    epoch: Epoch,
    batch: &FileBatch<'_>,
) -> Result<Vec<DagVersion>, StoreError> {
    fence(transaction, epoch).await?;
    let stored = if batch.dags.is_empty() { Vec::new() } else { store_dags(transaction, &batch.dags).await? };
    if !batch.errors.is_empty() {
        replace_errors(transaction, &batch.errors).await?;
    }
    Ok(stored)
}

/// Stores one DAG.
///
/// # Errors
/// As [`store_files`].
pub async fn store_version(
    writer: &mut Writer,
    epoch: Epoch,
    compiled: &CompiledDag,
) -> Result<DagVersion, StoreError> {
    let batch = FileBatch { dags: vec![compiled.into()], errors: Vec::new() };
    let stored = store_files(writer, epoch, &batch).await?;
    stored
        .into_iter()
        .next()
        .ok_or_else(|| StoreError::Corrupt { what: "a version that was stored is gone".to_owned() })
}

/// What the store has of the DAG folder, for a leader that begins. A row that makes no sense is passed over: the file
/// that it should be compared with is stored anew.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn stored_files(connection: &mut PgConnection) -> Result<StoredFiles, StoreError> {
    const DOING: &str = "reading what is stored of the DAG folder";
    within(limit::STATEMENT, DOING, read_stored_files(connection, DOING)).await
}

async fn read_stored_files(connection: &mut PgConnection, doing: &'static str) -> Result<StoredFiles, StoreError> {
    let mut stored = StoredFiles::default();
    for row in sqlx::query_file!("queries/dag_stored.sql").fetch_all(&mut *connection).await.doing(doing)? {
        let Ok(dag_id) = DagId::new(&row.dag_id) else {
            tracing::warn!(dag.id = row.dag_id, "the id of a stored DAG can not be read; its file is taken anew");
            continue;
        };
        let Ok(bundle) = BundleName::new(&row.bundle_name) else { continue };
        let definition = StoredDefinition {
            bundle,
            fileloc: row.fileloc,
            content_hash: row.content_hash,
            source_sha256: row.source_sha256.map(hex::encode),
        };
        stored.dags.insert(dag_id, definition);
    }
    let errors = sqlx::query!(
        "SELECT bundle_name, file, message, line, col, field, suggestion, excerpt FROM import_error
         ORDER BY bundle_name, file, position"
    );
    for row in errors.fetch_all(connection).await.doing(doing)? {
        let number = |stored: Option<i32>| stored.and_then(|number| usize::try_from(number).ok()).unwrap_or(0);
        let Ok(bundle) = BundleName::new(&row.bundle_name) else { continue };
        stored.errors.entry(BundleFile::new(bundle, row.file.clone())).or_default().push(DagFileError {
            file: row.file,
            dag_id: None,
            line: number(row.line),
            column: number(row.col),
            field: row.field.unwrap_or_default(),
            message: row.message,
            suggestion: row.suggestion,
            excerpt: row.excerpt,
        });
    }
    Ok(stored)
}

/// An error as it is stored, so that what was stored can be compared with what is found. Its message names its DAG.
#[must_use]
pub fn storable(error: DagFileError) -> DagFileError {
    let message = match &error.dag_id {
        Some(dag_id) => format!("DAG {dag_id}: {}", error.message),
        None => error.message,
    };
    DagFileError {
        file: texts::storable(error.file),
        dag_id: None,
        line: position(error.line).map_or(0, i32::unsigned_abs) as usize,
        column: position(error.column).map_or(0, i32::unsigned_abs) as usize,
        field: texts::storable(error.field),
        message: texts::storable(message),
        suggestion: error.suggestion.map(texts::storable),
        excerpt: error.excerpt.map(texts::storable),
    }
}

/// A version when it is the one that new runs of its DAG are made with.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn current(connection: &mut PgConnection, id: DagVersionId) -> Result<Option<DagVersion>, StoreError> {
    const DOING: &str = "looking for a DAG version";
    within(limit::STATEMENT, DOING, async {
        let is_current = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM dag_version AS v JOIN dag AS d ON d.dag_id = v.dag_id
                          WHERE v.id = $1 AND d.current_version = v.id AND NOT d.is_stale) AS "is_current!""#,
            id.get()
        );
        if !is_current.fetch_one(&mut *connection).await.doing(DOING)? {
            return Ok(None);
        }
        // One that can not be read is held by who has found it so.
        let (mut found, _unreadable) = load_versions(connection, [id].into()).await?;
        Ok(found.pop())
    })
    .await
}

/// A file of a DAG version by the SHA-256 of its bytes in hex.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn blob(db: impl PgExecutor<'_>, sha256: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let Ok(sha256) = hex::decode(sha256) else { return Ok(None) };
    sqlx::query_scalar!("SELECT bytes FROM blob WHERE sha256 = $1", sha256)
        .fetch_optional(db)
        .await
        .doing("reading a file of a DAG version")
}

/// Those of these files that are stored, by their SHA-256 in hex: of each the first `bytes_max` bytes, and how many it has.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn blob_heads(
    db: impl PgExecutor<'_>,
    sha256: &[String],
    bytes_max: i32,
) -> Result<BTreeMap<String, (Vec<u8>, i32)>, StoreError> {
    let hashes: Vec<Vec<u8>> = sha256.iter().filter_map(|hash| hex::decode(hash).ok()).collect();
    let rows = sqlx::query!(
        r#"SELECT sha256, substring(bytes FROM 1 FOR $2) AS "head!", length(bytes) AS "length!"
           FROM blob WHERE sha256 = ANY ($1)"#,
        &hashes,
        bytes_max
    );
    let rows = rows.fetch_all(db).await.doing("reading files of a DAG version")?;
    Ok(rows.into_iter().map(|row| (hex::encode(row.sha256), (row.head, row.length))).collect())
}

/// Ends a transaction of the leader's connection: keeps it when all went well, and rolls it back otherwise. One that is only
/// dropped stays open until the next statement, which an idle leader does not send for long: PostgreSQL would end its
/// connection, and with it the leadership.
pub(crate) async fn ended<T>(
    transaction: Transaction<'_, Postgres>,
    done: Result<T, StoreError>,
    doing: &'static str,
) -> Result<T, StoreError> {
    match done {
        Ok(done) => transaction.commit().await.doing(doing).map(|()| done),
        Err(error) => {
            // A connection that is lost has rolled back; the error says so already.
            let _ = transaction.rollback().await;
            Err(error)
        }
    }
}

/// Proves the epoch, and holds a takeover back until the transaction has ended.
pub(crate) async fn fence(transaction: &mut PgConnection, epoch: Epoch) -> Result<(), StoreError> {
    sqlx::query!("SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE", epoch.get())
        .fetch_optional(transaction)
        .await
        .doing("proving the leadership")?
        .map(drop)
        .ok_or(StoreError::Deposed)
}

/// The DAGs whose start date follows from when they were first seen, which is now for one that is not stored yet.
async fn pinned(transaction: &mut PgConnection, bundled: &[BundledDag<'_>]) -> Result<Vec<CompiledDag>, StoreError> {
    let relative = bundled.iter().map(|dag| dag.compiled).filter(|compiled| compiled.dag.relative_start.is_some());
    let mut pinned: Vec<CompiledDag> = relative.cloned().collect();
    if pinned.is_empty() {
        return Ok(pinned);
    }
    let ids: Vec<String> = pinned.iter().map(|compiled| compiled.dag.dag_id.to_string()).collect();
    let rows = sqlx::query_file!("queries/dag_first_seen.sql", &ids).fetch_all(transaction).await.doing(DOING)?;
    let seen: BTreeMap<String, Timestamp> = rows.into_iter().map(|row| (row.dag_id, row.first_seen)).collect();
    for compiled in &mut pinned {
        if let Some(first_seen) = seen.get(compiled.dag.dag_id.as_str()) {
            compiled.dag.pin_start_date(*first_seen);
        }
    }
    Ok(pinned)
}

async fn store_dags(transaction: &mut PgConnection, bundled: &[BundledDag<'_>]) -> Result<Vec<DagVersion>, StoreError> {
    let pinned = pinned(transaction, bundled).await?;
    let by_id: BTreeMap<&DagId, &CompiledDag> =
        pinned.iter().map(|compiled| (&compiled.dag.dag_id, compiled)).collect();
    let mut bundled: Vec<BundledDag<'_>> = bundled.to_vec();
    for dag in &mut bundled {
        if let Some(compiled) = by_id.get(&dag.compiled.dag.dag_id) {
            dag.compiled = compiled;
        }
    }
    let bundled = bundled.as_slice();
    let dags: Vec<&CompiledDag> = bundled.iter().map(|dag| dag.compiled).collect();
    let dags = dags.as_slice();
    store_blobs(transaction, dags).await?;
    let ids = store_definitions(transaction, bundled).await?;
    number_tasks(transaction, dags).await?;
    make_current(transaction, bundled, &ids).await?;
    assets::refer(transaction, dags).await?;
    let names: Vec<String> = dags.iter().map(|compiled| compiled.dag.dag_id.to_string()).collect();
    let numbers = task_numbers(transaction, &names).await?;
    let stored = dags.iter().zip(ids);
    stored.map(|(compiled, id)| version(id, compiled.dag.clone(), numbers.get(compiled.dag.dag_id.as_str()))).collect()
}

/// A line or column; 0 says that the whole file is meant.
fn position(number: usize) -> Option<i32> {
    i32::try_from(number).ok().filter(|number| *number > 0)
}

fn check_sizes(files: &[DagFile]) -> Result<(), StoreError> {
    if let Some(file) = files.iter().find(|file| file.bytes.len() > FILE_BYTES_MAX) {
        let reason = format!("file {} has {} bytes; a DAG's file may have 1 MiB", file.name, file.bytes.len());
        return Err(StoreError::Refused { reason });
    }
    let bytes: usize = files.iter().map(|file| file.bytes.len()).sum();
    if bytes > FILES_BYTES_MAX {
        let reason = format!("the files of the DAG have {bytes} bytes together; they may have 16 MiB");
        return Err(StoreError::Refused { reason });
    }
    Ok(())
}

fn check_ids(dags: &[BundledDag<'_>]) -> Result<(), StoreError> {
    let mut seen = BTreeSet::new();
    match dags.iter().map(|dag| &dag.compiled.dag.dag_id).find(|dag_id| !seen.insert(*dag_id)) {
        None => Ok(()),
        Some(twice) => Err(StoreError::Refused { reason: format!("DAG {twice} stands twice among what is stored") }),
    }
}

/// Stores files once by their content: those of one name or of several DAGs are the same row.
async fn store_blobs(transaction: &mut PgConnection, dags: &[&CompiledDag]) -> Result<(), StoreError> {
    let files = dags.iter().flat_map(|compiled| compiled.files.iter().chain([&compiled.source]));
    let by_hash: BTreeMap<&str, &DagFile> = files.map(|file| (file.sha256.as_str(), file)).collect();
    let hashes = by_hash.keys().map(|sha256| sha256_bytes(sha256)).collect::<Result<Vec<_>, _>>()?;
    let bytes: Vec<&[u8]> = by_hash.values().map(|file| file.bytes.as_ref()).collect();
    sqlx::query!(
        "INSERT INTO blob (sha256, bytes) SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT DO NOTHING",
        &hashes,
        &bytes as &[&[u8]]
    )
    .execute(transaction)
    .await
    .doing(DOING)?;
    Ok(())
}

fn sha256_bytes(hex: &str) -> Result<Vec<u8>, StoreError> {
    hex::decode(hex).map_err(|error| StoreError::Refused { reason: format!("{hex:?} is no SHA-256: {error}") })
}

/// The definitions as JSON text: it keeps the order of keys, and takes any text.
async fn store_definitions(
    transaction: &mut PgConnection,
    dags: &[BundledDag<'_>],
) -> Result<Vec<DagVersionId>, StoreError> {
    let texts =
        |text: fn(&CompiledDag) -> &str| dags.iter().map(|dag| text(dag.compiled).to_owned()).collect::<Vec<_>>();
    let definitions = dags.iter().map(|dag| definition(dag.compiled)).collect::<Result<Vec<_>, _>>()?;
    let sources = dags.iter().map(|dag| sha256_bytes(&dag.compiled.source.sha256)).collect::<Result<Vec<_>, _>>()?;
    let bundles: Vec<String> = dags.iter().map(|dag| dag.bundle.to_owned()).collect();
    let revisions: Vec<Option<String>> = dags.iter().map(|dag| dag.revision.map(str::to_owned)).collect();
    let ids = texts(|compiled| compiled.dag.dag_id.as_str());
    let hashes = texts(|compiled| &compiled.content_hash);
    sqlx::query_file!(
        "queries/dag_version_add.sql",
        &ids,
        &hashes,
        &texts(|compiled| &compiled.canonical_yaml),
        &definitions,
        &texts(|compiled| &compiled.fileloc),
        &sources,
        &bundles,
        &revisions as &[Option<String>]
    )
    .execute(&mut *transaction)
    .await
    .doing(DOING)?;
    let rows =
        sqlx::query_file!("queries/dag_version_ids.sql", &ids, &hashes).fetch_all(transaction).await.doing(DOING)?;
    let found: BTreeMap<String, i64> = rows.into_iter().map(|row| (row.dag_id, row.id)).collect();
    let id = |dag_id: &String| {
        let missing = || StoreError::Corrupt { what: format!("the version of DAG {dag_id} that was stored is gone") };
        found.get(dag_id).copied().map(DagVersionId).ok_or_else(missing)
    };
    ids.iter().map(id).collect()
}

fn definition(compiled: &CompiledDag) -> Result<String, StoreError> {
    serde_json::to_string(&compiled.dag).map_err(|error| StoreError::Refused {
        reason: format!("DAG {} can not be stored: {error}", compiled.dag.dag_id),
    })
}

async fn number_tasks(transaction: &mut PgConnection, dags: &[&CompiledDag]) -> Result<(), StoreError> {
    let tasks = dags.iter().flat_map(|compiled| {
        let dag_id = &compiled.dag.dag_id;
        compiled.dag.tasks.iter().map(move |task| (dag_id.to_string(), task.task_id.to_string()))
    });
    let (dag_ids, task_ids): (Vec<_>, Vec<_>) = tasks.unzip();
    sqlx::query_file!("queries/dag_task_number.sql", &dag_ids, &task_ids).execute(transaction).await.doing(DOING)?;
    Ok(())
}

async fn make_current(
    transaction: &mut PgConnection,
    bundled: &[BundledDag<'_>],
    versions: &[DagVersionId],
) -> Result<(), StoreError> {
    let dags: Vec<&CompiledDag> = bundled.iter().map(|dag| dag.compiled).collect();
    let bundles: Vec<String> = bundled.iter().map(|dag| dag.bundle.to_owned()).collect();
    let ids: Vec<String> = dags.iter().map(|compiled| compiled.dag.dag_id.to_string()).collect();
    let versions: Vec<i64> = versions.iter().map(|version| version.get()).collect();
    let filelocs: Vec<String> = dags.iter().map(|compiled| compiled.fileloc.clone()).collect();
    let descriptions: Vec<Option<String>> = dags.iter().map(|compiled| compiled.dag.description.clone()).collect();
    let names: Vec<Option<String>> = dags.iter().map(|compiled| compiled.dag.dag_display_name.clone()).collect();
    let json = |words: &[String]| serde_json::Value::from(words.to_vec()).to_string();
    let tags: Vec<String> = dags.iter().map(|compiled| json(&compiled.dag.tags)).collect();
    let owners: Vec<String> = dags.iter().map(|compiled| json(&compiled.dag.owners)).collect();
    let paused: Vec<bool> = dags.iter().map(|compiled| compiled.dag.is_paused_upon_creation).collect();
    sqlx::query_file!(
        "queries/dag_set.sql",
        &ids,
        &versions,
        &filelocs,
        &descriptions as &[Option<String>],
        &tags,
        &owners,
        &paused,
        &bundles,
        &names as &[Option<String>]
    )
    .execute(transaction)
    .await
    .doing(DOING)?;
    Ok(())
}

/// Replaces the errors of files. An error that stood there before keeps the time when it was found.
async fn replace_errors(
    transaction: &mut PgConnection,
    files: &[(&BundleFile, &[DagFileError])],
) -> Result<(), StoreError> {
    const DOING: &str = "storing import errors";
    let bundles: Vec<String> = files.iter().map(|(file, _)| file.bundle.to_string()).collect();
    let names: Vec<String> = files.iter().map(|(file, _)| texts::storable(file.name.as_str())).collect();
    let rows = sqlx::query!(
        "DELETE FROM import_error AS e USING unnest($1::text[], $2::text[]) AS f (bundle, name)
         WHERE e.bundle_name = f.bundle AND e.file = f.name
         RETURNING e.bundle_name, e.file, e.message, e.line, e.col, e.found_at",
        &bundles,
        &names
    );
    let before = rows.fetch_all(&mut *transaction).await.doing(DOING)?.into_iter();
    let before: BTreeMap<_, Timestamp> =
        before.map(|row| ((row.bundle_name, row.file, row.message, row.line, row.col), row.found_at)).collect();
    let mut columns = ErrorColumns::default();
    for ((_, errors), (bundle, file)) in files.iter().zip(bundles.iter().zip(&names)) {
        for (number, error) in (0..).zip(*errors) {
            let error = storable(error.clone());
            let (line, col) = (position(error.line), position(error.column));
            let found_at = before.get(&(bundle.clone(), file.clone(), error.message.clone(), line, col)).copied();
            columns.bundle.push(bundle.clone());
            columns.push(file, number, error, found_at);
        }
    }
    columns.insert(transaction).await.doing(DOING)
}

#[derive(Default)]
struct ErrorColumns {
    bundle: Vec<String>,
    file: Vec<String>,
    position: Vec<i32>,
    message: Vec<String>,
    line: Vec<Option<i32>>,
    column: Vec<Option<i32>>,
    field: Vec<Option<String>>,
    suggestion: Vec<Option<String>>,
    excerpt: Vec<Option<String>>,
    found_at: Vec<Option<Timestamp>>,
}

impl ErrorColumns {
    fn push(&mut self, file: &str, number: i32, error: DagFileError, found_at: Option<Timestamp>) {
        self.file.push(file.to_owned());
        self.position.push(number);
        self.line.push(position(error.line));
        self.column.push(position(error.column));
        self.message.push(error.message);
        self.field.push(Some(error.field).filter(|field| !field.is_empty()));
        self.suggestion.push(error.suggestion);
        self.excerpt.push(error.excerpt);
        self.found_at.push(found_at);
    }

    async fn insert(self, transaction: &mut PgConnection) -> Result<(), sqlx::Error> {
        if self.file.is_empty() {
            return Ok(());
        }
        sqlx::query_file!(
            "queries/import_error_add.sql",
            &self.file,
            &self.position,
            &self.message,
            &self.line as &[Option<i32>],
            &self.column as &[Option<i32>],
            &self.field as &[Option<String>],
            &self.suggestion as &[Option<String>],
            &self.excerpt as &[Option<String>],
            &self.found_at as &[Option<Timestamp>],
            &self.bundle
        )
        .execute(transaction)
        .await?;
        Ok(())
    }
}
