//! Whether a sink has everything of a finite source.
//!
//! The producer notes a source's end offsets once it has produced all of it; the sink has settled it when both of its
//! tables have passed those.

use crate::pg::stream;
use crate::runtime::Offsets;
use crate::runtime::service::Replica;
use sqlx::PgPool;

/// A finite source that a sink waits for.
pub(super) struct FiniteSource {
    pub(super) topic: String,
    pub(super) source_id: String,
    pub(super) replica: Replica,
    /// The ends of this replica's partitions, once they are known.
    ends: Option<Offsets>,
}

impl FiniteSource {
    pub(super) fn new(topic: &str, source_id: String, replica: Replica) -> Self {
        Self { topic: topic.to_owned(), source_id, replica, ends: None }
    }

    /// Whether the source is completed and `next` is at or behind its end in each partition of this replica.
    pub(super) async fn reached(&mut self, pool: &PgPool, next: &Offsets) -> Result<bool, sqlx::Error> {
        if self.ends.is_none() {
            let progress = stream::progress(pool, &self.topic, &self.source_id).await?;
            let ends = progress.and_then(|progress| progress.end_offsets);
            self.ends = ends.map(|ends| ends.into_iter().filter(|(p, _)| self.replica.owns(*p)).collect());
        }
        let Some(ends) = &self.ends else { return Ok(false) };
        Ok(ends.iter().all(|(partition, end)| next.get(partition).copied().unwrap_or(0) >= *end))
    }
}
