//! The Delta table of bronze trades: appended to exactly once, by transaction identifiers in its log.
//!
//! What always holds: the log holds, per partition of the topic, the next offset to read (a `txn` action); it moves in
//! the very log entry that adds the rows. Two sinks that move the same partition from the same state cannot both
//! succeed: the log refuses the second, which then drops the rows that the first one has committed.

use std::{sync::Arc, time::Duration};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use deltalake::{
    DeltaTable, DeltaTableConfig, DeltaTableError, TableProperty,
    kernel::{
        Action, Add, DataType, PrimitiveType, StructField, Transaction,
        transaction::{CommitBuilder, CommitProperties, TransactionError},
    },
    logstore::{LogStoreRef, StorageConfig, default_logstore},
    operations::create::CreateBuilder,
    protocol::{DeltaOperation, SaveMode},
    writer::{DeltaWriter, RecordBatchWriter},
};
use object_store::{ObjectStoreExt, path::Path, prefix::PrefixStore};

use super::{
    Lake,
    error::{Doing, LakeError},
    month::{MONTH, with_month},
    offsets::{Marks, rows_from, steps},
    write::parquet_properties,
};
use crate::pg::catalog;

/// Where the table lies in the warehouse.
pub(crate) const DELTA_PATH: &str = "bronze_delta/stock_trades";
/// Log entries between two checkpoints: opening the table reads at most this many and a checkpoint.
const CHECKPOINT_INTERVAL: &str = "25";
/// How long log entries older than a checkpoint stay, for readers that look back.
const LOG_RETENTION: &str = "interval 1 day";
/// How long files that the table no longer consists of stay: as long as the log leads to them.
pub(crate) const FILE_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);
/// How often a commit begins anew because other sinks moved the same partitions.
const ATTEMPTS_MAX: u32 = 50;
/// How often the log is retried against commits that do not concern ours, such as other partitions' or compactions.
pub(crate) const LOG_RETRIES_MAX: usize = 50;

/// The table, as far as this process has seen it.
pub(crate) struct DeltaStream {
    pub(crate) table: DeltaTable,
    topic: String,
    marks: Marks,
}

impl DeltaStream {
    /// Opens the table, making it first when it is missing.
    pub(crate) async fn open(lake: &Lake, topic: &str) -> Result<Self, LakeError> {
        let mut table = DeltaTable::new(log_store(lake)?, DeltaTableConfig::default());
        if !table.verify_deltatable_existence().await.doing("looking for the Delta table")? {
            create(lake, &table).await?;
        }
        table.load().await.doing("opening the Delta table")?;
        let mut stream = Self { table, topic: topic.to_owned(), marks: Marks::new() };
        stream.marks = stream.stored_marks().await?;
        Ok(stream)
    }

    /// The next offset to read, per partition, as the log says now.
    pub(crate) async fn latest_marks(&self) -> Result<Marks, LakeError> {
        let mut now = Self { table: self.table.clone(), topic: self.topic.clone(), marks: Marks::new() };
        now.refresh().await?;
        Ok(now.marks)
    }

    async fn refresh(&mut self) -> Result<(), LakeError> {
        self.table.update_state().await.doing("reading the Delta log")?;
        self.marks = self.stored_marks().await?;
        Ok(())
    }

    /// Adds the rows that the table does not have yet, and moves its offsets; answers how many rows.
    pub(crate) async fn append(&mut self, trades: &[RecordBatch], next: &Marks) -> Result<usize, LakeError> {
        for _ in 0..ATTEMPTS_MAX {
            if steps(&self.marks, next).is_empty() {
                return Ok(0);
            }
            let fresh = rows_from(trades, &self.marks)?;
            let rows = fresh.iter().map(RecordBatch::num_rows).sum();
            let added = encode(&self.table, fresh).await?;
            match self.commit(&added, next).await {
                Ok(()) => return Ok(rows),
                Err(error) => self.after_failure(added, next, error).await?,
            }
        }
        Err(LakeError::Conflict { table: DELTA_PATH.to_owned() })
    }

    async fn commit(&mut self, added: &[Add], next: &Marks) -> Result<(), DeltaTableError> {
        let steps = steps(&self.marks, next);
        let mut transactions: Vec<Transaction> =
            steps.iter().map(|(partition, step)| Transaction::new(self.partition_id(*partition), step.to)).collect();
        let known = partition_count(&self.marks);
        let wanted = partition_count(next).max(known);
        if wanted > known {
            transactions.push(Transaction::new(self.count_id(), i64::from(wanted)));
        }
        let properties = CommitProperties::default()
            .with_max_retries(LOG_RETRIES_MAX)
            .with_application_transactions(transactions)
            // Listing the log with each commit would cost more than the commit; compaction cleans up.
            .with_cleanup_expired_logs(Some(false));
        let operation = DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: Some(vec![MONTH.to_owned()]),
            predicate: None,
        };
        let committed = CommitBuilder::from(properties)
            .with_actions(added.iter().cloned().map(Action::Add).collect())
            .build(Some(self.table.snapshot()?), self.table.log_store(), operation)
            .await?;
        self.table.state = Some(committed.snapshot());
        self.marks.extend(steps.into_iter().map(|(partition, step)| (partition, step.to)));
        Ok(())
    }

    /// A failed commit may be there all the same, for instance when only the checkpoint after it failed: the log tells.
    /// Returns when the commit is to be tried anew upon what the log says now.
    async fn after_failure(&mut self, added: Vec<Add>, next: &Marks, error: DeltaTableError) -> Result<(), LakeError> {
        let before = self.marks.clone();
        self.refresh().await?;
        if steps(&self.marks, next).is_empty() {
            return Ok(());
        }
        if is_conflict(&error) {
            // The entry would have moved the offsets: it is not there, and nothing names these files.
            delete_added(&self.table, &added).await;
            return Ok(());
        }
        if self.marks == before { Err(error).doing("committing to the Delta table") } else { Ok(()) }
    }

    async fn stored_marks(&self) -> Result<Marks, LakeError> {
        let mut marks = Marks::new();
        let count = self.transaction(&self.count_id()).await?.unwrap_or(0);
        for partition in 0..i32::try_from(count).unwrap_or(0) {
            if let Some(next) = self.transaction(&self.partition_id(partition)).await? {
                marks.insert(partition, next);
            }
        }
        Ok(marks)
    }

    async fn transaction(&self, id: &str) -> Result<Option<i64>, LakeError> {
        let state = self.table.snapshot().doing("reading the Delta log")?;
        state.transaction_version(self.table.log_store().as_ref(), id).await.doing("reading the Delta log")
    }

    /// The identifier whose version is the next offset of a partition.
    fn partition_id(&self, partition: i32) -> String {
        format!("windlass/{}/{partition}", self.topic)
    }

    /// The identifier whose version is the number of partitions to ask for.
    fn count_id(&self) -> String {
        format!("windlass/{}", self.topic)
    }
}

fn partition_count(marks: &Marks) -> i32 {
    marks.last_key_value().map_or(0, |(partition, _)| partition + 1)
}

/// The table, if there is one.
pub(crate) async fn find(lake: &Lake) -> Result<Option<DeltaTable>, LakeError> {
    let mut table = DeltaTable::new(log_store(lake)?, DeltaTableConfig::default());
    if !table.verify_deltatable_existence().await.doing("looking for the Delta table")? {
        return Ok(None);
    }
    table.load().await.doing("opening the Delta table")?;
    Ok(Some(table))
}

fn log_store(lake: &Lake) -> Result<LogStoreRef, LakeError> {
    let url = lake.warehouse().url_of(DELTA_PATH)?;
    let root = Arc::clone(lake.store());
    let table = PrefixStore::new(Arc::clone(&root), lake.warehouse().store_path(url.as_str())?);
    Ok(default_logstore(Arc::new(table), root, &url, &StorageConfig::default()))
}

async fn create(lake: &Lake, table: &DeltaTable) -> Result<(), LakeError> {
    const DOING: &str = "making the Delta table";
    // Two makers at once would leave a table with two identities.
    let mut transaction = lake.pool().begin().await.doing(DOING)?;
    catalog::lock_making(&mut transaction, DELTA_PATH).await.doing(DOING)?;
    CreateBuilder::new()
        .with_log_store(table.log_store())
        .with_table_name("stock_trades")
        .with_save_mode(SaveMode::Ignore)
        .with_columns(columns())
        .with_partition_columns([MONTH])
        .with_configuration_property(TableProperty::CheckpointInterval, Some(CHECKPOINT_INTERVAL))
        .with_configuration_property(TableProperty::LogRetentionDuration, Some(LOG_RETENTION))
        .await
        .doing(DOING)?;
    transaction.commit().await.doing(DOING)
}

fn columns() -> Vec<StructField> {
    [
        ("symbol", PrimitiveType::String),
        ("price", PrimitiveType::Double),
        ("size", PrimitiveType::Long),
        ("ts", PrimitiveType::Timestamp),
        ("trade_id", PrimitiveType::String),
        ("source", PrimitiveType::String),
        ("kafka_partition", PrimitiveType::Integer),
        ("kafka_offset", PrimitiveType::Long),
        ("ingested_at", PrimitiveType::Timestamp),
        (MONTH, PrimitiveType::String),
    ]
    .map(|(name, kind)| StructField::not_null(name, DataType::Primitive(kind)))
    .into()
}

/// Encodes rows into files that no log entry names yet, on a thread of its own.
async fn encode(table: &DeltaTable, batches: Vec<RecordBatch>) -> Result<Vec<Add>, LakeError> {
    const DOING: &str = "encoding rows for the Delta table";
    let mut writer = RecordBatchWriter::for_table(table).doing(DOING)?.with_writer_properties(parquet_properties());
    let runtime = tokio::runtime::Handle::current();
    let encoded = tokio::task::spawn_blocking(move || {
        runtime.block_on(async {
            let schema: SchemaRef = writer.arrow_schema();
            for batch in &batches {
                writer.write(with_month(batch, &schema)?).await.doing(DOING)?;
            }
            writer.flush().await.doing(DOING)
        })
    });
    encoded.await.doing(DOING)?
}

/// Deletes files that no log entry names; what cannot be deleted now is swept later.
pub(crate) async fn delete_added(table: &DeltaTable, added: &[Add]) {
    let store = table.object_store();
    for file in added {
        let outcome = match Path::parse(&file.path) {
            Ok(path) => store.delete(&path).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = outcome {
            tracing::warn!(file.path = file.path, error, "a file that no table needs stays until it is swept");
        }
    }
}

/// Whether the log refused an entry because of somebody else's.
pub(crate) fn is_conflict(error: &DeltaTableError) -> bool {
    matches!(
        error,
        DeltaTableError::VersionAlreadyExists(_)
            | DeltaTableError::Transaction {
                source: TransactionError::CommitConflict(_)
                    | TransactionError::MaxCommitAttempts(_)
                    | TransactionError::VersionAlreadyExists(_)
            }
    )
}
