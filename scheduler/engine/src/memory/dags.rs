//! What is known of a DAG beside its versions: its row, and its runs that are in memory.

use std::collections::{BTreeMap, BTreeSet};

use model::{RunId, RunKey, TaskIdx, Timestamp};

use crate::state::StoredDag;

/// A DAG.
#[derive(Debug)]
pub(crate) struct DagState {
    pub row: StoredDag,
    /// Its runs in memory, by id.
    pub runs: BTreeMap<RunId, RunKey>,
    /// The same by logical date.
    pub dates: BTreeMap<Timestamp, RunKey>,
    /// Those that wait to start, in the order in which they may.
    pub queued: BTreeSet<(Timestamp, RunKey)>,
    /// Those that are running.
    pub running: BTreeSet<RunKey>,
    /// How many instances of each task are active, over all runs.
    pub active_tasks: BTreeMap<TaskIdx, u32>,
}

impl DagState {
    pub fn new(row: StoredDag) -> Self {
        Self {
            row,
            runs: BTreeMap::new(),
            dates: BTreeMap::new(),
            queued: BTreeSet::new(),
            running: BTreeSet::new(),
            active_tasks: BTreeMap::new(),
        }
    }

    pub fn active(&self, task: TaskIdx) -> u32 {
        self.active_tasks.get(&task).copied().unwrap_or(0)
    }

    /// How many of its runs have not ended.
    pub fn unfinished_runs(&self) -> usize {
        self.queued.len() + self.running.len()
    }
}
