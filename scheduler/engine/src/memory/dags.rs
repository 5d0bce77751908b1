//! What is known of a DAG beside its versions: its row, and its runs that are in memory.

use std::collections::{BTreeMap, BTreeSet};

use model::{BackfillId, DagRunState, RunId, RunKey, TaskIdx, Timestamp};

use super::{
    backfills::{Backfill, Lane},
    run::Run,
};
use crate::state::StoredDag;

/// A DAG.
#[derive(Debug)]
pub(crate) struct DagState {
    pub row: StoredDag,
    /// Its runs in memory, by id.
    pub runs: BTreeMap<RunId, RunKey>,
    /// The same by logical date.
    pub dates: BTreeMap<Timestamp, RunKey>,
    /// Those of no backfill that wait to start, in the order in which they may.
    pub queued: BTreeSet<(Timestamp, RunKey)>,
    /// Those of no backfill that are running.
    pub running: BTreeSet<RunKey>,
    /// Its backfill that is not over.
    pub backfill: Option<Backfill>,
    /// Runs of backfills that are over, which are running all the same: those were cancelled.
    pub stragglers: BTreeSet<RunKey>,
    /// How many instances of each task are active, over all runs.
    pub active_tasks: BTreeMap<TaskIdx, u32>,
    /// Its newest runs, when it may be paused for them.
    pub newest: NewestRuns,
    /// The assets that it waits for, and those that have changed.
    pub assets: crate::assets::Queue,
}

impl DagState {
    pub fn new(row: StoredDag) -> Self {
        Self {
            row,
            runs: BTreeMap::new(),
            dates: BTreeMap::new(),
            queued: BTreeSet::new(),
            running: BTreeSet::new(),
            backfill: None,
            stragglers: BTreeSet::new(),
            active_tasks: BTreeMap::new(),
            newest: NewestRuns::default(),
            assets: crate::assets::Queue::default(),
        }
    }

    pub fn active(&self, task: TaskIdx) -> u32 {
        self.active_tasks.get(&task).copied().unwrap_or(0)
    }

    /// How many of its runs have not ended, those of backfills aside: they have a limit of their own.
    pub fn unfinished_runs(&self) -> usize {
        self.queued.len() + self.running.len()
    }

    /// All that are running, those of backfills too.
    pub fn all_running(&self) -> impl Iterator<Item = RunKey> {
        let of_backfill = self.backfill.iter().flat_map(|backfill| &backfill.running);
        self.running.iter().chain(of_backfill).chain(&self.stragglers).copied()
    }

    /// How many wait to start, those of backfills too.
    pub fn all_queued(&self) -> usize {
        self.queued.len() + self.backfill.as_ref().map_or(0, |backfill| backfill.queued.len())
    }

    /// Enters a run where it waits, or where it is running.
    pub fn enter(&mut self, run: &Run) {
        match (run.row.state, self.lane_of(run)) {
            (DagRunState::Queued, Lane::Own) => drop(self.queued.insert((run.starts_at(), run.row.key))),
            (DagRunState::Queued, Lane::Backfill(backfill, ordinal)) => {
                backfill.queued.insert((ordinal, run.row.key));
            }
            // Nothing leads there: what waits in a backfill that ends fails, and what is cleared later leaves it.
            (DagRunState::Queued, Lane::Straggler) => {}
            (DagRunState::Running, Lane::Own) => drop(self.running.insert(run.row.key)),
            (DagRunState::Running, Lane::Backfill(backfill, _)) => drop(backfill.running.insert(run.row.key)),
            (DagRunState::Running, Lane::Straggler) => drop(self.stragglers.insert(run.row.key)),
            (DagRunState::Success | DagRunState::Failed, _) => {}
        }
    }

    /// Takes a run out of where it waits, or is running, before that changes.
    pub fn leave(&mut self, run: &Run) {
        let key = run.row.key;
        match self.lane_of(run) {
            Lane::Own => {
                self.queued.remove(&(run.starts_at(), key));
                self.running.remove(&key);
            }
            Lane::Backfill(backfill, ordinal) => {
                backfill.queued.remove(&(ordinal, key));
                backfill.running.remove(&key);
            }
            Lane::Straggler => drop(self.stragglers.remove(&key)),
        }
    }

    /// Its backfill that is not over.
    pub fn active_backfill(&self) -> Option<BackfillId> {
        self.backfill.as_ref().map(|backfill| backfill.row.id)
    }

    /// Whose limits a run goes by.
    fn lane_of(&mut self, run: &Run) -> Lane<'_> {
        match (run.row.backfill, &mut self.backfill) {
            (None, _) => Lane::Own,
            (Some(place), Some(active)) if active.row.id == place.id => Lane::Backfill(active, place.ordinal),
            (Some(_), _) => Lane::Straggler,
        }
    }
}

/// So many runs of a DAG are followed at most; who sets `max_consecutive_failed_dag_runs` higher means these.
pub(crate) const NEWEST_MAX: u32 = 1_000;

/// The newest runs of a DAG by `run_after`, in memory or not, with their states.
#[derive(Debug, Default)]
pub(crate) struct NewestRuns {
    /// How many are followed; none when the DAG is never paused for them.
    most: u32,
    /// None until they are known. Fewer than `most` are all there are.
    runs: Option<BTreeMap<(Timestamp, RunKey), DagRunState>>,
    /// Whether a run failed while they were not known.
    looks_when_known: bool,
}

impl NewestRuns {
    pub fn most(&self) -> u32 {
        self.most
    }

    /// Follows so many from now on. Whether they are to be asked for.
    pub fn watch(&mut self, most: u32) -> bool {
        if most > self.most {
            self.runs = None;
        }
        let asks = most > 0 && (most != self.most || self.runs.is_none());
        self.most = most;
        if most == 0 {
            *self = Self::default();
        }
        self.trim();
        asks
    }

    /// They are known from now on. Whether a run has failed in the meantime.
    pub fn learn(&mut self, runs: &[(Timestamp, RunKey, DagRunState)]) -> bool {
        self.runs = Some(runs.iter().map(|(at, key, state)| ((*at, *key), *state)).collect());
        self.trim();
        std::mem::take(&mut self.looks_when_known)
    }

    /// A run is new, or has another state. One that is older than those that are followed does not count.
    pub fn follow(&mut self, run: (Timestamp, RunKey), state: DagRunState) {
        let is_full = self.is_full();
        let Some(runs) = &mut self.runs else { return };
        let counts = !is_full || runs.first_key_value().is_some_and(|(oldest, _)| run >= *oldest);
        if counts {
            runs.insert(run, state);
        }
        self.trim();
    }

    /// A run is gone. Whether they are to be asked for again, because one that was older counts now.
    pub fn forget(&mut self, run: (Timestamp, RunKey)) -> bool {
        let was_full = self.is_full();
        let has_gone = self.runs.as_mut().is_some_and(|runs| runs.remove(&run).is_some());
        let asks = has_gone && was_full;
        if asks {
            self.runs = None;
        }
        asks
    }

    /// Whether they are not known: a run has failed, and it is looked once they are.
    pub fn look_when_known(&mut self) -> bool {
        self.looks_when_known = self.most > 0 && self.runs.is_none();
        self.looks_when_known
    }

    /// Whether it is not known whether the DAG is to be paused.
    pub fn is_open(&self) -> bool {
        self.looks_when_known
    }

    pub fn have_all_failed(&self) -> bool {
        self.most > 0 && self.failed_in_a_row() >= self.most
    }

    /// How many of the newest have failed, up to the first that has not.
    pub fn failed_in_a_row(&self) -> u32 {
        let newest_first = self.runs.iter().flat_map(|runs| runs.values().rev());
        let failed = newest_first.take_while(|state| **state == DagRunState::Failed).count();
        u32::try_from(failed).unwrap_or(u32::MAX)
    }

    fn is_full(&self) -> bool {
        let most = usize::try_from(self.most).unwrap_or(usize::MAX);
        self.runs.as_ref().is_some_and(|runs| runs.len() >= most)
    }

    fn trim(&mut self) {
        let most = usize::try_from(self.most).unwrap_or(usize::MAX);
        if let Some(runs) = &mut self.runs {
            while runs.len() > most {
                runs.pop_first();
            }
        }
    }
}
