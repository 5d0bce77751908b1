//! What is no mistake in a DAG and keeps its tasks from running: pools that they name and that do not exist.

use model::{DagId, Timestamp};
use sqlx::{FromRow, PgPool, Postgres, QueryBuilder};

use super::{
    Direction, Visible,
    list::word,
    total::{Statements, Total, Window, counted, counting},
};
use crate::{error::StoreError, rows::dag_id};

/// What was being done, for errors.
const LISTING: &str = "this list of warnings";

/// How a list of warnings is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarningOrder {
    /// By DAG.
    DagId,
    /// By the names of the pools.
    Pools,
    /// By when the DAG's file was read.
    At,
}

impl WarningOrder {
    const fn sql(self) -> &'static str {
        match self {
            Self::DagId => "dag_id",
            Self::Pools => "pools",
            Self::At => "last_parsed_at",
        }
    }
}

/// Pools that tasks of a DAG name and that do not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingPools {
    /// The DAG.
    pub dag_id: DagId,
    /// The names of the pools, in their order.
    pub pools: Vec<String>,
    /// When its file was last read.
    pub last_parsed_at: Timestamp,
}

/// Which of them.
#[derive(Debug, Clone, Default)]
pub struct MissingPoolsFilter {
    /// Of DAGs that whoever asks may see.
    pub visible: Visible,
    /// Of one DAG; of all without.
    pub dag_id: Option<DagId>,
    /// The order; by DAG when empty.
    pub order: Vec<(WarningOrder, Direction)>,
}

/// A part of the DAGs whose tasks name missing pools, and how many there are. Definitions are read, of one DAG or of all.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer, or not in time.
pub async fn missing_pools(
    pool: &PgPool,
    filter: &MissingPoolsFilter,
    window: Window,
) -> Result<(Vec<MissingPools>, Total), StoreError> {
    let statements = |_| {
        let mut matching = counting();
        source(&mut matching, filter);
        Statements { page: page(filter, window), matching: counted(matching), looked_at: None }
    };
    window.read::<Record, _>(pool, statements, LISTING).await
}

fn page(filter: &MissingPoolsFilter, window: Window) -> QueryBuilder<'_, Postgres> {
    let mut page = QueryBuilder::new("SELECT dag_id, pools, last_parsed_at ");
    source(&mut page, filter);
    page.push(" ORDER BY ");
    for (key, direction) in &filter.order {
        page.push(key.sql()).push(word(*direction)).push(", ");
    }
    page.push("dag_id").push(filter.order.first().map_or(" ASC", |(_, direction)| word(*direction)));
    page.push(" LIMIT ").push_bind(window.limit).push(" OFFSET ").push_bind(window.offset);
    page
}

fn source(query: &mut QueryBuilder<'_, Postgres>, filter: &MissingPoolsFilter) {
    query.push(
        "FROM (SELECT d.dag_id, d.last_parsed_at, array_agg(DISTINCT task ->> 'pool' ORDER BY task ->> 'pool') AS pools \
         FROM dag d JOIN dag_version v ON v.id = d.current_version, json_array_elements(v.compiled -> 'tasks') AS t(task) \
         WHERE NOT d.is_stale AND NOT EXISTS (SELECT FROM pool p WHERE p.name = task ->> 'pool')",
    );
    filter.visible.limit(query, "d.dag_id");
    if let Some(dag) = &filter.dag_id {
        query.push(" AND d.dag_id = ").push_bind(dag.to_string());
    }
    query.push(" GROUP BY d.dag_id, d.last_parsed_at) AS missing");
}

#[derive(FromRow)]
struct Record {
    dag_id: String,
    pools: Vec<String>,
    last_parsed_at: Timestamp,
}

impl TryFrom<Record> for MissingPools {
    type Error = StoreError;

    fn try_from(row: Record) -> Result<Self, StoreError> {
        let Record { dag_id: dag, pools, last_parsed_at } = row;
        Ok(Self { dag_id: dag_id(&dag)?, pools, last_parsed_at })
    }
}
