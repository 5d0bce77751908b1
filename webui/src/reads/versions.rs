//! DAG versions by their number. A stored version never changes, so what is cached is never stale.
//!
//! Lists read definitions only for the rows that they show, so what is kept is what people look at: the versions that were
//! asked for longest ago go first, a part of them at a time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use model::DagVersionId;
use sqlx::PgPool;
use store::read::{self, Version};

use crate::error::{ApiError, ApiResult};

/// How many versions are kept, at some 20 KiB each below 100 MiB.
pub const VERSIONS_MAX: usize = 4096;
/// How many are read from PostgreSQL at once: parsing a piece of this size takes milliseconds.
const PIECE: usize = 64;

/// A bounded cache.
#[derive(Default)]
pub struct VersionCache(Mutex<Kept<Version>>);

/// Versions by their number.
pub type Versions = BTreeMap<DagVersionId, Arc<Version>>;

/// What is kept, and when each was asked for, in a count of questions.
struct Kept<T> {
    values: BTreeMap<DagVersionId, (u64, Arc<T>)>,
    questions: u64,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { values: BTreeMap::new(), questions: 0 }
    }
}

impl<T> Kept<T> {
    fn get(&mut self, id: DagVersionId) -> Option<Arc<T>> {
        self.questions += 1;
        let (asked, value) = self.values.get_mut(&id)?;
        *asked = self.questions;
        Some(Arc::clone(value))
    }

    fn keep(&mut self, id: DagVersionId, value: Arc<T>) {
        self.questions += 1;
        self.values.insert(id, (self.questions, value));
        if self.values.len() > VERSIONS_MAX {
            self.forget_some();
        }
    }

    /// Forgets an eighth, those that were asked for longest ago.
    fn forget_some(&mut self) {
        let mut asked: Vec<u64> = self.values.values().map(|(asked, _)| *asked).collect();
        asked.sort_unstable();
        let last = asked[VERSIONS_MAX / 8];
        self.values.retain(|_, (asked, _)| *asked > last);
    }
}

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

    /// All that exist of these; those not seen before are read in pieces, so that no thread parses for long.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn all(&self, pool: &PgPool, ids: impl IntoIterator<Item = DagVersionId>) -> ApiResult<Versions> {
        let mut found = Versions::new();
        let mut missing = Vec::new();
        {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for id in ids {
                match kept.get(id) {
                    Some(version) => drop(found.insert(id, version)),
                    None => missing.push(id),
                }
            }
        }
        missing.sort_unstable();
        missing.dedup();
        for piece in missing.chunks(PIECE) {
            for version in read::versions(pool, piece).await? {
                let version = Arc::new(version);
                self.0.lock().unwrap_or_else(PoisonError::into_inner).keep(version.id, Arc::clone(&version));
                found.insert(version.id, version);
            }
            tokio::task::yield_now().await;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_cache_forgets_what_nobody_asked_for_and_keeps_the_rest() {
        let mut kept = Kept::default();
        let id = |number: usize| DagVersionId(i64::try_from(number).unwrap());
        for number in 0..VERSIONS_MAX {
            kept.keep(id(number), Arc::new(number));
        }
        assert!(kept.get(id(0)).is_some(), "the oldest one is looked at");
        kept.keep(id(VERSIONS_MAX), Arc::new(VERSIONS_MAX));
        assert!(kept.values.len() > VERSIONS_MAX / 2 && kept.values.len() <= VERSIONS_MAX);
        assert!(kept.get(id(0)).is_some() && kept.get(id(VERSIONS_MAX)).is_some());
        assert!(kept.get(id(1)).is_none());
    }
}
