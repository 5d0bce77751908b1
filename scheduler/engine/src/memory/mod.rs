//! What the engine holds in memory: unfinished runs, and counters and queues that follow from their instances.
//!
//! Always: every counter and queue equals what a count over all instances would give; [`Engine::write`] is the only way
//! to change an instance, and it moves them by the difference, so that a change costs its task's out-degree.
//! [`Engine::verify`] counts, and tests do so after every turn.

mod account;
pub(crate) mod adrift;
pub(crate) mod backfills;
pub(crate) mod census;
pub(crate) mod dags;
pub(crate) mod deadlines;
pub(crate) mod definition;
pub(crate) mod draft;
pub(crate) mod expansion;
pub(crate) mod facts;
pub(crate) mod instance;
mod load;
pub(crate) mod pools;
pub(crate) mod queued;
pub(crate) mod ready;
pub(crate) mod run;
pub(crate) mod timers;
pub(crate) mod workers;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dag::TaskPos;
use model::{AttemptId, DagId, DagVersionId, RunId, RunKey, TaskEvent, TaskState, TiKey, Timestamp};

use crate::{
    Rest, Settings,
    state::{DagVersion, TiExtra},
};
use adrift::Adrift;
use census::Census;
use dags::DagState;
use deadlines::Deadlines;
use definition::Definition;
use draft::Draft;
use facts::Facts;
use instance::{Core, Place, TiPos};
pub use pools::PoolSlots;
use pools::Pools;
use queued::Queued;
use ready::Ready;
use run::Run;
use timers::Timers;
use workers::Workers;

/// The scheduler: what it knows, and how it decides.
#[derive(Debug)]
pub struct Engine {
    /// Whether the last turn has reached its fixpoint.
    pub(crate) rest: Rest,
    /// The instant of the last turn.
    pub(crate) now: Timestamp,
    /// When it was loaded: what was told before then was told to another leader, or to nobody.
    pub(crate) loaded_at: Timestamp,
    pub(crate) versions: BTreeMap<DagVersionId, Arc<Definition>>,
    /// How many runs in memory are pinned to a version.
    pub(crate) pinned: BTreeMap<DagVersionId, usize>,
    /// Versions that nothing may need any more. They are known until the end of the turn: an event of it may still ask.
    pub(crate) doubtful: BTreeSet<DagVersionId>,
    pub(crate) dags: BTreeMap<DagId, DagState>,
    pub(crate) pools: Pools,
    pub(crate) runs: BTreeMap<RunKey, Run>,
    pub(crate) census: Census,
    /// Live attempts.
    pub(crate) attempts: BTreeMap<AttemptId, TiKey>,
    /// Runs with tasks that ask for this one as their previous run.
    pub(crate) followers: BTreeMap<RunKey, BTreeSet<RunKey>>,
    pub(crate) workers: Workers,
    pub(crate) ready: Ready,
    /// Deferred instances whose wait no worker holds.
    pub(crate) adrift: Adrift,
    pub(crate) timers: Timers,
    pub(crate) facts: Facts,
    /// Runs with tasks to decide.
    pub(crate) unsettled: BTreeSet<RunKey>,
    /// DAGs that may have a run to make or to start.
    pub(crate) unserved: BTreeSet<DagId>,
    pub(crate) assets: crate::assets::Assets,
    pub(crate) deadlines: Deadlines,
    /// Attempts that have not begun, by when they are taken back.
    pub(crate) queued: Queued,
    pub(crate) draft: Draft,
    pub(crate) settings: Settings,
}

impl Engine {
    /// The same in an installation that decides otherwise than Airflow's defaults; to be said before the first turn.
    #[must_use]
    pub fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self.queued = self.count_queued();
        self
    }

    pub(crate) fn run(&self, key: RunKey) -> Option<&Run> {
        self.runs.get(&key)
    }

    /// A run that the caller knows to be in memory.
    pub(crate) fn known_run(&self, key: RunKey) -> &Run {
        self.runs.get(&key).expect("only runs in memory are decided")
    }

    pub(crate) fn known_run_mut(&mut self, key: RunKey) -> &mut Run {
        self.runs.get_mut(&key).expect("only runs in memory are decided")
    }

    pub(crate) fn run_by_id(&self, dag: &DagId, run: &RunId) -> Option<&Run> {
        let key = self.dags.get(dag)?.runs.get(run)?;
        self.runs.get(key)
    }

    pub(crate) fn dag_of(&self, run: RunKey) -> &DagState {
        self.dags.get(&self.known_run(run).row.dag_id).expect("every run's DAG is known")
    }

    pub(crate) fn dag_mut(&mut self, dag: &DagId) -> &mut DagState {
        self.dags.get_mut(dag).expect("every run's DAG is known")
    }

    /// Where an instance lies now; none when its run is not in memory, or its task is not in the run's version.
    pub(crate) fn place_of(&self, key: TiKey) -> Option<Place> {
        let run = self.runs.get(&key.run)?;
        let at = TiPos { task: run.def.position(key.task)?, map: key.map };
        run.has(at).then(|| run.place(at))
    }

    pub(crate) fn key_of(&self, place: Place) -> TiKey {
        self.known_run(place.run).key_of(place.at())
    }

    pub(crate) fn core(&self, place: Place) -> Core {
        self.known_run(place.run).instance(place.at()).core
    }

    /// Takes a step in the lifecycle of an instance.
    pub(crate) fn step(&mut self, place: Place, event: TaskEvent) {
        self.write(place, |core| core.step(event));
    }

    /// Changes an instance; every counter and queue moves along.
    pub(crate) fn write(&mut self, place: Place, change: impl FnOnce(&mut Core)) {
        let run = self.runs.get_mut(&place.run).expect("only runs in memory are decided");
        let key = run.key_of(place.at());
        let instance = run.instance_mut(place.at());
        let before = instance.core;
        let mut after = before;
        change(&mut after);
        if after != before {
            self.draft.touch(key, instance);
            instance.core = after;
            if after.wants_slot() && !before.wants_slot() {
                instance.ready_at = Some(self.now);
            }
            self.account(place, before, after);
        }
    }

    /// Changes what an instance's side row has.
    pub(crate) fn write_extra(&mut self, place: Place, change: impl FnOnce(&mut TiExtra)) {
        let run = self.runs.get_mut(&place.run).expect("only runs in memory are decided");
        let key = run.key_of(place.at());
        let instance = run.instance_mut(place.at());
        self.draft.touch(key, instance);
        let mut extra = instance.extra();
        change(&mut extra);
        let before =
            std::mem::replace(&mut instance.extra, (extra != TiExtra::default()).then(|| Box::new(extra.clone())));
        if let Some(expansion) = run.expansions.get_mut(&place.task) {
            expansion.account_left(before.as_deref(), Some(&extra));
        }
    }

    /// Something that a task depends on has changed: it is decided again.
    pub(crate) fn mark_dirty(&mut self, run: RunKey, task: TaskPos) {
        self.mark_one_dirty(run, TiPos::whole(task));
    }

    /// Something that an instance, or a task as a whole, depends on has changed: it is decided again.
    pub(crate) fn mark_one_dirty(&mut self, run: RunKey, at: TiPos) {
        if let Some(memory) = self.runs.get_mut(&run) {
            memory.dirty.insert(at);
            self.unsettled.insert(run);
        }
    }

    /// What a task was decided by is not so any more. One that is scheduled gives its ticket back: it is what its row says
    /// again, as after a takeover.
    pub(crate) fn decide_again(&mut self, run: RunKey, task: TaskPos) {
        let memory = self.known_run(run);
        let scheduled: Vec<TiPos> = match memory.expansions.get(&task) {
            Some(expansion) => expansion.scheduled.iter().map(|map| TiPos { task, map: *map }).collect(),
            None => vec![TiPos::whole(task)],
        };
        scheduled.into_iter().for_each(|at| self.decide_one_again(run, at));
        self.mark_dirty(run, task);
    }

    /// The same of one instance.
    pub(crate) fn decide_one_again(&mut self, run: RunKey, at: TiPos) {
        let place = self.known_run(run).place(at);
        if self.core(place).state == TaskState::Scheduled {
            let state = self.known_run(run).instance(at).state_to_store();
            self.write(place, |core| core.state = state);
        }
        self.mark_one_dirty(run, at);
    }

    /// Every unfinished task of a run is decided again: at its start, after a takeover, after a pause.
    pub(crate) fn mark_all_dirty(&mut self, run: RunKey) {
        let memory = self.known_run_mut(run);
        let undecided: Vec<TaskPos> = memory.def.dag.positions().filter(|pos| memory.unfinished_of(*pos) > 0).collect();
        memory.dirty.extend(undecided.into_iter().map(TiPos::whole));
        memory.expansions.values_mut().for_each(expansion::Expansion::open_all);
        self.unsettled.insert(run);
    }

    /// A version becomes known.
    pub(crate) fn learn_version(&mut self, version: &DagVersion) -> Arc<Definition> {
        if let Some(known) = self.versions.get(&version.id) {
            return Arc::clone(known);
        }
        let def = Arc::new(Definition::new(version, &mut self.ready));
        self.versions.insert(version.id, Arc::clone(&def));
        self.doubtful.insert(version.id);
        def
    }

    /// Versions that are neither current nor pinned by a run in memory go.
    pub(crate) fn forget_versions(&mut self) {
        for id in std::mem::take(&mut self.doubtful) {
            let Some(def) = self.versions.get(&id) else { continue };
            let is_current = self.dags.get(&def.dag.dag_id).is_some_and(|dag| dag.row.current == id);
            if !is_current && !self.pinned.contains_key(&id) {
                self.versions.remove(&id);
            }
        }
    }

    fn pin(&mut self, version: DagVersionId) {
        *self.pinned.entry(version).or_default() += 1;
    }

    fn unpin(&mut self, version: DagVersionId) {
        let runs = self.pinned.get_mut(&version).expect("every run in memory pins its version");
        *runs -= 1;
        if *runs == 0 {
            self.pinned.remove(&version);
            self.doubtful.insert(version);
        }
    }
}
