//! DAG versions by their number. A stored version never changes, so what is cached is never stale.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use model::DagVersionId;
use sqlx::PgPool;
use store::read::{self, Version};

use crate::error::{ApiError, ApiResult};

/// How many versions are kept: more than an installation has DAGs, and at some 20 KiB each below 100 MiB.
const VERSIONS_MAX: usize = 4096;

/// A bounded cache; when it is full it starts again, which costs one query a page.
#[derive(Default)]
pub struct VersionCache(Mutex<BTreeMap<DagVersionId, Arc<Version>>>);

/// Versions by their number.
pub type Versions = BTreeMap<DagVersionId, Arc<Version>>;

impl VersionCache {
    /// One version.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, or does not have it.
    pub async fn one(&self, pool: &PgPool, id: DagVersionId) -> ApiResult<Arc<Version>> {
        self.all(pool, [id])
            .await?
            .remove(&id)
            .ok_or_else(|| ApiError::Internal(format!("DAG version {id} is referred to and not stored")))
    }

    /// All that exist of these, with one query for those not seen before.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn all(&self, pool: &PgPool, ids: impl IntoIterator<Item = DagVersionId>) -> ApiResult<Versions> {
        let mut found = Versions::new();
        let mut missing = Vec::new();
        {
            let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for id in ids {
                match kept.get(&id) {
                    Some(version) => drop(found.insert(id, Arc::clone(version))),
                    None => missing.push(id),
                }
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let loaded = read::versions(pool, &missing).await?;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() + loaded.len() > VERSIONS_MAX {
            kept.clear();
        }
        for version in loaded {
            let version = Arc::new(version);
            kept.insert(version.id, Arc::clone(&version));
            found.insert(version.id, version);
        }
        Ok(found)
    }
}
