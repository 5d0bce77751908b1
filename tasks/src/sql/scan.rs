//! Reads an Iceberg table, pinned to a snapshot, for the query engine.
//!
//! Each stream reads one file at a time, so a scan holds at most one row group a stream whatever the table's size.
//! With [`Rows::Addressed`] every row carries where it lies, in the order of the file; such a scan applies no filter,
//! so that the same file gives the same addresses whenever it is read.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::error::{DataFusionError, Result as EngineResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::scan::FileScanTask;
use iceberg::table::Table;

use super::predicate;

/// The column with the number of a row's file.
pub(super) const FILE_COLUMN: &str = "_windlass_file";
/// The column with the number of a row in its file.
pub(super) const ROW_COLUMN: &str = "_windlass_row";

/// Parallel streams of a scan: the engine's own parallelism, two cores, and each costs a row group of memory.
pub(super) const STREAMS: usize = 2;

/// Rows of a batch, here and in the engine. Merging sorted runs holds two batches of each run in memory, so batches are
/// smaller than the engine's default: with these, five million wide rows are sorted twice in one statement's memory.
pub(super) const BATCH_ROWS: usize = 2_048;

/// Whether rows say where they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// The table's columns only.
    Plain,
    /// Two more columns: [`FILE_COLUMN`] and [`ROW_COLUMN`].
    Addressed,
}

/// A table at one snapshot.
#[derive(Clone, Debug)]
pub(super) struct PinnedTable {
    table: Table,
    rows: Rows,
    schema: SchemaRef,
    columns: usize,
}

impl PinnedTable {
    /// Pins a table to its current snapshot.
    pub(super) fn new(table: Table, rows: Rows) -> EngineResult<Self> {
        let of_table = schema_to_arrow_schema(table.metadata().current_schema()).map_err(external)?;
        let mut fields: Vec<Field> = of_table.fields().iter().map(|field| bare(field)).collect();
        let columns = fields.len();
        if rows == Rows::Addressed {
            fields.push(Field::new(FILE_COLUMN, DataType::Int64, false));
            fields.push(Field::new(ROW_COLUMN, DataType::Int64, false));
        }
        Ok(Self { table, rows, schema: Arc::new(Schema::new(fields)), columns })
    }

    /// The table's files, in an order that is the same for every call.
    pub(super) async fn files(&self, columns: &[&str], filters: &[Expr]) -> EngineResult<Vec<FileScanTask>> {
        let mut scan = self.table.scan().with_batch_size(Some(BATCH_ROWS)).select(columns.iter().copied());
        if let Some(filter) = predicate::of(filters) {
            scan = scan.with_filter(filter);
        }
        let tasks = scan.build().map_err(external)?.plan_files().await.map_err(external)?;
        let mut tasks: Vec<FileScanTask> = tasks.try_collect().await.map_err(external)?;
        tasks.sort_by(|a, b| a.data_file_path.cmp(&b.data_file_path));
        Ok(tasks)
    }

    /// All columns of one of the table's files, with addresses.
    pub(super) fn read(&self, number: usize, task: FileScanTask) -> BoxStream<'static, EngineResult<RecordBatch>> {
        read_file(&self.table, NumberedFile { number, task }, self.schema.clone())
    }

    /// A table of one row, with a null in each of this table's columns.
    pub(super) fn one_row_of_nulls(&self) -> EngineResult<MemTable> {
        let fields: Vec<Field> =
            self.schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let columns = schema.fields().iter().map(|field| new_null_array(field.data_type(), 1)).collect();
        let batch = RecordBatch::try_new(schema.clone(), columns)?;
        MemTable::try_new(schema, vec![vec![batch]])
    }

    /// The schema of what is read: the table's columns and, if asked for, the addresses.
    pub(super) fn arrow_schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many columns the table itself has.
    pub(super) fn column_count(&self) -> usize {
        self.columns
    }
}

#[async_trait]
impl TableProvider for PinnedTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> EngineResult<Vec<TableProviderFilterPushDown>> {
        let support =
            |expr: &&Expr| match self.rows == Rows::Plain && predicate::of(std::slice::from_ref(*expr)).is_some() {
                true => TableProviderFilterPushDown::Inexact,
                false => TableProviderFilterPushDown::Unsupported,
            };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(wanted) => Arc::new(self.schema.project(wanted)?),
            None => self.schema.clone(),
        };
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let mut columns: Vec<&str> = names.into_iter().filter(|name| !is_address(name)).collect();
        if columns.is_empty() {
            // Rows are counted by a column; the first one is as good as any.
            columns.extend(self.schema.fields().first().map(|field| field.name().as_str()));
        }
        let files = self.files(&columns, filters).await?;
        let partitions = share_out(files).into_iter().map(|files| {
            let partition = FilePartition { table: self.table.clone(), files, schema: schema.clone() };
            Arc::new(partition) as Arc<dyn PartitionStream>
        });
        let plan = StreamingTableExec::try_new(schema.clone(), partitions.collect(), None, [], false, limit)?;
        Ok(Arc::new(plan))
    }
}

#[derive(Clone, Debug)]
struct NumberedFile {
    number: usize,
    task: FileScanTask,
}

/// The files that one stream reads, one after the other.
#[derive(Debug)]
struct FilePartition {
    table: Table,
    files: Vec<NumberedFile>,
    schema: SchemaRef,
}

impl PartitionStream for FilePartition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (table, schema) = (self.table.clone(), self.schema.clone());
        let batches = stream::iter(self.files.clone()).flat_map(move |file| read_file(&table, file, schema.clone()));
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches))
    }
}

/// Gives each stream about the same number of bytes; a file's number is its place in `files`.
fn share_out(files: Vec<FileScanTask>) -> Vec<Vec<NumberedFile>> {
    let mut numbered: Vec<_> =
        files.into_iter().enumerate().map(|(number, task)| NumberedFile { number, task }).collect();
    numbered.sort_by_key(|file| std::cmp::Reverse(file.task.file_size_in_bytes));
    let mut shares = vec![(0_u64, Vec::new()); STREAMS];
    for file in numbered {
        let least = shares.iter_mut().min_by_key(|(bytes, _)| *bytes).expect("there is at least one stream");
        least.0 += file.task.file_size_in_bytes;
        least.1.push(file);
    }
    shares.into_iter().map(|(_, files)| files).collect()
}

fn read_file(table: &Table, file: NumberedFile, schema: SchemaRef) -> BoxStream<'static, EngineResult<RecordBatch>> {
    let NumberedFile { number, task } = file;
    let tasks = stream::once(async move { Ok(task) }).boxed();
    let reader = table.reader_builder().with_batch_size(BATCH_ROWS).with_data_file_concurrency_limit(1).build();
    let batches = match reader.read(tasks) {
        Ok(result) => result.stream(),
        Err(error) => return stream::once(async move { Err(external(error)) }).boxed(),
    };
    let mut next_row = 0_i64;
    batches
        .map(move |batch| {
            let batch = batch.map_err(external)?;
            let first_row = next_row;
            next_row += count(batch.num_rows());
            shape(&batch, &schema, Address { file: count(number), first_row })
        })
        .boxed()
}

/// Where a batch lies.
#[derive(Clone, Copy)]
struct Address {
    file: i64,
    first_row: i64,
}

/// Puts a batch's columns, and its addresses where asked for, into the order and types of `schema`.
fn shape(batch: &RecordBatch, schema: &SchemaRef, at: Address) -> EngineResult<RecordBatch> {
    let rows = batch.num_rows();
    let column = |field: &Arc<Field>| -> EngineResult<ArrayRef> {
        match field.name().as_str() {
            FILE_COLUMN => Ok(Arc::new(Int64Array::from_value(at.file, rows))),
            ROW_COLUMN => Ok(Arc::new(Int64Array::from_iter_values(at.first_row..at.first_row + count(rows)))),
            name => {
                let column = batch
                    .column_by_name(name)
                    .ok_or_else(|| DataFusionError::Internal(format!("the reader left out the column {name}")))?;
                Ok(arrow::compute::cast(column, field.data_type())?)
            }
        }
    };
    let columns = schema.fields().iter().map(column).collect::<EngineResult<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

fn is_address(column: &str) -> bool {
    column == FILE_COLUMN || column == ROW_COLUMN
}

/// The field without Iceberg's column numbers, which the engine would compare between tables.
fn bare(field: &Field) -> Field {
    Field::new(field.name(), field.data_type().clone(), field.is_nullable())
}

fn count(number: usize) -> i64 {
    i64::try_from(number).expect("a count of things in memory fits")
}

pub(super) fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
