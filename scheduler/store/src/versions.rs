//! DAG versions: stored once by their content, with their files; each task keeps its number in all of them.

use std::collections::{BTreeMap, BTreeSet};

use dag::{CompiledDag, DagFile, DagFileError, FILE_BYTES_MAX, FILES_BYTES_MAX};
use engine::DagVersion;
use model::{DagId, DagVersionId, Epoch};
use sqlx::{Connection, PgConnection, PgExecutor};

use crate::{
    connect::Writer,
    error::{Doing, StoreError},
    load::{task_numbers, version},
    rows::dag_id,
};

const DOING: &str = "storing a DAG version";

/// Stores a DAG as the version that is current from now on. The same content again gives the same version.
///
/// A DAG that is seen for the first time is paused as its definition says; later versions leave the switch alone.
///
/// # Errors
/// [`StoreError::Refused`] when its files are too large; [`StoreError::Deposed`], [`StoreError::Unreachable`],
/// [`StoreError::Database`].
pub async fn store_version(
    writer: &mut Writer,
    epoch: Epoch,
    compiled: &CompiledDag,
) -> Result<DagVersion, StoreError> {
    check_sizes(&compiled.files)?;
    let mut transaction = writer.connection().begin().await.doing(DOING)?;
    fence(&mut transaction, epoch).await?;
    store_files(&mut transaction, compiled.files.iter().chain([&compiled.source])).await?;
    let id = store_definition(&mut transaction, compiled).await?;
    number_tasks(&mut transaction, compiled).await?;
    make_current(&mut transaction, id, compiled).await?;
    let name = compiled.dag.dag_id.as_str();
    let numbers = task_numbers(&mut transaction, &[name.to_owned()]).await?;
    transaction.commit().await.doing(DOING)?;
    version(id, compiled.dag.clone(), numbers.get(name))
}

/// Notes that no file defines a DAG any more. Its runs and its history stay.
///
/// # Errors
/// [`StoreError::Deposed`], [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn dag_gone(writer: &mut Writer, epoch: Epoch, dag: &DagId) -> Result<(), StoreError> {
    const DOING: &str = "noting that a DAG is gone";
    let mut transaction = writer.connection().begin().await.doing(DOING)?;
    fence(&mut transaction, epoch).await?;
    sqlx::query!("UPDATE dag SET is_stale = true WHERE dag_id = $1 AND NOT is_stale", dag.as_str())
        .execute(&mut *transaction)
        .await
        .doing(DOING)?;
    transaction.commit().await.doing(DOING)
}

/// Replaces what is wrong with a file; nothing is, when the list is empty.
///
/// # Errors
/// [`StoreError::Deposed`], [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn set_import_errors(
    writer: &mut Writer,
    epoch: Epoch,
    file: &str,
    errors: &[DagFileError],
) -> Result<(), StoreError> {
    const DOING: &str = "storing import errors";
    let mut transaction = writer.connection().begin().await.doing(DOING)?;
    fence(&mut transaction, epoch).await?;
    sqlx::query!("DELETE FROM import_error WHERE file = $1", file).execute(&mut *transaction).await.doing(DOING)?;
    let messages: Vec<String> = errors.iter().map(|error| error.message.replace('\0', "\u{fffd}")).collect();
    let lines: Vec<Option<i32>> = errors.iter().map(|error| position(error.line)).collect();
    let columns: Vec<Option<i32>> = errors.iter().map(|error| position(error.column)).collect();
    let fields: Vec<Option<String>> =
        errors.iter().map(|error| Some(error.field.clone()).filter(|field| !field.is_empty())).collect();
    let suggestions: Vec<Option<String>> = errors.iter().map(|error| error.suggestion.clone()).collect();
    let excerpts: Vec<Option<String>> =
        errors.iter().map(|error| error.excerpt.as_ref().map(|line| line.replace('\0', "\u{fffd}"))).collect();
    sqlx::query_file!(
        "queries/import_error_add.sql",
        file,
        &messages,
        &lines as &[Option<i32>],
        &columns as &[Option<i32>],
        &fields as &[Option<String>],
        &suggestions as &[Option<String>],
        &excerpts as &[Option<String>]
    )
    .execute(&mut *transaction)
    .await
    .doing(DOING)?;
    transaction.commit().await.doing(DOING)
}

/// The files that have import errors, so that a new leader can clear those of files that are gone.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn files_with_import_errors(connection: &mut PgConnection) -> Result<BTreeSet<String>, StoreError> {
    let files = sqlx::query_scalar!("SELECT DISTINCT file FROM import_error")
        .fetch_all(connection)
        .await
        .doing("reading import errors")?;
    Ok(files.into_iter().collect())
}

/// The file that each DAG which is not gone is defined by.
///
/// # Errors
/// [`StoreError::Unreachable`], [`StoreError::Database`], [`StoreError::Corrupt`].
pub async fn filelocs(connection: &mut PgConnection) -> Result<Vec<(DagId, String)>, StoreError> {
    let rows = sqlx::query!("SELECT dag_id, fileloc FROM dag WHERE NOT is_stale ORDER BY dag_id")
        .fetch_all(connection)
        .await
        .doing("reading where DAGs are defined")?;
    rows.into_iter().map(|row| Ok((dag_id(&row.dag_id)?, row.fileloc))).collect()
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

/// Proves the epoch, and holds a takeover back until the transaction has ended.
pub(crate) async fn fence(transaction: &mut PgConnection, epoch: Epoch) -> Result<(), StoreError> {
    sqlx::query!("SELECT epoch FROM leader WHERE epoch = $1 FOR KEY SHARE", epoch.get())
        .fetch_optional(transaction)
        .await
        .doing("proving the leadership")?
        .map(drop)
        .ok_or(StoreError::Deposed)
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

/// Stores files once by their content: those of one name or of several DAGs are the same row.
async fn store_files(transaction: &mut PgConnection, files: impl Iterator<Item = &DagFile>) -> Result<(), StoreError> {
    let by_hash: BTreeMap<&str, &DagFile> = files.map(|file| (file.sha256.as_str(), file)).collect();
    for file in by_hash.into_values() {
        let sha256 = sha256_bytes(file)?;
        sqlx::query!(
            "INSERT INTO blob (sha256, bytes) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            sha256,
            file.bytes.as_ref()
        )
        .execute(&mut *transaction)
        .await
        .doing(DOING)?;
    }
    Ok(())
}

fn sha256_bytes(file: &DagFile) -> Result<Vec<u8>, StoreError> {
    hex::decode(&file.sha256).map_err(|error| StoreError::Refused { reason: error.to_string() })
}

async fn store_definition(transaction: &mut PgConnection, compiled: &CompiledDag) -> Result<DagVersionId, StoreError> {
    let dag_id = compiled.dag.dag_id.as_str();
    let definition = serde_json::to_value(&compiled.dag)
        .map_err(|error| StoreError::Refused { reason: format!("DAG {dag_id} can not be stored: {error}") })?;
    sqlx::query_file!(
        "queries/dag_version_add.sql",
        dag_id,
        compiled.content_hash,
        compiled.canonical_yaml,
        definition,
        compiled.fileloc,
        sha256_bytes(&compiled.source)?
    )
    .execute(&mut *transaction)
    .await
    .doing(DOING)?;
    let id = sqlx::query_scalar!(
        "SELECT id FROM dag_version WHERE dag_id = $1 AND content_hash = $2",
        dag_id,
        compiled.content_hash
    )
    .fetch_one(transaction)
    .await
    .doing(DOING)?;
    Ok(DagVersionId(id))
}

async fn number_tasks(transaction: &mut PgConnection, compiled: &CompiledDag) -> Result<(), StoreError> {
    let task_ids: Vec<String> = compiled.dag.tasks.iter().map(|task| task.task_id.to_string()).collect();
    sqlx::query_file!("queries/dag_task_number.sql", compiled.dag.dag_id.as_str(), &task_ids)
        .execute(transaction)
        .await
        .doing(DOING)?;
    Ok(())
}

async fn make_current(
    transaction: &mut PgConnection,
    id: DagVersionId,
    compiled: &CompiledDag,
) -> Result<(), StoreError> {
    let dag = &compiled.dag;
    sqlx::query_file!(
        "queries/dag_set.sql",
        dag.dag_id.as_str(),
        id.get(),
        compiled.fileloc,
        dag.description,
        &dag.tags,
        &dag.owners,
        dag.is_paused_upon_creation
    )
    .execute(transaction)
    .await
    .doing(DOING)?;
    Ok(())
}
