//! An unfinished run in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dag::TaskPos;
use model::{DagRunState, RunKey, TaskIdx, TaskState, TiKey, Timestamp, TryNumber};

use super::{
    definition::Definition,
    instance::{Instance, Place},
};
use crate::{
    rules::Upstream,
    state::{RunRow, StoredRun},
};

/// A run with its instances, and counters that follow them.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub row: RunRow,
    /// The state that its row has; none while it has no row.
    pub stored: Option<DagRunState>,
    pub def: Arc<Definition>,
    /// By the task's position.
    pub instances: Vec<Instance>,
    /// Instances with a row whose task the version does not have: they count for nothing, and come back with their task.
    pub strays: BTreeMap<TaskIdx, Instance>,
    /// Tasks to decide again, because something that they depend on has changed.
    pub dirty: BTreeSet<TaskPos>,
    /// Tasks whose rule lets them run while their DAG is paused.
    pub parked: BTreeSet<TaskPos>,
    /// How many instances are not finished.
    pub unfinished: usize,
    /// How many of those something will still happen to by itself: all but the ones in no state.
    pub pending: usize,
    /// How many attempts are live.
    pub live: u32,
    /// How many instances without downstream failed.
    pub leaves_failed: usize,
    /// What is known of the run before it.
    pub previous: Previous,
}

/// What a run knows of the one before it.
#[derive(Debug, Clone)]
pub(crate) enum Previous {
    /// No task asks for it.
    NotAsked,
    /// It has been asked for.
    Unknown,
    /// There is none that counts.
    None,
    /// This one; while it is in memory itself its instances count, and afterwards these states.
    Run { key: RunKey, date: Option<Timestamp>, states: Arc<PastStates> },
}

/// The states that a run had when it was last looked at: a state for each task that it has.
pub(crate) type PastStates = BTreeMap<TaskIdx, TaskState>;

impl Run {
    /// A run that is not stored yet.
    pub fn new(row: RunRow, def: Arc<Definition>) -> Self {
        let instances: Vec<_> = def.dag.tasks.iter().map(|task| Instance::blank(task.upstream.len())).collect();
        Self {
            row,
            stored: None,
            unfinished: instances.len(),
            instances,
            strays: BTreeMap::new(),
            def,
            dirty: BTreeSet::new(),
            parked: BTreeSet::new(),
            pending: 0,
            live: 0,
            leaves_failed: 0,
            previous: Previous::NotAsked,
        }
    }

    /// A run as it is stored. Rows of tasks that its version does not have are set aside.
    pub fn stored(stored: &StoredRun, def: Arc<Definition>) -> Self {
        let mut run = Self::new(stored.run.clone(), def);
        run.stored = Some(stored.run.state);
        for row in &stored.instances {
            match run.def.position(row.key.task) {
                Some(pos) => run.instances[pos.0].restore(row),
                None => run.strays.entry(row.key.task).or_insert_with(|| Instance::blank(0)).restore(row),
            }
        }
        run.recount();
        run
    }

    /// The same run on another version: instances go where their task is now. Those with a row whose task is not there are
    /// set aside, and those that were set aside come back with their task.
    pub fn on_version(mut self, def: Arc<Definition>) -> Self {
        let mut known = std::mem::take(&mut self.strays);
        for (pos, instance) in self.instances.drain(..).enumerate() {
            if instance.stored.is_some() || def.position(self.def.number(TaskPos(pos))).is_some() {
                known.insert(self.def.number(TaskPos(pos)), instance);
            }
        }
        let mut moved = Self::new(RunRow { version: def.id, ..self.row }, def);
        (moved.stored, moved.previous) = (self.stored, self.previous);
        for (number, instance) in known {
            match moved.def.position(number) {
                Some(pos) => {
                    let upstream = moved.instances[pos.0].upstream;
                    moved.instances[pos.0] = Instance { upstream, ..instance };
                }
                None => drop(moved.strays.insert(number, instance)),
            }
        }
        moved.recount();
        moved
    }

    /// The instance of a task of the version, or one that was set aside.
    pub fn with_row_mut(&mut self, task: TaskIdx) -> Option<&mut Instance> {
        match self.def.position(task) {
            Some(pos) => self.instances.get_mut(pos.0),
            None => self.strays.get_mut(&task),
        }
    }

    /// Derives every counter from the instances, but for live attempts, which are counted as the run comes into memory.
    pub fn recount(&mut self) {
        let states: Vec<TaskState> = self.instances.iter().map(|instance| instance.core.state).collect();
        (self.unfinished, self.pending, self.live, self.leaves_failed) = (0, 0, 0, 0);
        for pos in self.def.dag.positions() {
            let task = self.def.task(pos);
            let instance = &mut self.instances[pos.0];
            instance.upstream = Upstream::of(task.upstream.iter().map(|before| states[before.0]));
            instance.skipped_by = 0;
            self.unfinished += usize::from(!states[pos.0].is_finished());
            self.pending += usize::from(is_pending(states[pos.0]));
            self.leaves_failed += usize::from(task.downstream.is_empty() && states[pos.0].is_failed_like());
        }
        for pos in self.def.dag.positions() {
            for skipped in self.skips_of(pos) {
                self.instances[skipped.0].skipped_by += 1;
            }
        }
    }

    /// Which tasks directly after a task it has decided to skip.
    pub fn skips_of(&self, pos: TaskPos) -> Vec<TaskPos> {
        let skips = self.instances[pos.0].extra.as_deref().and_then(|extra| extra.skips.as_deref());
        skips.unwrap_or_default().iter().filter_map(|number| self.def.position(*number)).collect()
    }

    /// Instances that wait for an instant.
    pub fn wakes(&self) -> impl Iterator<Item = (Timestamp, TiKey)> {
        let waits = |pos: &TaskPos| matches!(self.state(*pos), TaskState::UpForRetry | TaskState::UpForReschedule);
        let wake_at = |pos: TaskPos| Some((self.instance(pos).extra.as_deref()?.wake_at?, self.key_of(pos)));
        self.def.dag.positions().filter(waits).filter_map(wake_at)
    }

    pub fn instance(&self, pos: TaskPos) -> &Instance {
        &self.instances[pos.0]
    }

    pub fn state(&self, pos: TaskPos) -> TaskState {
        self.instances[pos.0].core.state
    }

    pub fn place(&self, pos: TaskPos) -> Place {
        Place { run: self.row.key, task: pos }
    }

    pub fn key_of(&self, pos: TaskPos) -> TiKey {
        TiKey::unmapped(self.row.key, self.def.number(pos))
    }

    /// The last try that a failure of a task may lead to.
    pub fn max_tries(&self, pos: TaskPos) -> i16 {
        let cleared = self.instance(pos).extra.as_deref().and_then(|extra| extra.max_tries);
        cleared.unwrap_or_else(|| tries_after(0, self.def.task(pos).retries))
    }

    /// How many tries of a task have failed by themselves since it was cleared, when its current one fails. What is forgiven,
    /// such as the loss of a worker, raises the last try along with the try, so the difference tells.
    pub fn failed_tries(&self, pos: TaskPos) -> TryNumber {
        let left = self.max_tries(pos).saturating_sub(self.instance(pos).core.try_number.get());
        let of_all = tries_after(0, self.def.task(pos).retries);
        TryNumber(of_all.saturating_sub(left).clamp(1, self.instance(pos).core.try_number.get().max(1)))
    }

    /// The earliest instant at which it may start.
    pub fn starts_at(&self) -> Timestamp {
        self.row.logical_date.map_or(self.row.run_after, |date| date.max(self.row.run_after))
    }

    /// Whether it may have another attempt.
    pub fn has_room(&self) -> bool {
        self.live < self.def.dag.max_active_tasks
    }

    /// By which it is ordered among the runs of all DAGs. One of a backfill counts from when it began: its old date would let
    /// it pass everything that is due now, run after run.
    pub fn order_date(&self) -> Timestamp {
        if self.row.backfill.is_some() {
            return self.row.started_at.unwrap_or(self.row.queued_at);
        }
        self.row.logical_date.unwrap_or(self.row.run_after)
    }

    /// What is kept of it when it leaves memory, for the run after it.
    pub fn past_states(&self) -> PastStates {
        let here = self.def.dag.positions().map(|pos| (self.def.number(pos), self.state(pos)));
        here.chain(self.strays.iter().map(|(number, stray)| (*number, stray.core.state))).collect()
    }

    /// The state of a task by its number; none when the run never had it.
    pub fn past_state(&self, task: TaskIdx) -> Option<TaskState> {
        match self.def.position(task) {
            Some(pos) => Some(self.state(pos)),
            None => self.strays.get(&task).map(|stray| stray.core.state),
        }
    }
}

/// Whether something will still happen to an instance by itself.
pub(crate) fn is_pending(state: TaskState) -> bool {
    !state.is_finished() && state != TaskState::NoStatus
}

/// The last try after `done` tries when `retries` more may follow the next one.
pub(crate) fn tries_after(done: i16, retries: u16) -> i16 {
    done.saturating_add(1).saturating_add(i16::try_from(retries).unwrap_or(i16::MAX))
}
