//! Writing data files of Iceberg tables.
//!
//! What always holds: file names are unique over all processes and calls; files are compressed; memory is bounded by
//! the number of partitions open at once; and a file that was written becomes part of the table only by a commit.

use std::collections::HashMap;

use arrow::{array::RecordBatch, datatypes::SchemaRef, row::OwnedRow};
use futures::{Stream, TryStreamExt};
use iceberg::{
    arrow::{FieldMatchMode, schema_to_arrow_schema},
    io::FileIO,
    spec::{DataFile, DataFileFormat, PartitionKey},
    table::Table,
    writer::{
        IcebergWriter, IcebergWriterBuilder,
        base_writer::data_file_writer::{DataFileWriter, DataFileWriterBuilder},
        file_writer::{
            ParquetWriterBuilder,
            location_generator::{DefaultFileNameGenerator, DefaultLocationGenerator},
            rolling_writer::RollingFileWriterBuilder,
        },
    },
};
use parquet::{
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use uuid::Uuid;

pub use super::conform::conform;
use super::{
    dotted,
    error::{Doing, LakeError},
    partition::Splitter,
};

/// Partitions that are written at the same time; one more closes the one that has rested longest. With
/// [`ROW_GROUP_ROWS`] it bounds a writer's memory to some 100 MiB in the worst case.
const OPEN_PARTITIONS_MAX: usize = 32;
/// Rows that a file holds in memory before it writes them out.
const ROW_GROUP_ROWS: usize = 65_536;
/// The fastest level: the next ones gain a few per cent of size for twice the time.
const ZSTD_LEVEL: i32 = 1;

type FileWriterBuilder =
    DataFileWriterBuilder<ParquetWriterBuilder, DefaultLocationGenerator, DefaultFileNameGenerator>;
type FileWriter = DataFileWriter<ParquetWriterBuilder, DefaultLocationGenerator, DefaultFileNameGenerator>;

/// How all our Parquet files are written.
pub(crate) fn parquet_properties() -> WriterProperties {
    let level = ZstdLevel::try_new(ZSTD_LEVEL).expect("the level is one of zstd's");
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build()
}

/// Writes rows into data files of one table.
pub struct TableWriter {
    table: String,
    file_io: FileIO,
    schema: SchemaRef,
    builder: FileWriterBuilder,
    splitter: Option<Splitter>,
    open: HashMap<Option<OwnedRow>, OpenPartition>,
    turn: u64,
    files: Vec<DataFile>,
}

struct OpenPartition {
    writer: FileWriter,
    last_used: u64,
}

impl TableWriter {
    /// A writer for the table's current schema and partitioning.
    ///
    /// # Errors
    /// When the table's metadata cannot be turned into a writer.
    pub fn new(table: &Table) -> Result<Self, LakeError> {
        let name = dotted(table.identifier());
        let doing = || format!("preparing to write to {name}");
        let metadata = table.metadata();
        let schema = metadata.current_schema().clone();
        let parquet =
            ParquetWriterBuilder::new_with_match_mode(parquet_properties(), schema.clone(), FieldMatchMode::Name);
        let target_bytes = metadata.table_properties().doing(doing())?.write_target_file_size_bytes;
        let prefix = format!("{:x}-{}", std::process::id(), Uuid::now_v7());
        let rolling = RollingFileWriterBuilder::new(
            parquet,
            target_bytes,
            table.file_io().clone(),
            DefaultLocationGenerator::new(metadata).doing(doing())?,
            DefaultFileNameGenerator::new(prefix, None, DataFileFormat::Parquet),
        );
        let spec = metadata.default_partition_spec().clone();
        let splitter = if spec.is_unpartitioned() { None } else { Some(Splitter::new(spec, schema.clone())?) };
        Ok(Self {
            schema: schema_to_arrow_schema(&schema).doing(doing())?.into(),
            file_io: table.file_io().clone(),
            builder: DataFileWriterBuilder::new(rolling),
            splitter,
            open: HashMap::new(),
            turn: 0,
            files: Vec::new(),
            table: name,
        })
    }

    /// Writes a batch, after giving it the table's shape by column name.
    ///
    /// # Errors
    /// [`LakeError::BadBatch`] when it does not fit; otherwise what the storage says.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = conform(batch, &self.schema)?;
        let parts = match &self.splitter {
            Some(splitter) => splitter.split(&batch)?,
            None => return self.write_part(None, None, batch).await,
        };
        for part in parts {
            self.write_part(Some(part.id), Some(part.key), part.rows).await?;
        }
        Ok(())
    }

    /// Finishes all files and hands them over for a commit.
    ///
    /// # Errors
    /// What the storage says.
    pub async fn close(mut self) -> Result<Vec<DataFile>, LakeError> {
        for (_, open) in std::mem::take(&mut self.open) {
            self.finish(open).await?;
        }
        Ok(self.files)
    }

    /// Finishes all files and deletes them.
    pub async fn abandon(self) {
        let file_io = self.file_io.clone();
        match self.close().await {
            Ok(files) => delete_files(&file_io, &files).await,
            Err(error) => tracing::warn!(%error, "an abandoned file stays until it is swept"),
        }
    }

    async fn write_part(
        &mut self,
        id: Option<OwnedRow>,
        key: Option<PartitionKey>,
        rows: RecordBatch,
    ) -> Result<(), LakeError> {
        let doing = format!("writing {} rows of {}", rows.num_rows(), self.table);
        if !self.open.contains_key(&id) {
            self.make_room().await?;
            let writer = self.builder.build(key).await.doing(doing.as_str())?;
            self.open.insert(id.clone(), OpenPartition { writer, last_used: self.turn });
        }
        self.turn += 1;
        let open = self.open.get_mut(&id).expect("the partition was opened above");
        open.last_used = self.turn;
        open.writer.write(rows).await.doing(doing)
    }

    async fn make_room(&mut self) -> Result<(), LakeError> {
        if self.open.len() < OPEN_PARTITIONS_MAX {
            return Ok(());
        }
        let resting = self.open.iter().min_by_key(|(_, open)| open.last_used).map(|(id, _)| id.clone());
        match resting.and_then(|id| self.open.remove(&id)) {
            Some(open) => self.finish(open).await,
            None => Ok(()),
        }
    }

    async fn finish(&mut self, mut open: OpenPartition) -> Result<(), LakeError> {
        self.files.extend(open.writer.close().await.doing(format!("finishing a file of {}", self.table))?);
        Ok(())
    }
}

/// Writes a whole stream into data files of a table; nothing stays behind when the stream fails.
///
/// # Errors
/// The stream's own, or [`TableWriter::write`]'s.
pub async fn write_stream<E: Into<LakeError>>(
    table: &Table,
    rows: impl Stream<Item = Result<RecordBatch, E>>,
) -> Result<Vec<DataFile>, LakeError> {
    let mut writer = TableWriter::new(table)?;
    let mut rows = std::pin::pin!(rows.map_err(Into::into));
    let outcome = async {
        while let Some(batch) = rows.try_next().await? {
            writer.write(&batch).await?;
        }
        Ok(())
    }
    .await;
    match outcome {
        Ok(()) => writer.close().await,
        Err(error) => {
            writer.abandon().await;
            Err(error)
        }
    }
}

/// Writes batches on a thread of its own, since encoding would hold up everything else.
pub(crate) async fn write_batches(table: &Table, batches: Vec<RecordBatch>) -> Result<Vec<DataFile>, LakeError> {
    let table = table.clone();
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        runtime.block_on(write_stream(&table, futures::stream::iter(batches.into_iter().map(Ok::<_, LakeError>))))
    })
    .await
    .doing("encoding rows")?
}

/// Deletes files that no commit names; what cannot be deleted now is swept later.
pub(crate) async fn delete_files(file_io: &FileIO, files: &[DataFile]) {
    for file in files {
        if let Err(error) = file_io.delete(file.file_path()).await {
            tracing::warn!(file.path = file.file_path(), %error, "a file that no table needs stays until it is swept");
        }
    }
}
