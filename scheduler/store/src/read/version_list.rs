//! The list of DAG versions, without their definitions.

use model::{DagId, DagVersionId, Timestamp};
use serde_json::Value;
use sqlx::{FromRow, PgPool, Postgres, QueryBuilder};

use super::{
    Direction, VersionBrief, Visible,
    dags::url_of,
    list::word,
    total::{Statements, Total, Window, counted, counting},
};
use crate::{error::StoreError, rows::dag_id};

/// What was being done, for errors.
const LISTING: &str = "this list of DAG versions";

/// How a list of versions is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionOrder {
    /// By key: the order in which they were seen.
    Id,
    /// By number.
    Number,
    /// By the name of the bundle that they come from.
    Bundle,
    /// By the revision of their bundle, or by the hash of their content where the bundle has none.
    Revision,
}

impl VersionOrder {
    const fn sql(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Number => "number",
            Self::Bundle => "bundle_name",
            Self::Revision => "coalesce(bundle_version, content_hash)",
        }
    }
}

/// Which versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionFilter {
    /// Of DAGs that whoever asks may see.
    pub visible: Visible,
    /// Of one DAG; of all without.
    pub dag_id: Option<DagId>,
    /// With one of these numbers; any when empty.
    pub numbers: Vec<i32>,
    /// From this bundle.
    pub bundle: Option<String>,
    /// From this revision of their bundle, or with this content where the bundle has no revisions.
    pub revision: Option<String>,
    /// The order; by key when empty.
    pub order: Vec<(VersionOrder, Direction)>,
}

/// A part of the versions with their DAGs, and how many there are in all.
///
/// # Errors
/// [`StoreError`] when PostgreSQL does not answer or a row makes no sense.
pub async fn version_page(
    pool: &PgPool,
    filter: &VersionFilter,
    window: Window,
) -> Result<(Vec<(DagId, VersionBrief)>, Total), StoreError> {
    let statements = |_| {
        let mut matching = counting();
        source(&mut matching, filter);
        Statements { page: page(filter, window), matching: counted(matching), looked_at: None }
    };
    window.read::<VersionRecord, _>(pool, statements, LISTING).await
}

fn page(filter: &VersionFilter, window: Window) -> QueryBuilder<'_, Postgres> {
    let mut page = QueryBuilder::new(
        "SELECT id, dag_id, number, content_hash, created_at, bundle_name, bundle_version, \
         (SELECT b.settings FROM bundle b WHERE b.name = dag_version.bundle_name) AS bundle_settings ",
    );
    source(&mut page, filter);
    page.push(" ORDER BY ");
    for (key, direction) in &filter.order {
        page.push(key.sql()).push(word(*direction)).push(", ");
    }
    page.push("id").push(word(filter.order.first().map_or(Direction::Ascending, |(_, direction)| *direction)));
    page.push(" LIMIT ").push_bind(window.limit).push(" OFFSET ").push_bind(window.offset);
    page
}

impl TryFrom<VersionRecord> for (DagId, VersionBrief) {
    type Error = StoreError;

    fn try_from(row: VersionRecord) -> Result<Self, StoreError> {
        let VersionRecord {
            id,
            dag_id: dag,
            number,
            content_hash,
            created_at,
            bundle_name,
            bundle_version,
            bundle_settings,
        } = row;
        let id = DagVersionId(id);
        let bundle_url = url_of(bundle_settings.as_ref(), bundle_version.as_deref());
        Ok((
            dag_id(&dag)?,
            VersionBrief { id, number, content_hash, created_at, bundle_name, bundle_version, bundle_url },
        ))
    }
}

fn source(query: &mut QueryBuilder<'_, Postgres>, filter: &VersionFilter) {
    query.push("FROM dag_version WHERE true");
    filter.visible.limit(query, "dag_id");
    if let Some(dag) = &filter.dag_id {
        query.push(" AND dag_id = ").push_bind(dag.to_string());
    }
    if !filter.numbers.is_empty() {
        query.push(" AND number = ANY(").push_bind(filter.numbers.clone()).push(")");
    }
    if let Some(bundle) = &filter.bundle {
        query.push(" AND bundle_name = ").push_bind(bundle.clone());
    }
    if let Some(revision) = &filter.revision {
        query.push(" AND coalesce(bundle_version, content_hash) = ").push_bind(revision.clone());
    }
}

#[derive(FromRow)]
struct VersionRecord {
    id: i64,
    dag_id: String,
    number: i32,
    content_hash: String,
    created_at: Timestamp,
    bundle_name: String,
    bundle_version: Option<String>,
    bundle_settings: Option<Value>,
}
