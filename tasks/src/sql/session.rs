//! What one statement is planned and run in: its tables, pinned, and the engine's settings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{MemoryCatalogProvider, MemorySchemaProvider, TableProvider};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use datafusion::sql::TableReference;
use datafusion::sql::parser::Statement as EngineStatement;
use datafusion::sql::sqlparser::ast::{Query, Statement as Ast};
use iceberg::TableIdent;
use iceberg::table::Table;

use super::error::{Position, SqlError};
use super::names::{self, CATALOG};
use super::pin;
use super::scan::{BATCH_ROWS, PinnedTable, Rows, STREAMS, external};
use crate::lake::Lake;

/// What a sort keeps free for merging its runs: many sorts of one statement share the memory, and batches are small.
const SORT_RESERVE_BYTES: usize = 2 << 20;

/// A statement's tables, at one moment.
pub(super) struct Session {
    context: SessionContext,
    tables: BTreeMap<TableIdent, Table>,
    start: Position,
}

/// What a session is opened for.
pub(super) struct Purpose<'a> {
    /// The query that will be planned in it.
    pub(super) query: &'a Query,
    /// The table that will be written to, which is pinned with the others.
    pub(super) target: Option<&'a TableIdent>,
    /// How tables are joined.
    pub(super) joins: Joins,
    /// Where the statement starts.
    pub(super) start: Position,
}

/// How tables are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joins {
    /// The left side is kept in memory and the right one streams past it: fast, and fails when the left side is too large.
    Hashed,
    /// Both sides are sorted, on the disk if need be: never fails for want of memory.
    Sorted,
}

impl Session {
    /// Pins the tables of a statement.
    ///
    /// # Errors
    /// [`SqlError::Statement`] when the lake lacks one of them.
    pub(super) async fn open(lake: &Lake, runtime: Arc<RuntimeEnv>, purpose: Purpose<'_>) -> Result<Self, SqlError> {
        let Purpose { query, target, joins, start } = purpose;
        let context = SessionContext::new_with_config_rt(settings(joins), runtime);
        let mut wanted = references(&context, query, start)?;
        wanted.extend(target.cloned());
        let wanted: Vec<TableIdent> = wanted.into_iter().collect();
        let mut tables = BTreeMap::new();
        for (name, table) in wanted.iter().zip(pin::load(lake, &wanted).await?) {
            let Some(table) = table else {
                let known = pin::known(lake).await?;
                return Err(names::missing(name, &known, names::place(query, name.name(), start)));
            };
            tables.insert(name.clone(), table);
        }
        let session = Self { context, tables, start };
        session.register_tables().map_err(|error| SqlError::running(&error, start))?;
        Ok(session)
    }

    /// The pinned table of this name, which the session was opened with.
    pub(super) fn table(&self, name: &TableIdent) -> &Table {
        self.tables.get(name).expect("the session was opened for this table")
    }

    /// All pinned tables.
    pub(super) fn tables(&self) -> impl Iterator<Item = (&TableIdent, &Table)> {
        self.tables.iter()
    }

    /// Makes a further table known under a name that no table of the lake has.
    pub(super) fn add(&self, name: (&str, &str), table: Arc<dyn TableProvider>) -> Result<(), SqlError> {
        self.register(name, table).map_err(|error| SqlError::running(&error, self.start))
    }

    /// Plans a query; it can only read.
    pub(super) async fn plan(&self, query: &Query) -> Result<DataFrame, SqlError> {
        let statement = EngineStatement::Statement(Box::new(Ast::Query(Box::new(query.clone()))));
        let planning = |error: DataFusionError| SqlError::planning(&error, self.start);
        let plan = self.context.state().statement_to_plan(statement).await.map_err(planning)?;
        let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        read_only.verify_plan(&plan).map_err(planning)?;
        let frame = self.context.execute_logical_plan(plan).await.map_err(planning)?;
        // Most mistakes of types show up only here; now they are told before anything runs.
        frame.clone().into_optimized_plan().map_err(planning)?;
        Ok(frame)
    }

    fn register_tables(&self) -> Result<(), DataFusionError> {
        self.context.register_catalog(CATALOG, Arc::new(MemoryCatalogProvider::new()));
        for (name, table) in &self.tables {
            let pinned = PinnedTable::new(table.clone(), Rows::Plain)?;
            self.register((&name.namespace().join("."), name.name()), Arc::new(pinned))?;
        }
        Ok(())
    }

    fn register(&self, (schema, table): (&str, &str), provider: Arc<dyn TableProvider>) -> Result<(), DataFusionError> {
        let catalog = self.context.catalog(CATALOG).expect("the session has this catalogue");
        if catalog.schema(schema).is_none() {
            catalog.register_schema(schema, Arc::new(MemorySchemaProvider::new()))?;
        }
        let schema = catalog.schema(schema).expect("the schema was just registered");
        schema.register_table(table.to_owned(), provider)?;
        Ok(())
    }
}

/// The columns that the engine sees in a table.
pub(super) fn columns_of(table: &Table, start: Position) -> Result<SchemaRef, SqlError> {
    let schema = iceberg::arrow::schema_to_arrow_schema(table.metadata().current_schema());
    schema.map(Arc::new).map_err(|error| SqlError::running(&external(error), start))
}

/// As many streams as a scan has, and places in error messages.
fn settings(joins: Joins) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(STREAMS)
        .with_default_catalog_and_schema(CATALOG, "default")
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(false);
    let options = config.options_mut();
    options.execution.batch_size = BATCH_ROWS;
    options.execution.sort_spill_reservation_bytes = SORT_RESERVE_BYTES;
    options.optimizer.prefer_hash_join = joins == Joins::Hashed;
    options.sql_parser.collect_spans = true;
    // The zone that the lake's own timestamps carry; TIMESTAMP WITH TIME ZONE in SQL means the same.
    options.execution.time_zone = Some("+00:00".to_owned());
    config
}

fn references(context: &SessionContext, query: &Query, start: Position) -> Result<BTreeSet<TableIdent>, SqlError> {
    let statement = EngineStatement::Statement(Box::new(Ast::Query(Box::new(query.clone()))));
    let found: Vec<TableReference> =
        context.state().resolve_table_references(&statement).map_err(|error| SqlError::planning(&error, start))?;
    found.iter().map(|reference| names::source(reference, query, start)).collect()
}
