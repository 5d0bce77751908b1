//! Compaction of Iceberg tables: many small files of a partition become few large ones with the same rows.
//!
//! What always holds: rows are streamed, never held whole; a running writer is never disturbed, since the swap is
//! repeated upon whatever it appends.

use std::collections::{BTreeSet, HashMap};

use futures::TryStreamExt;
use iceberg::{
    TableIdent,
    spec::{DataFile, Struct},
    table::Table,
};

use super::{
    Lake, dotted,
    error::{Doing, LakeError},
    read::{Scan, data_files, scan},
    sort::Sorter,
    swap::{Change, Commit, Removal},
    write::{TableWriter, delete_files},
};

/// Files that a partition may have; more are made into one.
pub(crate) const FILES_MAX: usize = 8;
/// A file of this size is large enough to be left alone.
pub(crate) const LARGE_BYTES: u64 = 64 * 1024 * 1024;
/// Partitions that are rewritten by one commit: enough that commits do not dominate, few enough that little work is
/// lost when one of them cannot be made.
const PARTITIONS_AT_ONCE: usize = 32;

/// What a compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Files that were replaced.
    pub files_before: usize,
    /// Files that replaced them.
    pub files_after: usize,
    /// Rows in them.
    pub rows: u64,
}

impl std::ops::AddAssign for Compacted {
    fn add_assign(&mut self, other: Self) {
        self.files_before += other.files_before;
        self.files_after += other.files_after;
        self.rows += other.rows;
    }
}

/// How many small files the next compaction of a table would replace.
pub(crate) async fn waiting(table: &Table) -> Result<usize, LakeError> {
    Ok(crowded(data_files(table).await?).iter().map(Vec::len).sum())
}

/// Compacts the partitions of a table that have too many files, sorting rows by these columns.
pub(crate) async fn compact(
    lake: &Lake,
    name: &TableIdent,
    order: &'static [&'static str],
) -> Result<Compacted, LakeError> {
    let mut table = lake.table(name).await?;
    let mut done = Compacted::default();
    let crowded = crowded(data_files(&table).await?);
    for partitions in crowded.chunks(PARTITIONS_AT_ONCE) {
        let (compacted, now) = rewrite(lake, &table, partitions, order).await?;
        done += compacted;
        table = now;
    }
    Ok(done)
}

/// The small files of each partition that has too many of them.
fn crowded(files: Vec<DataFile>) -> Vec<Vec<DataFile>> {
    let mut partitions: HashMap<Struct, Vec<DataFile>> = HashMap::new();
    for file in files.into_iter().filter(|file| file.file_size_in_bytes() < LARGE_BYTES) {
        partitions.entry(file.partition().clone()).or_default().push(file);
    }
    partitions.into_values().filter(|files| files.len() > FILES_MAX).collect()
}

async fn rewrite(
    lake: &Lake,
    table: &Table,
    partitions: &[Vec<DataFile>],
    order: &'static [&'static str],
) -> Result<(Compacted, Table), LakeError> {
    let mut writer = TableWriter::new(table)?;
    for files in partitions {
        if let Err(error) = copy(table, files, &mut writer, order).await {
            writer.abandon().await;
            return Err(error);
        }
    }
    let added = writer.close().await?;
    let old = partitions.iter().flatten();
    let done = Compacted {
        files_before: old.clone().count(),
        files_after: added.len(),
        rows: added.iter().map(DataFile::record_count).sum(),
    };
    let removed: BTreeSet<String> = old.map(|file| file.file_path().to_owned()).collect();
    let change = Change::replace(table, added.clone(), Removal::Files(removed));
    match Commit::new(lake).change(change).publish().await {
        Ok(tables) => {
            let now = tables.into_iter().next().ok_or("the commit answered without its table");
            Ok((done, now.doing(format!("compacting {}", dotted(table.identifier())))?))
        }
        // What another compaction or a delete was faster at stays for the next time.
        Err(LakeError::Conflict { .. }) => {
            delete_files(table.file_io(), &added).await;
            Ok((Compacted::default(), lake.table(table.identifier()).await?))
        }
        Err(error) => Err(error),
    }
}

async fn copy(
    table: &Table,
    files: &[DataFile],
    writer: &mut TableWriter,
    order: &'static [&'static str],
) -> Result<(), LakeError> {
    let paths: BTreeSet<String> = files.iter().map(|file| file.file_path().to_owned()).collect();
    let mut rows = scan(table, &Scan::all().files(paths)).await?;
    let mut sorter = Sorter::new(order);
    while let Some(batch) = rows.try_next().await? {
        if let Some(chunk) = sorter.push(batch)? {
            writer.write(&chunk).await?;
        }
    }
    match sorter.finish()? {
        Some(chunk) => writer.write(&chunk).await,
        None => Ok(()),
    }
}
