//! Which DAGs a list may tell of: that is decided by who asks, not by what is asked for.

use std::sync::Arc;

use sqlx::{Postgres, QueryBuilder};

/// The DAGs that a list may tell of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Visible {
    /// Every DAG.
    #[default]
    All,
    /// Those of these ids.
    Only(Arc<[String]>),
}

impl Visible {
    /// Whether a DAG is among them.
    #[must_use]
    pub fn has(&self, dag_id: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids) => ids.iter().any(|id| id == dag_id),
        }
    }

    /// Their ids, for a statement that means every DAG by NULL.
    pub(crate) fn ids(&self) -> Option<&[String]> {
        match self {
            Self::All => None,
            Self::Only(ids) => Some(ids),
        }
    }

    /// Limits a column of DAG ids to them.
    pub(crate) fn limit(&self, query: &mut QueryBuilder<'_, Postgres>, column: &str) {
        if let Self::Only(ids) = self {
            query.push(format_args!(" AND {column} = ANY(")).push_bind(ids.to_vec()).push(")");
        }
    }
}
