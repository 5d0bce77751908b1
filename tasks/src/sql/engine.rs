//! Runs statements on the lake's tables.
//!
//! What always holds: one statement sees all its tables at one moment; it commits once or not at all; it takes a bounded
//! amount of memory whatever the size of the tables, and goes to the disk for the rest; and it reads nothing but tables of
//! the lake.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::sql::sqlparser::ast::Query;
use futures::StreamExt;
use iceberg::NamespaceIdent;
use iceberg::table::Table;

use super::command::{Append, Command};
use super::ddl::NewTable;
use super::error::{Position, SqlError};
use super::idle::Idle;
use super::merge::{Merge, apply, query};
use super::scan::{PinnedTable, Rows, external};
use super::script::Statement;
use super::session::{Joins, Purpose, Session, columns_of};
use super::{fit, names};
use crate::lake::swap::{Change, Commit, Removal};
use crate::lake::tables::TableSpec;
use crate::lake::write::TableWriter;
use crate::lake::{Lake, LakeError, dotted};

/// Memory for sorts, joins and aggregates together; what a statement needs beyond it is written to temporary files. The
/// rest of a process's 512 MiB is for row groups that are being read and written, and for the program itself.
const POOL_BYTES: usize = 256 << 20;

/// How many of the largest users of memory a message names.
const NAMED_CONSUMERS: NonZeroUsize = NonZeroUsize::new(3).expect("three is not zero");

/// More disk than this for one statement is a mistake in it, such as a join without its condition.
const SPILL_BYTES_MAX: u64 = 64 << 30;

/// How often a statement is computed anew because another writer committed to its table meanwhile.
const ATTEMPTS_MAX: u32 = 5;

/// Pause before the first new attempt; it doubles.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Runs statements. Clones share the memory pool.
#[derive(Clone)]
pub struct SqlEngine {
    lake: Lake,
    runtime: Arc<RuntimeEnv>,
}

/// What a statement came to.
pub enum Outcome {
    /// A query's rows, not yet computed.
    Rows(SendableRecordBatchStream),
    /// A schema or table is there, made now or before.
    Ready,
    /// So many rows were inserted, updated or deleted, by one commit; by none when they are zero.
    Changed(u64),
}

/// A statement that changes a table.
#[derive(Clone, Copy)]
enum TableChange<'a> {
    Insert(&'a Append),
    Merge(&'a Merge),
}

/// A computed change of a table that is not committed yet.
struct Computed {
    change: Option<Change>,
    rows: u64,
}

impl SqlEngine {
    /// An engine on a lake.
    ///
    /// # Errors
    /// [`SqlError::Run`] when there is no place for temporary files.
    pub fn new(lake: Lake) -> Result<Self, SqlError> {
        let pool = TrackConsumersPool::new(FairSpillPool::new(POOL_BYTES), NAMED_CONSUMERS);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_max_temp_directory_size(SPILL_BYTES_MAX)
            .build_arc()
            .map_err(|error| SqlError::running(&error, Position::START))?;
        Ok(Self { lake, runtime })
    }

    /// Runs a statement.
    ///
    /// # Errors
    /// [`SqlError`], with the place in the script where it has one.
    pub async fn run(&self, statement: &Statement) -> Result<Outcome, SqlError> {
        let start = statement.position;
        match &statement.command {
            Command::Select(query) => self.select(query, start).await.map(Outcome::Rows),
            Command::CreateSchema(name) => self.create_schema(names::schema(name, start)?).await,
            Command::CreateTable(table) => self.create_table(table, start).await,
            Command::Insert(append) => self.change(TableChange::Insert(append), statement).await,
            Command::Merge(merge) => self.change(TableChange::Merge(merge), statement).await,
        }
    }

    /// Starts a query; its rows are computed as they are taken.
    ///
    /// # Errors
    /// [`SqlError`], with the place in the text.
    pub async fn select(&self, query: &Query, start: Position) -> Result<SendableRecordBatchStream, SqlError> {
        // Rows are handed out as they come, so a query cannot start again with the other kind of join.
        let session = self.session(Purpose { query, target: None, joins: Joins::Sorted, start }).await?;
        let frame = session.plan(query).await?;
        frame.execute_stream().await.map_err(|error| SqlError::running(&error, start))
    }

    async fn session(&self, purpose: Purpose<'_>) -> Result<Session, SqlError> {
        Session::open(&self.lake, self.runtime.clone(), purpose).await
    }

    async fn create_schema(&self, name: NamespaceIdent) -> Result<Outcome, SqlError> {
        let failed = |source: iceberg::Error| LakeError::Failed {
            doing: format!("making the schema {}", name.join(".")),
            source: source.into(),
        };
        let catalog = self.lake.catalog();
        if catalog.namespace_exists(&name).await.map_err(failed)? {
            return Ok(Outcome::Ready);
        }
        match catalog.create_namespace(&name, HashMap::new()).await {
            Ok(_) => Ok(Outcome::Ready),
            // Somebody else may have made it at the same moment.
            Err(error) => match catalog.namespace_exists(&name).await.map_err(failed)? {
                true => Ok(Outcome::Ready),
                false => Err(failed(error).into()),
            },
        }
    }

    async fn create_table(&self, table: &NewTable, start: Position) -> Result<Outcome, SqlError> {
        let mut spec = TableSpec::new(names::target(&table.name, start)?, table.columns.clone());
        for (column, transform) in &table.partitioning {
            spec = spec.partitioned_by(column, *transform);
        }
        self.lake.ensure_table(&spec).await?;
        Ok(Outcome::Ready)
    }

    /// Computes a change of a table and commits it; computes it anew when another writer was faster.
    async fn change(&self, change: TableChange<'_>, statement: &Statement) -> Result<Outcome, SqlError> {
        let start = statement.position;
        let mut pause = RETRY_PAUSE;
        let mut table = String::new();
        for _ in 1..=ATTEMPTS_MAX {
            let computed = match self.compute(change, Joins::Hashed, statement).await {
                Err(SqlError::Memory { message, .. }) => {
                    tracing::info!(reason = message, "starting the statement again with joins that can go to the disk");
                    self.compute(change, Joins::Sorted, statement).await?
                }
                other => other?,
            };
            let Some(change) = computed.change else { return Ok(Outcome::Changed(0)) };
            match Commit::new(&self.lake).change(change).publish().await {
                Ok(_) => return Ok(Outcome::Changed(computed.rows)),
                Err(LakeError::Conflict { table: changed }) => table = changed,
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(SqlError::Contended { position: start, table, attempts: ATTEMPTS_MAX })
    }

    /// Computes a change, unless it is known to be none.
    async fn compute(
        &self,
        change: TableChange<'_>,
        joins: Joins,
        statement: &Statement,
    ) -> Result<Computed, SqlError> {
        let start = statement.position;
        let (table, source) = match change {
            TableChange::Insert(append) => (&append.table, append.query.as_ref().clone()),
            TableChange::Merge(merge) => (&merge.target, query::source(merge)),
        };
        let name = names::target(table, start)?;
        let session = self.session(Purpose { query: &source, target: Some(&name), joins, start }).await?;
        let idle = Idle::of(&statement.text, &name, session.tables());
        if let Some(idle) = &idle
            && idle.is_known(&self.lake).await
        {
            tracing::info!(table = dotted(&name), "nothing has changed since this statement found nothing to do");
            return Ok(Computed { change: None, rows: 0 });
        }
        let computed = match change {
            TableChange::Insert(append) => self.insert(append, &session, session.table(&name), start).await?,
            TableChange::Merge(merge) => self.merge(merge, &session, session.table(&name), start).await?,
        };
        if let (Some(idle), None) = (&idle, &computed.change) {
            idle.note(&self.lake).await;
        }
        Ok(computed)
    }

    async fn insert(
        &self,
        append: &Append,
        session: &Session,
        table: &Table,
        start: Position,
    ) -> Result<Computed, SqlError> {
        let running = |error: DataFusionError| SqlError::running(&error, start);
        let filled = fit::fill(session.plan(&append.query).await?, append, &columns_of(table, start)?, start)?;
        let rows = fit::cluster(filled, table).map_err(running)?.execute_stream().await.map_err(running)?;
        let mut writer = TableWriter::new(table)?;
        match drain(rows, &mut writer).await {
            Ok(0) => {
                writer.abandon().await;
                Ok(Computed { change: None, rows: 0 })
            }
            Ok(rows) => {
                // Not a plain append, which would be repeated upon rows that its query has not seen.
                let change = Change::overwrite(table, writer.close().await?, Removal::Files(BTreeSet::new()));
                Ok(Computed { change: Some(change), rows })
            }
            Err(error) => {
                writer.abandon().await;
                Err(running(error))
            }
        }
    }

    async fn merge(
        &self,
        merge: &Merge,
        session: &Session,
        table: &Table,
        start: Position,
    ) -> Result<Computed, SqlError> {
        let running = |error: DataFusionError| SqlError::running(&error, start);
        let columns = columns_of(table, start)?;
        let target = PinnedTable::new(table.clone(), Rows::Addressed).map_err(running)?;
        let rows = rows_of(table);
        session.add(
            query::TARGET,
            match rows {
                query::TargetRows::Some => Arc::new(target.clone()),
                query::TargetRows::None => Arc::new(target.one_row_of_nulls().map_err(running)?),
            },
        )?;
        let names: Vec<String> = columns.fields().iter().map(|field| field.name().clone()).collect();
        let state = query::Target { columns: &names, rows };
        let frame = session.plan(&query::of(merge, state)?).await?;
        fit::check(frame.schema().as_arrow(), &columns, start)?;
        let changes = fit::cluster(frame, table).map_err(running)?.execute_stream().await.map_err(running)?;
        let applied = apply::apply(merge, table, &target, changes).await.map_err(running)?;
        Ok(Computed { change: applied.change, rows: applied.rows })
    }
}

/// Whether a merge has anything to join with.
fn rows_of(table: &Table) -> query::TargetRows {
    match table.metadata().current_snapshot() {
        Some(_) => query::TargetRows::Some,
        None => query::TargetRows::None,
    }
}

/// Writes all rows of a stream and counts them.
async fn drain(mut rows: SendableRecordBatchStream, writer: &mut TableWriter) -> Result<u64, DataFusionError> {
    let mut count = 0;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        writer.write(&batch).await.map_err(external)?;
        count += batch.num_rows() as u64;
    }
    Ok(count)
}

impl std::fmt::Debug for SqlEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlEngine").field("warehouse", self.lake.warehouse()).finish_non_exhaustive()
    }
}
