//! Facts that are asked of the store, and the answers, until the turn that uses them.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use model::{DagRunState, RunId, RunKey, Timestamp};

use crate::{Need, StoredRun};

/// A run that is in the way of a new one.
pub(crate) type Existing = (RunKey, RunId, DagRunState);

/// One of the newest runs of a DAG: when it was due, its number and its state.
pub(crate) type Newest = (Timestamp, RunKey, DagRunState);

/// What is asked and what is known.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// What timers and waiting tasks lack; commands' needs follow from the commands.
    pub wanted: BTreeSet<Need>,
    runs: BTreeMap<Need, Option<Box<StoredRun>>>,
    existing: BTreeMap<Need, Option<Existing>>,
    newest: BTreeMap<Need, Vec<Newest>>,
    missing_versions: BTreeSet<Need>,
    runtimes: BTreeMap<Need, Vec<TimeDelta>>,
}

impl Facts {
    pub fn is_known(&self, need: &Need) -> bool {
        self.runs.contains_key(need)
            || self.existing.contains_key(need)
            || self.newest.contains_key(need)
            || self.runtimes.contains_key(need)
            || self.missing_versions.contains(need)
    }

    pub fn want(&mut self, need: Need) {
        if !self.is_known(&need) {
            self.wanted.insert(need);
        }
    }

    pub fn know_run(&mut self, need: Need, run: Option<Box<StoredRun>>) {
        self.wanted.remove(&need);
        self.runs.insert(need, run);
    }

    pub fn know_existing(&mut self, need: Need, existing: Option<Existing>) {
        self.wanted.remove(&need);
        self.existing.insert(need, existing);
    }

    pub fn know_newest(&mut self, need: Need, runs: Vec<Newest>) {
        self.wanted.remove(&need);
        self.newest.insert(need, runs);
    }

    pub fn know_runtimes(&mut self, need: Need, runtimes: Vec<TimeDelta>) {
        self.wanted.remove(&need);
        self.runtimes.insert(need, runtimes);
    }

    /// What was learnt of how long runs take, once.
    pub fn take_runtimes(&mut self) -> BTreeMap<Need, Vec<TimeDelta>> {
        std::mem::take(&mut self.runtimes)
    }

    /// What was learnt of newest runs, once.
    pub fn take_newest(&mut self) -> BTreeMap<Need, Vec<Newest>> {
        std::mem::take(&mut self.newest)
    }

    pub fn know_missing_version(&mut self, need: Need) {
        self.wanted.remove(&need);
        self.missing_versions.insert(need);
    }

    pub fn run(&self, need: &Need) -> Option<&StoredRun> {
        self.runs.get(need)?.as_deref()
    }

    /// What was learnt of previous runs, once.
    pub fn take_previous(&mut self) -> BTreeMap<Need, Option<Box<StoredRun>>> {
        let (previous, others) =
            std::mem::take(&mut self.runs).into_iter().partition(|(need, _)| matches!(need, Need::PreviousRun { .. }));
        self.runs = others;
        previous
    }

    /// Every run that was given.
    pub fn known_runs(&self) -> impl Iterator<Item = &StoredRun> {
        self.runs.values().flatten().map(Box::as_ref)
    }

    pub fn existing(&self, need: &Need) -> Option<&Option<Existing>> {
        self.existing.get(need)
    }

    /// Every run that was found where a new one is to be made.
    pub fn known_existing(&self) -> impl Iterator<Item = (&Need, &Existing)> {
        self.existing.iter().filter_map(|(need, existing)| Some((need, existing.as_ref()?)))
    }

    /// Answers are true only until the turn that follows them.
    pub fn forget_answers(&mut self) {
        self.runs.clear();
        self.existing.clear();
        self.newest.clear();
        self.runtimes.clear();
        self.missing_versions.clear();
    }
}
