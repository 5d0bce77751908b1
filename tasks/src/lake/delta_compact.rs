//! Compaction of the Delta table: many small files of a month become few large ones with the same rows.
//!
//! What always holds: the log entry says that no data changed, so running sinks go on undisturbed; rows are streamed,
//! one file after another.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use arrow::array::RecordBatch;
use bytes::Bytes;
use chrono::TimeDelta;
use deltalake::{
    DeltaTable, DeltaTableError, checkpoints,
    kernel::{
        Action, Add, LogicalFileView, Remove,
        transaction::{CommitBuilder, CommitProperties},
    },
    operations::vacuum::VacuumMode,
    protocol::DeltaOperation,
    writer::{DeltaWriter, RecordBatchWriter},
};
use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, path::Path};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{
    compact::{Compacted, FILES_MAX, LARGE_BYTES},
    delta::{LOG_RETRIES_MAX, delete_added, is_conflict},
    error::{Doing, LakeError},
    month::{MONTH, with_month},
    sort::Sorter,
    sweep::{Pass, Swept},
    write::parquet_properties,
};

const DOING: &str = "compacting the Delta table";
/// Months that are rewritten by one log entry.
const MONTHS_AT_ONCE: usize = 32;
/// Encoded bytes that the writer may hold before it writes files out: they lie in memory.
const BUFFER_BYTES_MAX: usize = 96 * 1024 * 1024;

/// Compacts the months that have too many files.
pub(crate) async fn compact(table: &mut DeltaTable, order: &'static [&'static str]) -> Result<Compacted, LakeError> {
    table.update_state().await.doing(DOING)?;
    let mut done = Compacted::default();
    for months in crowded(table).await?.chunks(MONTHS_AT_ONCE) {
        done += rewrite(table, months, order).await?;
    }
    if done.files_before > 0 {
        checkpoints::create_checkpoint(table, None).await.doing(DOING)?;
    }
    Ok(done)
}

/// How many small files the next compaction would replace.
pub(crate) async fn waiting(table: &DeltaTable) -> Result<usize, LakeError> {
    Ok(crowded(table).await?.iter().map(Vec::len).sum())
}

/// Deletes the files that the table has not consisted of for so long, writes a checkpoint, and deletes log entries that
/// are older than the table's own retention and that the checkpoint makes superfluous.
pub(crate) async fn vacuum(table: &mut DeltaTable, retention: Duration, pass: Pass) -> Result<Swept, LakeError> {
    const DOING: &str = "vacuuming the Delta table";
    let grace = TimeDelta::from_std(retention).doing(DOING)?;
    let store = table.object_store();
    let found: Vec<ObjectMeta> = store.list(None).try_collect().await.doing(DOING)?;
    let clean = |pass: Pass| {
        let builder = table.clone().vacuum().with_mode(VacuumMode::Full).with_retention_period(grace);
        builder.with_enforce_retention_duration(false).with_dry_run(pass == Pass::Dry)
    };
    let (_, planned) = clean(Pass::Dry).await.doing(DOING)?;
    let going: HashSet<&str> = planned.files_deleted.iter().map(String::as_str).collect();
    let bytes = found.iter().filter(|file| going.contains(file.location.as_ref())).map(|file| file.size).sum();
    let swept = Swept { found: found.len(), deleted: going.len(), bytes };
    if pass == Pass::Real {
        // Its log entries say what was deleted; without anything to delete there are none.
        if swept.deleted > 0 {
            clean(Pass::Real).await.doing(DOING)?;
            table.update_state().await.doing(DOING)?;
        }
        checkpoints::create_checkpoint(table, None).await.doing(DOING)?;
        checkpoints::cleanup_metadata(table, None).await.doing(DOING)?;
    }
    Ok(swept)
}

/// The small files of each month that has too many of them.
async fn crowded(table: &DeltaTable) -> Result<Vec<Vec<LogicalFileView>>, LakeError> {
    let store = table.log_store();
    let state = table.snapshot().doing(DOING)?;
    let files: Vec<LogicalFileView> =
        state.snapshot().file_views(store.as_ref(), None).try_collect().await.doing(DOING)?;
    let mut months: BTreeMap<Option<String>, Vec<LogicalFileView>> = BTreeMap::new();
    for file in files.into_iter().filter(|file| u64::try_from(file.size()).is_ok_and(|size| size < LARGE_BYTES)) {
        months.entry(month_of(&file)).or_default().push(file);
    }
    Ok(months.into_values().filter(|files| files.len() > FILES_MAX).collect())
}

fn month_of(file: &LogicalFileView) -> Option<String> {
    removal(file).partition_values?.remove(MONTH)?
}

fn removal(file: &LogicalFileView) -> Remove {
    const DATA_CHANGE: bool = false;
    file.remove_action(DATA_CHANGE)
}

async fn rewrite(
    table: &mut DeltaTable,
    months: &[Vec<LogicalFileView>],
    order: &'static [&'static str],
) -> Result<Compacted, LakeError> {
    let mut added = Vec::new();
    let mut rows = 0;
    for files in months {
        match copy(table, files, order, &mut added).await {
            Ok(copied) => rows += copied,
            Err(error) => {
                delete_added(table, &added).await;
                return Err(error);
            }
        }
    }
    let removed: Vec<Remove> = months.iter().flatten().map(removal).collect();
    let done = Compacted { files_before: removed.len(), files_after: added.len(), rows };
    match commit(table, removed, &added).await {
        Ok(()) => Ok(done),
        // Another compaction was faster: its files serve as well.
        Err(error) if is_conflict(&error) => {
            delete_added(table, &added).await;
            table.update_state().await.doing(DOING)?;
            Ok(Compacted::default())
        }
        Err(error) => Err(error).doing(DOING),
    }
}

async fn commit(table: &mut DeltaTable, removed: Vec<Remove>, added: &[Add]) -> Result<(), DeltaTableError> {
    let adds = added.iter().cloned().map(|add| Action::Add(Add { data_change: false, ..add }));
    let actions = removed.into_iter().map(Action::Remove).chain(adds).collect();
    let properties =
        CommitProperties::default().with_max_retries(LOG_RETRIES_MAX).with_cleanup_expired_logs(Some(false));
    let target_size = i64::try_from(LARGE_BYTES).expect("the size of a file fits");
    let committed = CommitBuilder::from(properties)
        .with_actions(actions)
        .build(Some(table.snapshot()?), table.log_store(), DeltaOperation::Optimize { predicate: None, target_size })
        .await?;
    table.state = Some(committed.snapshot());
    Ok(())
}

/// Copies the rows of files into new ones; answers how many.
async fn copy(
    table: &DeltaTable,
    files: &[LogicalFileView],
    order: &'static [&'static str],
    added: &mut Vec<Add>,
) -> Result<u64, LakeError> {
    let mut writer = RecordBatchWriter::for_table(table).doing(DOING)?.with_writer_properties(parquet_properties());
    let mut sorter = Sorter::new(order);
    let mut rows = 0;
    for file in files {
        let path = Path::parse(file.path()).doing(DOING)?;
        let bytes = table.object_store().get(&path).await.doing(DOING)?.bytes().await.doing(DOING)?;
        for batch in batches(bytes)? {
            let batch = batch.doing(DOING)?;
            rows += batch.num_rows() as u64;
            if let Some(chunk) = sorter.push(batch)? {
                write(&mut writer, &chunk, added).await?;
            }
        }
    }
    if let Some(chunk) = sorter.finish()? {
        write(&mut writer, &chunk, added).await?;
    }
    added.extend(writer.flush().await.doing(DOING)?);
    Ok(rows)
}

fn batches(file: Bytes) -> Result<impl Iterator<Item = Result<RecordBatch, arrow::error::ArrowError>>, LakeError> {
    ParquetRecordBatchReaderBuilder::try_new(file).doing(DOING)?.build().doing(DOING)
}

async fn write(writer: &mut RecordBatchWriter, chunk: &RecordBatch, added: &mut Vec<Add>) -> Result<(), LakeError> {
    let schema = writer.arrow_schema();
    writer.write(with_month(chunk, &schema)?).await.doing(DOING)?;
    if writer.buffer_len() > BUFFER_BYTES_MAX {
        added.extend(writer.flush().await.doing(DOING)?);
    }
    Ok(())
}
