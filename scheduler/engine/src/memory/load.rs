//! Rows become memory, at a takeover and when a finished run is asked for; finished runs leave it.
//!
//! **What is in memory.** Every run that is queued or running, every ended run with a live attempt, and within a turn those that
//! a command asks for. A run is pinned to a version, which is in memory as long as a run pins it or it is current. Beside the
//! instances of its version's tasks a run keeps those with a row whose task the version does not have: they count for
//! nothing, are written like others, and come back when the run goes on with a version that has the task.
//!
//! **What always holds.** Memory knows nothing that rows do not say, but for what follows from them: a leader that takes over
//! at any turn's end decides what this one would. `scheduled` is such a consequence, never stored. So whatever takes away what
//! a task was scheduled by gives its ticket back ([`Engine::decide_again`]), as if it had just been loaded; and a run that
//! pauses, is queued again, or goes on with another version gives all of its tickets back ([`Engine::withdraw_all`]).
//!
//! **Previous runs.** A run whose tasks depend on their past follows the run before it: `followers` has it under the key in its
//! `previous`, and under no other ([`Engine::follow`]). While that one is in memory its instances count; when it leaves, its
//! followers keep the states that it had. Who comes between two runs, or deletes one, has the later one ask again; until
//! the answer nothing of it that depends on its past is scheduled.
//!
//! **After a crash** the rows are loaded, workers say what they hold, and the first turn decides everything that is not decided.

use std::sync::Arc;

use dag::DeadlineReference;
use model::{DagRunState, RunKey, TaskState, Timestamp};

use super::{
    Engine,
    account::RunPresence,
    backfills::Backfill,
    dags::DagState,
    definition::{Definition, asks_past},
    draft::Draft,
    instance::TiPos,
    run::{Previous, Run},
    timers::Timer,
    workers::Presence,
};
use crate::{
    Need,
    event::PreviousCounts,
    state::{DeadlineRow, Snapshot, StoredRun},
};

impl Engine {
    /// Everything as it is stored, at a takeover. What is due is found by the first turn.
    ///
    /// # Panics
    /// When the snapshot lacks a DAG or a version that one of its runs refers to.
    #[must_use]
    pub fn load(snapshot: Snapshot, now: Timestamp) -> Self {
        let mut engine = Self {
            rest: crate::Rest::Nothing,
            now,
            loaded_at: now,
            versions: std::collections::BTreeMap::new(),
            pinned: std::collections::BTreeMap::new(),
            doubtful: std::collections::BTreeSet::new(),
            dags: snapshot.dags.into_iter().map(|row| (row.dag_id.clone(), DagState::new(row))).collect(),
            pools: super::pools::Pools::default(),
            runs: std::collections::BTreeMap::new(),
            census: super::census::Census::default(),
            attempts: std::collections::BTreeMap::new(),
            followers: std::collections::BTreeMap::new(),
            workers: super::workers::Workers::default(),
            ready: super::ready::Ready::default(),
            adrift: super::adrift::Adrift::default(),
            timers: super::timers::Timers::default(),
            facts: super::facts::Facts::default(),
            unsettled: std::collections::BTreeSet::new(),
            unserved: std::collections::BTreeSet::new(),
            assets: crate::assets::Assets::after(snapshot.last_asset_event),
            deadlines: super::deadlines::Deadlines::default(),
            draft: Draft::default(),
            queued: super::queued::Queued::default(),
            settings: crate::Settings::default(),
        };
        for version in &snapshot.versions {
            engine.learn_version(version);
        }
        for pool in snapshot.pools {
            engine.pools.set(pool);
        }
        for (pool, starts) in snapshot.pool_starts {
            engine.pools.set_starts(&pool, starts);
        }
        for backfill in snapshot.backfills {
            // One of a DAG that is not known waits for a leader that can read its DAG.
            if let Some(dag) = engine.dags.get_mut(&backfill.dag_id) {
                dag.backfill = Some(Backfill::new(backfill));
            }
        }
        for queued in snapshot.asset_queue {
            if let Some(dag) = engine.dags.get_mut(&queued.dag_id) {
                dag.assets.changed.insert(queued.asset, queued.changes);
            }
        }
        for worker in snapshot.workers {
            engine.workers.join(worker, Presence::Silent);
        }
        for run in &snapshot.runs {
            engine.bring_in(run).expect("a snapshot has every version that its runs are pinned to");
        }
        engine.load_deadlines(snapshot.deadlines);
        engine.unserved = engine.dags.keys().cloned().collect();
        for dag in engine.unserved.clone() {
            engine.watch_failures(&dag);
            engine.index_assets(&dag);
        }
        engine
    }

    /// Takes the deadlines that are pending, and asks again for what those lack that were to be set.
    fn load_deadlines(&mut self, rows: Vec<DeadlineRow>) {
        let known: std::collections::BTreeSet<_> = rows.iter().map(|row| (row.run, row.position)).collect();
        for row in rows.into_iter().filter(|row| !row.is_missed) {
            self.timers.set(row.at, Timer::Deadline(row.run, row.position));
            self.deadlines.pending.insert((row.run, row.position), row);
        }
        let unfinished = self.runs.values().filter(|run| !run.row.state.is_finished());
        let averages = unfinished.flat_map(|run| {
            let of_run = (0_i16..).zip(&run.def.dag.deadlines);
            of_run.filter_map(|(position, deadline)| match deadline.reference {
                DeadlineReference::AverageRuntime { max_runs, .. } => {
                    Some(((run.row.key, position), run.row.dag_id.clone(), max_runs))
                }
                DeadlineReference::QueuedAt | DeadlineReference::LogicalDate | DeadlineReference::At(_) => None,
            })
        });
        let lacking: Vec<_> = averages.filter(|(key, ..)| !known.contains(key)).collect();
        for (key, dag, most) in lacking {
            self.deadlines.unknown.insert(key);
            self.facts.want(Need::AverageRuntime { dag, most });
        }
    }

    /// Takes a stored run into memory; none when its version is not known.
    pub(crate) fn bring_in(&mut self, stored: &StoredRun) -> Option<RunKey> {
        let def = Arc::clone(self.versions.get(&stored.run.version)?);
        let key = stored.run.key;
        if !self.runs.contains_key(&key) {
            let mut run = Run::stored(stored, def);
            // An older leader may have let one wait whose backfill is over.
            let active = self.dags.get(&run.row.dag_id).and_then(DagState::active_backfill);
            if run.row.state == DagRunState::Queued && run.row.backfill.is_some_and(|place| active != Some(place.id)) {
                run.row.backfill = None;
            }
            self.insert_run(run);
        }
        Some(key)
    }

    /// Puts a run into every index.
    pub(crate) fn insert_run(&mut self, run: Run) {
        let (key, state) = (run.row.key, run.row.state);
        let (run_id, date) = (run.row.run_id.clone(), run.row.logical_date);
        let dag = self.dag_mut(&run.row.dag_id);
        dag.runs.insert(run_id, key);
        if let Some(date) = date {
            dag.dates.insert(date, key);
        }
        dag.enter(&run);
        self.pin(run.def.id);
        self.runs.insert(key, run);
        self.account_whole_run(key, RunPresence::Comes);
        if state == DagRunState::Running {
            self.watch(key);
        }
    }

    /// A run of which nothing waits for a slot goes on with another version.
    pub(crate) fn replace_run(&mut self, key: RunKey, latest: &Arc<Definition>) {
        let lost = self.adrift.lost_of(key);
        self.account_whole_run(key, RunPresence::Leaves);
        let run = self.runs.remove(&key).expect("only runs in memory are decided");
        self.unpin(run.def.id);
        self.pin(latest.id);
        self.runs.insert(key, run.on_version(Arc::clone(latest)));
        self.account_whole_run(key, RunPresence::Comes);
        for key in lost {
            if let Some(place) = self.place_of(key) {
                self.set_adrift(place);
            }
        }
        if self.known_run(key).row.state == DagRunState::Running {
            self.watch(key);
        }
    }

    /// Nothing of a run waits for a slot any more: what was scheduled is what its row says, as after a takeover, and is decided
    /// again.
    pub(crate) fn withdraw_all(&mut self, key: RunKey) {
        let run = self.known_run(key);
        let is_scheduled = |pos: &dag::TaskPos| match run.expansions.get(pos) {
            Some(expansion) => !expansion.scheduled.is_empty(),
            None => run.state(TiPos::whole(*pos)) == TaskState::Scheduled,
        };
        let scheduled: Vec<_> = run.def.dag.positions().filter(is_scheduled).collect();
        for pos in scheduled {
            self.decide_again(key, pos);
        }
    }

    /// A run is running: its timers are set, and all of its tasks are looked at.
    pub(crate) fn watch(&mut self, key: RunKey) {
        let run = self.known_run(key);
        let wakes: Vec<_> = run.wakes().collect();
        if let Some(ends) = self.times_out_at(run) {
            self.timers.set(ends, Timer::RunTimeout(key));
        }
        for (at, instance) in wakes {
            self.timers.set(at, Timer::Wake(instance));
        }
        self.ask_previous(key);
        self.mark_all_dirty(key);
    }

    /// When a run has taken too long; none when its DAG sets no limit that the calendar has.
    pub(crate) fn times_out_at(&self, run: &Run) -> Option<Timestamp> {
        let timeout = run.def.dag.dagrun_timeout.and_then(|after| chrono::TimeDelta::from_std(after).ok())?;
        run.row.started_at?.checked_add_signed(timeout)
    }

    /// Asks for the run before one whose tasks depend on it.
    pub(crate) fn ask_previous(&mut self, key: RunKey) {
        let run = self.known_run(key);
        if let Some(need) = previous_need(run) {
            let asking: Vec<_> = run.def.dag.positions().filter(|pos| asks_past(run.def.task(*pos))).collect();
            self.follow(key, Previous::Unknown);
            self.facts.want(need);
            for pos in asking {
                self.decide_again(key, pos);
            }
        }
    }

    /// Takes a run that is finished, with nothing live, out of memory.
    pub(crate) fn let_go(&mut self, key: RunKey) {
        self.account_whole_run(key, RunPresence::Leaves);
        let run = self.runs.remove(&key).expect("only runs in memory are let go");
        if let Some(followers) = self.followers.get(&key) {
            let past = Previous::Run { key, date: run.row.logical_date, states: Arc::new(run.past_states()) };
            for follower in followers {
                self.runs.get_mut(follower).expect("a follower is in memory").previous = past.clone();
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
        self.unpin(run.def.id);
    }

    /// From now on this is what a run knows of the one before it.
    pub(crate) fn follow(&mut self, follower: RunKey, previous: Previous) {
        if let Previous::Run { key, .. } = &previous {
            self.followers.entry(*key).or_default().insert(follower);
        }
        let was = std::mem::replace(&mut self.known_run_mut(follower).previous, previous.clone());
        if let Previous::Run { key: before, .. } = was
            && !matches!(previous, Previous::Run { key, .. } if key == before)
        {
            self.unfollow(before, follower);
        }
    }

    fn unfollow(&mut self, before: RunKey, follower: RunKey) {
        if let Some(followers) = self.followers.get_mut(&before) {
            followers.remove(&follower);
            if followers.is_empty() {
                self.followers.remove(&before);
            }
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
