//! Finds what a live attempt belongs to: the leader is told attempts, and asks what they are.

use std::collections::BTreeSet;

use model::{AttemptId, DagId, MapIndex, TiKey, WorkerId};

use crate::Engine;

impl Engine {
    /// The live attempts of a worker.
    #[must_use]
    pub fn attempts_on(&self, worker: WorkerId) -> BTreeSet<AttemptId> {
        self.workers.get(worker).map(|known| known.live.iter().copied().collect()).unwrap_or_default()
    }

    /// The instance of a live attempt.
    #[must_use]
    pub fn instance_of_attempt(&self, attempt: AttemptId) -> Option<TiKey> {
        let place = self.attempts.get(&attempt)?;
        let task = self.run(place.run)?.def.number(place.task);
        Some(TiKey { run: place.run, task, map: MapIndex::UNMAPPED })
    }

    /// The DAG of a live attempt.
    #[must_use]
    pub fn dag_of_attempt(&self, attempt: AttemptId) -> Option<DagId> {
        let place = self.attempts.get(&attempt)?;
        Some(self.run(place.run)?.row.dag_id.clone())
    }
}
