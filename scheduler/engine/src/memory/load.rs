//! Rows become memory, at a takeover and when a finished run is asked for; finished runs leave it.

use std::sync::Arc;

use model::{DagRunState, RunKey, TaskState, Timestamp};

use super::{
    Engine,
    account::RunPresence,
    dags::DagState,
    definition::Definition,
    draft::Draft,
    instance::Place,
    run::{Previous, Run},
    timers::Timer,
    workers::Presence,
};
use crate::{
    Need,
    event::PreviousCounts,
    state::{Snapshot, StoredRun},
};

impl Engine {
    /// Everything as it is stored, at a takeover. What is due is found by the first turn.
    ///
    /// # Panics
    /// When the snapshot lacks a DAG or a version that one of its runs refers to.
    #[must_use]
    pub fn load(snapshot: Snapshot, now: Timestamp) -> Self {
        let mut engine = Self {
            now,
            versions: std::collections::BTreeMap::new(),
            dags: snapshot.dags.into_iter().map(|row| (row.dag_id.clone(), DagState::new(row))).collect(),
            pools: super::pools::Pools::default(),
            runs: std::collections::BTreeMap::new(),
            census: super::census::Census::default(),
            attempts: std::collections::BTreeMap::new(),
            followers: std::collections::BTreeMap::new(),
            workers: super::workers::Workers::default(),
            ready: super::ready::Ready::default(),
            timers: super::timers::Timers::default(),
            facts: super::facts::Facts::default(),
            unsettled: std::collections::BTreeSet::new(),
            unserved: std::collections::BTreeSet::new(),
            draft: Draft::default(),
        };
        for version in &snapshot.versions {
            engine.learn_version(version);
        }
        for pool in snapshot.pools {
            engine.pools.set(pool);
        }
        for worker in snapshot.workers {
            engine.workers.join(worker, Presence::Silent);
        }
        for run in &snapshot.runs {
            engine.bring_in(run).expect("a snapshot has every version that its runs are pinned to");
        }
        engine.unserved = engine.dags.keys().cloned().collect();
        engine
    }

    /// Takes a stored run into memory; none when its version is not known.
    pub(crate) fn bring_in(&mut self, stored: &StoredRun) -> Option<RunKey> {
        let def = Arc::clone(self.versions.get(&stored.run.version)?);
        let key = stored.run.key;
        if !self.runs.contains_key(&key) {
            self.insert_run(Run::stored(stored, def));
        }
        Some(key)
    }

    /// Puts a run into every index.
    pub(crate) fn insert_run(&mut self, run: Run) {
        let (key, state, starts_at) = (run.row.key, run.row.state, run.starts_at());
        let (run_id, date) = (run.row.run_id.clone(), run.row.logical_date);
        let dag = self.dag_mut(&run.row.dag_id);
        dag.runs.insert(run_id, key);
        if let Some(date) = date {
            dag.dates.insert(date, key);
        }
        match state {
            DagRunState::Queued => drop(dag.queued.insert((starts_at, key))),
            DagRunState::Running => drop(dag.running.insert(key)),
            DagRunState::Success | DagRunState::Failed => {}
        }
        self.runs.insert(key, run);
        self.account_whole_run(key, RunPresence::Comes);
        if state == DagRunState::Running {
            self.watch(key);
        }
    }

    /// A run goes on with other instances: on another version.
    pub(crate) fn replace_run(&mut self, key: RunKey, run: Run) {
        self.withdraw_all(key);
        self.account_whole_run(key, RunPresence::Leaves);
        self.runs.insert(key, run);
        self.account_whole_run(key, RunPresence::Comes);
        if self.known_run(key).row.state == DagRunState::Running {
            self.watch(key);
        }
    }

    /// Nothing of a run waits for a slot any more: what was scheduled is decided again.
    pub(crate) fn withdraw_all(&mut self, key: RunKey) {
        for pos in self.known_run(key).def.dag.positions() {
            let place = Place { run: key, task: pos };
            if self.core(place).state == TaskState::Scheduled {
                self.write(place, |core| core.state = TaskState::NoStatus);
            }
        }
    }

    /// A run is running: its timers are set, and all of its tasks are looked at.
    pub(crate) fn watch(&mut self, key: RunKey) {
        let run = self.known_run(key);
        let def = Arc::clone(&run.def);
        let timeout = def.dag.dagrun_timeout.and_then(|after| chrono::TimeDelta::from_std(after).ok());
        let ends = run.row.started_at.zip(timeout).map(|(start, after)| start + after);
        let wakes: Vec<_> = def
            .dag
            .positions()
            .filter(|pos| matches!(run.state(*pos), TaskState::UpForRetry | TaskState::UpForReschedule))
            .filter_map(|pos| Some((run.instance(pos).extra.as_deref()?.wake_at?, run.place(pos))))
            .collect();
        if let Some(ends) = ends {
            self.timers.set(ends, Timer::RunTimeout(key));
        }
        for (at, place) in wakes {
            self.timers.set(at, Timer::Wake(place));
        }
        self.ask_previous(key);
        self.mark_all_dirty(key);
    }

    /// Asks for the run before one whose tasks depend on it.
    pub(crate) fn ask_previous(&mut self, key: RunKey) {
        let run = self.known_run(key);
        if let Some(need) = previous_need(run) {
            self.known_run_mut(key).previous = Previous::Unknown;
            self.facts.want(need);
        }
    }

    /// Takes a run that is finished, with nothing live, out of memory.
    pub(crate) fn let_go(&mut self, key: RunKey) {
        self.account_whole_run(key, RunPresence::Leaves);
        let run = self.runs.remove(&key).expect("only runs in memory are let go");
        let states = Arc::new(run.past_states());
        for follower in self.followers.get(&key).cloned().unwrap_or_default() {
            if let Some(follower) = self.runs.get_mut(&follower) {
                follower.previous = Previous::Run { key, date: run.row.logical_date, states: Arc::clone(&states) };
            }
        }
        if let Previous::Run { key: before, .. } = run.previous {
            self.unfollow(before, key);
        }
        let dag = self.dag_mut(&run.row.dag_id);
        dag.runs.remove(&run.row.run_id);
        if let Some(date) = run.row.logical_date {
            dag.dates.remove(&date);
        }
        self.unsettled.remove(&key);
        self.forget_version_unless_used(&run.def);
    }

    fn unfollow(&mut self, before: RunKey, follower: RunKey) {
        if let Some(followers) = self.followers.get_mut(&before) {
            followers.remove(&follower);
            if followers.is_empty() {
                self.followers.remove(&before);
            }
        }
    }

    /// An old version goes with the last run that is pinned to it.
    fn forget_version_unless_used(&mut self, def: &Arc<Definition>) {
        let is_current = self.dags.get(&def.dag.dag_id).is_some_and(|dag| dag.row.current == def.id);
        // The caller's, this map's, and nobody else's.
        if !is_current && Arc::strong_count(def) <= 2 {
            self.versions.remove(&def.id);
        }
    }
}

/// What a run has to ask about the one before it; none when none of its tasks depends on that.
pub(crate) fn previous_need(run: &Run) -> Option<Need> {
    let before = run.row.logical_date.filter(|_| run.def.asks_past)?;
    let counts = match run.def.dag.catchup {
        dag::Catchup::All => PreviousCounts::AllButManual,
        dag::Catchup::Latest => PreviousCounts::EveryRun,
    };
    Some(Need::PreviousRun { dag: run.row.dag_id.clone(), before, counts })
}
