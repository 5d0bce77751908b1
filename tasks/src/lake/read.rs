//! Reading Iceberg tables, each scan at one snapshot.
//!
//! What always holds: delete files are applied, and memory stays bounded, since files are read one after another.

use std::collections::{BTreeSet, HashSet};

use arrow::array::RecordBatch;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use iceberg::{
    expr::Predicate,
    spec::{DataFile, ManifestContentType, ManifestEntryRef, Struct},
    table::Table,
};

use super::{
    dotted,
    error::{Doing, LakeError},
};

/// Files that are read at the same time. One keeps the memory small; readers that want speed use DataFusion.
const FILES_AT_ONCE: usize = 1;
/// Rows of a batch.
const BATCH_ROWS: usize = 16_384;

/// What to read of a table.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    snapshot: Option<i64>,
    columns: Option<Vec<String>>,
    filter: Option<Predicate>,
    files: Files,
}

#[derive(Debug, Clone, Default)]
enum Files {
    #[default]
    All,
    Of(HashSet<Struct>),
    Named(BTreeSet<String>),
}

impl Scan {
    /// All rows at the current snapshot.
    pub fn all() -> Self {
        Self::default()
    }

    /// At this snapshot.
    #[must_use]
    pub fn snapshot(mut self, id: i64) -> Self {
        self.snapshot = Some(id);
        self
    }

    /// Only these columns.
    #[must_use]
    pub fn columns<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.columns = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Only rows of which the predicate is true.
    #[must_use]
    pub fn filter(mut self, predicate: Predicate) -> Self {
        self.filter = Some(predicate);
        self
    }

    /// Only files of these partitions.
    #[must_use]
    pub fn partitions(mut self, partitions: HashSet<Struct>) -> Self {
        self.files = Files::Of(partitions);
        self
    }

    /// Only these files.
    #[must_use]
    pub fn files(mut self, paths: BTreeSet<String>) -> Self {
        self.files = Files::Named(paths);
        self
    }
}

/// Reads a table.
///
/// # Errors
/// When there is no such snapshot or column, or the storage fails.
pub async fn scan(
    table: &Table,
    wanted: &Scan,
) -> Result<BoxStream<'static, Result<RecordBatch, LakeError>>, LakeError> {
    let doing = format!("reading {}", dotted(table.identifier()));
    let mut scan = table.scan();
    if let Some(id) = wanted.snapshot {
        scan = scan.snapshot_id(id);
    }
    if let Some(columns) = &wanted.columns {
        scan = scan.select(columns);
    }
    if let Some(predicate) = &wanted.filter {
        scan = scan.with_filter(predicate.clone());
    }
    let mut tasks: Vec<_> = {
        let planned = scan.build().doing(doing.as_str())?.plan_files().await.doing(doing.as_str())?;
        planned.try_collect().await.doing(doing.as_str())?
    };
    match &wanted.files {
        Files::All => {}
        Files::Of(partitions) => {
            tasks.retain(|task| task.partition.as_ref().is_some_and(|values| partitions.contains(values)));
        }
        Files::Named(paths) => tasks.retain(|task| paths.contains(&task.data_file_path)),
    }
    let reader =
        table.reader_builder().with_data_file_concurrency_limit(FILES_AT_ONCE).with_batch_size(BATCH_ROWS).build();
    let rows = reader.read(stream::iter(tasks.into_iter().map(Ok)).boxed()).doing(doing.as_str())?;
    Ok(rows.stream().map(move |batch| batch.doing(doing.as_str())).boxed())
}

/// The live data files of a table's current snapshot.
///
/// # Errors
/// When the storage fails.
pub async fn data_files(table: &Table) -> Result<Vec<DataFile>, LakeError> {
    let entries = data_entries(table).await?;
    Ok(entries.iter().map(|entry| entry.data_file().clone()).collect())
}

/// The live entries of data files of a table's current snapshot.
pub(crate) async fn data_entries(table: &Table) -> Result<Vec<ManifestEntryRef>, LakeError> {
    let doing = || format!("listing the files of {}", dotted(table.identifier()));
    let Some(snapshot) = table.metadata().current_snapshot() else { return Ok(Vec::new()) };
    let manifests = table.manifest_list_reader(snapshot).load().await.doing(doing())?;
    let mut found = Vec::new();
    for manifest in manifests.entries().iter().filter(|manifest| manifest.content == ManifestContentType::Data) {
        let (entries, _) = manifest.load_manifest(table.file_io()).await.doing(doing())?.into_parts();
        found.extend(entries.into_iter().filter(|entry| entry.is_alive()));
    }
    Ok(found)
}
