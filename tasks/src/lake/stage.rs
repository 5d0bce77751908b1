//! Staging: writing everything a new snapshot consists of, beside the table and invisible to it.
//!
//! What always holds: data files that are not removed keep their sequence numbers, so delete files (Trino's MERGE leaves
//! some) go on applying to exactly the rows they were written for and never to files that are added here; a staged
//! snapshot that is not swapped in leaves nothing but files that no reader can find.

use std::{collections::HashSet, str::FromStr, sync::Arc};

use iceberg::{
    MetadataLocation, TableIdent,
    io::FileIO,
    spec::{
        DataFile, FormatVersion, ManifestContentType, ManifestEntryRef, ManifestFile, ManifestListWriter,
        ManifestWriter, ManifestWriterBuilder, PartitionSpecRef, SchemaRef, Snapshot, SnapshotSummaryCollector, Struct,
        Summary, TableMetadata, TableMetadataRef,
    },
    table::Table,
};
use uuid::Uuid;

use super::{
    dotted,
    error::{Doing, LakeError},
    expire::expired_by_commit,
    now_ms,
    summary::{self, Totals},
    swap::{Change, Removal},
};

/// Manifests that a snapshot may carry over before they are merged into one: a reader opens each of them.
const MANIFESTS_MAX: usize = 100;

/// A snapshot that waits for its swap.
#[derive(Debug)]
pub(crate) struct Staged {
    /// The table.
    pub(crate) name: TableIdent,
    /// The metadata file it was built upon.
    pub(crate) old_location: String,
    /// Its own metadata file.
    pub(crate) new_location: String,
    /// What that file says.
    pub(crate) metadata: TableMetadataRef,
    written: Vec<String>,
}

impl Staged {
    /// The table as it is, without some of its snapshots.
    pub(crate) async fn without(table: &Table, snapshots: &[i64]) -> Result<Self, LakeError> {
        let doing = || format!("forgetting snapshots of {}", dotted(table.identifier()));
        let old = table.metadata_location_result().doing(doing())?.to_owned();
        let builder = table.metadata().clone().into_builder(Some(old.clone()));
        let metadata = builder.remove_snapshots(snapshots).build().doing(doing())?.metadata;
        let location =
            MetadataLocation::from_str(&old).doing(doing())?.with_next_version().with_new_metadata(&metadata);
        metadata.write_to(table.file_io(), &location).await.doing(doing())?;
        let new_location = location.to_string();
        let written = vec![new_location.clone()];
        let name = table.identifier().clone();
        Ok(Self { name, old_location: old, new_location, metadata: Arc::new(metadata), written })
    }

    /// The files that staging wrote.
    pub(crate) fn written(&self) -> impl Iterator<Item = &str> {
        self.written.iter().map(String::as_str)
    }

    /// Deletes what staging wrote; the data files stay, for another attempt.
    pub(crate) async fn discard(self, file_io: &FileIO) {
        for path in &self.written {
            if let Err(error) = file_io.delete(path).await {
                tracing::warn!(file.path = path, %error, "a staged file stays until it is swept");
            }
        }
    }
}

/// Builds the snapshot that `change` makes of `table`, and writes all of it.
pub(crate) async fn stage(table: &Table, change: &Change) -> Result<Staged, LakeError> {
    let mut stager = Stager::new(table)?;
    let previous = table.metadata().current_snapshot().cloned();
    let manifests = match &previous {
        Some(snapshot) => {
            let list = table.manifest_list_reader(snapshot).load().await.doing(stager.doing())?;
            list.consume_entries().into_iter().collect()
        }
        None => Vec::new(),
    };
    stager.totals = match &previous {
        Some(snapshot) => match Totals::recorded(snapshot) {
            Some(totals) => totals,
            None => stager.count(&manifests).await?,
        },
        None => Totals::default(),
    };
    let mut carried = stager.carry(manifests, &change.removal).await?;
    if carried.len() > MANIFESTS_MAX {
        carried = stager.merge(carried).await?;
    }
    carried.extend(stager.add(&change.added).await?);
    let list = stager.write_list(carried).await?;
    let properties = summary::properties(previous.as_ref(), &change.own, stager.collector.build(), stager.totals);
    let summary = Summary { operation: change.operation.clone(), additional_properties: properties };
    stager.finish(list, summary).await
}

struct Stager<'a> {
    table: &'a Table,
    metadata: &'a TableMetadata,
    schema: SchemaRef,
    id: Uuid,
    snapshot_id: i64,
    collector: SnapshotSummaryCollector,
    totals: Totals,
    written: Vec<String>,
}

/// Partitions of which files go, and of which files stay: (specification, values).
#[derive(Default)]
struct Touched {
    going: HashSet<(i32, Struct)>,
    staying: HashSet<(i32, Struct)>,
    files: usize,
}

impl<'a> Stager<'a> {
    fn new(table: &'a Table) -> Result<Self, LakeError> {
        let metadata = table.metadata();
        if metadata.format_version() != FormatVersion::V2 {
            let version = metadata.format_version();
            return Err(format!("it has format version {version:?}, and only version 2 can be written"))
                .doing(format!("committing to {}", dotted(table.identifier())));
        }
        let (high, low) = Uuid::new_v4().as_u64_pair();
        Ok(Self {
            table,
            metadata,
            schema: metadata.current_schema().clone(),
            id: Uuid::now_v7(),
            snapshot_id: i64::try_from((high ^ low) >> 1).expect("63 bits fit"),
            collector: SnapshotSummaryCollector::default(),
            totals: Totals::default(),
            written: Vec::new(),
        })
    }

    fn doing(&self) -> String {
        format!("staging a snapshot of {}", dotted(self.table.identifier()))
    }

    fn spec(&self, id: i32) -> Result<PartitionSpecRef, LakeError> {
        let found = self.metadata.partition_spec_by_id(id).cloned();
        found.ok_or_else(|| format!("a manifest names the unknown partitioning {id}")).doing(self.doing())
    }

    async fn entries(&self, manifest: &ManifestFile) -> Result<Vec<ManifestEntryRef>, LakeError> {
        let manifest = manifest.load_manifest(self.table.file_io()).await.doing(self.doing())?;
        let (entries, _) = manifest.into_parts();
        Ok(entries.into_iter().filter(|entry| entry.is_alive()).collect())
    }

    async fn count(&self, manifests: &[ManifestFile]) -> Result<Totals, LakeError> {
        let mut totals = Totals::default();
        for manifest in manifests {
            self.entries(manifest).await?.iter().for_each(|entry| totals.add(entry.data_file()));
        }
        Ok(totals)
    }

    /// The manifests of the new snapshot without what is removed.
    async fn carry(&mut self, manifests: Vec<ManifestFile>, removal: &Removal) -> Result<Vec<ManifestFile>, LakeError> {
        if matches!(removal, Removal::Nothing) {
            return Ok(manifests.into_iter().filter(may_hold_files).collect());
        }
        let (data, deletes): (Vec<_>, Vec<_>) =
            manifests.into_iter().partition(|manifest| manifest.content == ManifestContentType::Data);
        let mut touched = Touched::default();
        let mut carried = Vec::new();
        for manifest in data {
            carried.extend(self.without_removed(manifest, removal, &mut touched).await?);
        }
        if let Removal::Files(files) = removal
            && touched.files != files.len()
        {
            return Err(LakeError::Conflict { table: dotted(self.table.identifier()) });
        }
        for manifest in deletes {
            carried.extend(self.without_dangling(manifest, &touched).await?);
        }
        Ok(carried)
    }

    async fn without_removed(
        &mut self,
        manifest: ManifestFile,
        removal: &Removal,
        touched: &mut Touched,
    ) -> Result<Option<ManifestFile>, LakeError> {
        let spec_id = manifest.partition_spec_id;
        let entries = self.entries(&manifest).await?;
        if matches!(removal, Removal::Partitions(_)) && spec_id != self.metadata.default_partition_spec_id() {
            return Err("some files have an older partitioning; rewrite them first").doing(self.doing());
        }
        let (going, staying): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| removal.takes(entry.data_file()));
        touched.files += going.len();
        touched.going.extend(going.iter().map(|entry| (spec_id, entry.data_file().partition().clone())));
        touched.staying.extend(staying.iter().map(|entry| (spec_id, entry.data_file().partition().clone())));
        self.rewritten(manifest, &going, &staying).await
    }

    /// Leaves out delete files of partitions whose data files are all gone: nothing is left that they apply to.
    async fn without_dangling(
        &mut self,
        manifest: ManifestFile,
        touched: &Touched,
    ) -> Result<Option<ManifestFile>, LakeError> {
        // With several partitionings a delete file may reach beyond its own partition.
        if self.metadata.partition_specs_iter().len() > 1 {
            return Ok(Some(manifest));
        }
        let entries = self.entries(&manifest).await?;
        let (going, staying): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| {
            let partition = (manifest.partition_spec_id, entry.data_file().partition().clone());
            touched.going.contains(&partition) && !touched.staying.contains(&partition)
        });
        self.rewritten(manifest, &going, &staying).await
    }

    async fn rewritten(
        &mut self,
        manifest: ManifestFile,
        going: &[ManifestEntryRef],
        staying: &[ManifestEntryRef],
    ) -> Result<Option<ManifestFile>, LakeError> {
        if going.is_empty() {
            return Ok((!staying.is_empty()).then_some(manifest));
        }
        let spec = self.spec(manifest.partition_spec_id)?;
        let mut writer = self.manifest(&spec, manifest.content)?;
        for entry in staying {
            keep(&mut writer, entry).doing(self.doing())?;
        }
        for entry in going {
            let sequence = entry.sequence_number().ok_or("an entry has no sequence number").doing(self.doing())?;
            let file = entry.data_file().clone();
            self.collector.remove_file(&file, self.schema.clone(), spec.clone());
            self.totals.remove(&file);
            writer.add_delete_file(file, sequence, entry.file_sequence_number).doing(self.doing())?;
        }
        writer.write_manifest_file().await.doing(self.doing()).map(Some)
    }

    /// Turns the data manifests of the current partitioning into one.
    async fn merge(&mut self, manifests: Vec<ManifestFile>) -> Result<Vec<ManifestFile>, LakeError> {
        let spec = self.metadata.default_partition_spec().clone();
        // A manifest written just now says which files this snapshot removes: it has to stay as it is.
        let (small, mut merged): (Vec<_>, Vec<_>) = manifests.into_iter().partition(|manifest| {
            manifest.content == ManifestContentType::Data
                && manifest.partition_spec_id == spec.spec_id()
                && manifest.added_snapshot_id != self.snapshot_id
        });
        let mut writer = self.manifest(&spec, ManifestContentType::Data)?;
        for manifest in &small {
            for entry in self.entries(manifest).await? {
                keep(&mut writer, &entry).doing(self.doing())?;
            }
        }
        merged.push(writer.write_manifest_file().await.doing(self.doing())?);
        Ok(merged)
    }

    async fn add(&mut self, files: &[DataFile]) -> Result<Option<ManifestFile>, LakeError> {
        if files.is_empty() {
            return Ok(None);
        }
        let spec = self.metadata.default_partition_spec().clone();
        let sequence = self.metadata.next_sequence_number();
        let mut writer = self.manifest(&spec, ManifestContentType::Data)?;
        for file in files {
            self.collector.add_file(file, self.schema.clone(), spec.clone());
            self.totals.add(file);
            writer.add_file(file.clone(), sequence).doing(self.doing())?;
        }
        writer.write_manifest_file().await.doing(self.doing()).map(Some)
    }

    fn manifest(&mut self, spec: &PartitionSpecRef, content: ManifestContentType) -> Result<ManifestWriter, LakeError> {
        let path = format!("{}/metadata/{}-m{}.avro", self.metadata.location(), self.id, self.written.len());
        let output = self.table.file_io().new_output(&path).doing(self.doing())?;
        self.written.push(path);
        let builder =
            ManifestWriterBuilder::new(output, Some(self.snapshot_id), self.schema.clone(), spec.as_ref().clone());
        Ok(match content {
            ManifestContentType::Data => builder.build_v2_data(),
            ManifestContentType::Deletes => builder.build_v2_deletes(),
        })
    }

    async fn write_list(&mut self, manifests: Vec<ManifestFile>) -> Result<String, LakeError> {
        let path = format!("{}/metadata/snap-{}-0-{}.avro", self.metadata.location(), self.snapshot_id, self.id);
        let output = self.table.file_io().new_output(&path).doing(self.doing())?;
        self.written.push(path.clone());
        let file = output.writer().await.doing(self.doing())?;
        let parent = self.metadata.current_snapshot_id();
        let mut list = ManifestListWriter::v2(file, self.snapshot_id, parent, self.metadata.next_sequence_number());
        list.add_manifests(manifests.into_iter()).doing(self.doing())?;
        list.close().await.doing(self.doing())?;
        Ok(path)
    }

    async fn finish(mut self, manifest_list: String, summary: Summary) -> Result<Staged, LakeError> {
        let now = now_ms();
        let snapshot = Snapshot::builder()
            .with_snapshot_id(self.snapshot_id)
            .with_parent_snapshot_id(self.metadata.current_snapshot_id())
            .with_sequence_number(self.metadata.next_sequence_number())
            // A clock that was set back must not make history run backwards.
            .with_timestamp_ms(now.max(self.metadata.last_updated_ms()))
            .with_manifest_list(manifest_list)
            .with_summary(summary)
            .with_schema_id(self.metadata.current_schema_id())
            .build();
        let old = self.table.metadata_location_result().doing(self.doing())?.to_owned();
        let metadata = self
            .metadata
            .clone()
            .into_builder(Some(old.clone()))
            .set_branch_snapshot(snapshot, "main")
            .doing(self.doing())?
            .remove_snapshots(&expired_by_commit(self.metadata, now))
            .build()
            .doing(self.doing())?
            .metadata;
        let location =
            MetadataLocation::from_str(&old).doing(self.doing())?.with_next_version().with_new_metadata(&metadata);
        self.written.push(location.to_string());
        metadata.write_to(self.table.file_io(), &location).await.doing(self.doing())?;
        Ok(Staged {
            name: self.table.identifier().clone(),
            old_location: old,
            new_location: location.to_string(),
            metadata: Arc::new(metadata),
            written: self.written,
        })
    }
}

fn may_hold_files(manifest: &ManifestFile) -> bool {
    manifest.has_added_files() || manifest.has_existing_files()
}

fn keep(writer: &mut ManifestWriter, entry: &ManifestEntryRef) -> Result<(), iceberg::Error> {
    let missing =
        || iceberg::Error::new(iceberg::ErrorKind::DataInvalid, "a live entry has no snapshot or sequence number");
    writer.add_existing_file(
        entry.data_file().clone(),
        entry.snapshot_id().ok_or_else(missing)?,
        entry.sequence_number().ok_or_else(missing)?,
        entry.file_sequence_number,
    )
}
