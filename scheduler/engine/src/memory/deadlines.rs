//! Deadlines of runs that have not been missed yet.
//!
//! Always: a run's deadline is here from the turn that sets it until it is missed, or its run succeeds or goes; a timer stands
//! at its instant. Its run may have failed and left memory long before. A deadline that is counted from how long runs take is
//! set once that is known, which is asked when its run is queued.

use std::collections::{BTreeMap, BTreeSet};

use model::{DagId, RunKey};

use crate::state::DeadlineRow;

/// A run and which of its DAG's deadlines.
pub(crate) type DeadlineKey = (RunKey, i16);

/// What is pending.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    /// Those that are neither met nor missed.
    pub pending: BTreeMap<DeadlineKey, DeadlineRow>,
    /// Those whose instant is not known yet.
    pub unknown: BTreeSet<DeadlineKey>,
}

impl Deadlines {
    /// Takes away what is pending of a run.
    pub fn take_of(&mut self, run: RunKey) -> Vec<DeadlineRow> {
        self.unknown.retain(|(of, _)| *of != run);
        let keys: Vec<DeadlineKey> =
            self.pending.range((run, i16::MIN)..=(run, i16::MAX)).map(|(key, _)| *key).collect();
        keys.iter().filter_map(|key| self.pending.remove(key)).collect()
    }

    /// The DAG goes with all of its runs.
    pub fn forget_dag(&mut self, dag: &DagId) {
        self.pending.retain(|_, row| row.dag_id != *dag);
    }
}
