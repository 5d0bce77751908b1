//! An unfinished run in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dag::TaskPos;
use model::{DagRunState, MapIndex, RunKey, RunType, TaskIdx, TaskState, TiKey, Timestamp, TryNumber};

use super::{
    definition::{Definition, Heed},
    expansion::{Expansion, one_state_of},
    instance::{Instance, Place, TiPos},
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
    /// The one instance of each task that is not expanded, by the task's position; blank for one that is.
    pub instances: Vec<Instance>,
    /// The instances of tasks that are expanded.
    pub expansions: BTreeMap<TaskPos, Expansion>,
    /// What is before each task, and what has skipped it: the same for all of its instances.
    pub tasks: Vec<TaskCounts>,
    /// What tasks heed because of setups and teardowns; nothing of tasks that heed nothing.
    pub heeded: BTreeMap<TaskPos, HeedCounts>,
    /// Instances with a row whose task the version does not have, or not in that form: they count for nothing, and come back
    /// with their task.
    pub strays: BTreeMap<(TaskIdx, MapIndex), Instance>,
    /// Tasks, or single instances of expanded ones, to decide again, because something that they depend on has changed.
    pub dirty: BTreeSet<TiPos>,
    /// Instances whose rule lets them run while their DAG is paused.
    pub parked: BTreeSet<TiPos>,
    /// How many instances are not finished.
    pub unfinished: usize,
    /// How many of those something will still happen to by itself: all but the ones in no state.
    pub pending: usize,
    /// How many attempts are live.
    pub live: u32,
    /// How many of those are deferred, and hold no slot.
    pub aside: u32,
    /// How many instances of tasks by which the run ends failed.
    pub leaves_failed: usize,
    /// What is known of the run before it.
    pub previous: Previous,
}

/// What the instances of a task share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TaskCounts {
    /// Every instance of each task directly before it, but for those of the same expanded group, which are before the instances
    /// that have their index.
    pub upstream: Upstream,
    /// How many tasks directly before it have decided that it is skipped.
    pub skipped_by: u32,
}

/// What the instances of a task heed because of setups and teardowns, but for what is in their own expanded group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct HeedCounts {
    /// The setups directly before a teardown.
    pub own_setups: Upstream,
    /// The setups that it needs and that are not directly before it.
    pub indirect_setups: Upstream,
    /// How much between a teardown and its setups is not finished, and not directly before it.
    pub span_unfinished: u32,
}

impl HeedCounts {
    /// Takes so many more instances that are in this state.
    pub fn add(&mut self, heed: Heed, state: TaskState, count: u32) {
        match heed {
            Heed::OwnSetup => self.own_setups.add(state, count),
            Heed::IndirectSetup => self.indirect_setups.add(state, count),
            Heed::Span if state.is_finished() => {}
            Heed::Span => self.span_unfinished += count,
        }
    }

    /// Follows an instance from one state to another.
    pub fn follow(&mut self, heed: Heed, before: TaskState, after: TaskState) {
        let setups = match heed {
            Heed::OwnSetup => &mut self.own_setups,
            Heed::IndirectSetup => &mut self.indirect_setups,
            Heed::Span => {
                let (left, come) = (u32::from(!before.is_finished()), u32::from(!after.is_finished()));
                self.span_unfinished = self.span_unfinished + come - left;
                return;
            }
        };
        setups.uncount(before);
        setups.count(after);
    }

    /// Instances in no state come, or one goes.
    pub fn resize(&mut self, heed: Heed, by: i64) {
        let count = match heed {
            Heed::OwnSetup => &mut self.own_setups.total,
            Heed::IndirectSetup => &mut self.indirect_setups.total,
            Heed::Span => &mut self.span_unfinished,
        };
        *count = u32::try_from(i64::from(*count) + by).expect("no more instances go than there are");
    }
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
        let instances: Vec<_> = def.dag.tasks.iter().map(|_| Instance::blank()).collect();
        let counts = |pos: TaskPos| {
            let total = u32::try_from(def.outside(pos).count()).expect("a DAG has fewer than 2^32 tasks");
            TaskCounts { upstream: Upstream { total, ..Upstream::default() }, skipped_by: 0 }
        };
        let mut run = Self {
            row,
            stored: None,
            unfinished: instances.len(),
            tasks: def.dag.positions().map(counts).collect(),
            instances,
            heeded: BTreeMap::new(),
            expansions: BTreeMap::new(),
            strays: BTreeMap::new(),
            def,
            dirty: BTreeSet::new(),
            parked: BTreeSet::new(),
            pending: 0,
            live: 0,
            aside: 0,
            leaves_failed: 0,
            previous: Previous::NotAsked,
        };
        run.heeded = run.count_heeds();
        run
    }

    /// A run as it is stored. Rows of tasks that its version does not have are set aside.
    pub fn stored(stored: &StoredRun, def: Arc<Definition>) -> Self {
        let mut run = Self::new(stored.run.clone(), def);
        run.stored = Some(stored.run.state);
        let restored = stored.instances.iter().map(|row| ((row.key.task, row.key.map), Instance::restored(row)));
        run.place_all(restored.collect());
        run.recount();
        run
    }

    /// The same run on another version: instances go where their task is now. Those with a row whose task is not there are
    /// set aside, and those that were set aside come back with their task.
    pub fn on_version(mut self, def: Arc<Definition>) -> Self {
        let mut known = std::mem::take(&mut self.strays);
        for at in self.all().collect::<Vec<_>>() {
            let number = self.def.number(at.task);
            let instance = std::mem::replace(self.instance_mut(at), Instance::blank());
            if instance.stored.is_some() || def.position(number).is_some() {
                known.insert((number, at.map), instance);
            }
        }
        let mut moved = Self::new(RunRow { version: def.id, ..self.row }, def);
        (moved.stored, moved.previous) = (self.stored, self.previous);
        moved.place_all(known);
        moved.recount();
        moved
    }

    /// Puts instances where their tasks are. A task of which there are expanded instances has no summary any more.
    fn place_all(&mut self, known: BTreeMap<(TaskIdx, MapIndex), Instance>) {
        let mut expanded: BTreeMap<TaskPos, Vec<Instance>> = BTreeMap::new();
        for ((number, map), instance) in known {
            let pos = self.def.position(number);
            match pos.filter(|pos| map == MapIndex::UNMAPPED || self.def.task(*pos).expand.is_some()) {
                Some(pos) if map == MapIndex::UNMAPPED => self.instances[pos.0] = instance,
                Some(pos) => {
                    let of_task = expanded.entry(pos).or_default();
                    let index = usize::try_from(map.get()).unwrap_or(0);
                    if of_task.len() <= index {
                        of_task.resize_with(index + 1, Instance::blank);
                    }
                    of_task[index] = instance;
                }
                None => drop(self.strays.insert((number, map), instance)),
            }
        }
        for (pos, instances) in expanded {
            let summary = std::mem::replace(&mut self.instances[pos.0], Instance::blank());
            if summary.stored.is_some() {
                self.strays.insert((self.def.number(pos), MapIndex::UNMAPPED), summary);
            }
            self.expansions.insert(pos, Expansion::of(instances));
        }
    }

    /// The instance of a task of the version, or one that was set aside.
    pub fn with_row_mut(&mut self, task: TaskIdx, map: MapIndex) -> Option<&mut Instance> {
        let at = self.def.position(task).map(|task| TiPos { task, map }).filter(|at| self.has(*at));
        match at {
            Some(at) => Some(self.instance_mut(at)),
            None => self.strays.get_mut(&(task, map)),
        }
    }

    /// Derives every counter from the instances, but for live attempts, which are counted as the run comes into memory.
    pub fn recount(&mut self) {
        (self.unfinished, self.pending, self.leaves_failed) = (0, 0, 0);
        (self.live, self.aside) = (0, 0);
        for pos in self.def.dag.positions() {
            self.tasks[pos.0] = TaskCounts { upstream: self.count_upstream(pos), skipped_by: 0 };
        }
        self.heeded = self.count_heeds();
        for at in self.all().collect::<Vec<_>>() {
            let state = self.state(at);
            self.unfinished += usize::from(!state.is_finished());
            self.pending += usize::from(is_pending(state));
            let is_leaf = self.def.is_leaf(at.task);
            self.leaves_failed += usize::from(is_leaf && state.is_failed_like());
            for skipped in self.skips_of(at) {
                self.tasks[skipped.0].skipped_by += 1;
            }
        }
    }

    /// What is directly before all instances of a task, counted anew: every instance of each task there.
    pub fn count_upstream(&self, pos: TaskPos) -> Upstream {
        let mut counts = Upstream::default();
        for before in self.def.outside(pos) {
            self.states_of(before).for_each(|(state, count)| counts.add(state, count));
        }
        counts
    }

    /// What tasks heed because of setups and teardowns, counted anew.
    pub fn count_heeds(&self) -> BTreeMap<TaskPos, HeedCounts> {
        let of = |pos: TaskPos| {
            let mut counts = HeedCounts::default();
            for (heed, other) in self.def.heeds_outside(pos) {
                self.states_of(other).for_each(|(state, count)| counts.add(heed, state, count));
            }
            (pos, counts)
        };
        self.def.heedful().map(of).collect()
    }

    /// How many instances of a task are in which state.
    pub fn states_of(&self, pos: TaskPos) -> impl Iterator<Item = (TaskState, u32)> {
        let expansion = self.expansions.get(&pos);
        let one = expansion.is_none().then(|| (self.state(TiPos::whole(pos)), 1));
        let all = expansion
            .into_iter()
            .flat_map(|expansion| TaskState::ALL.iter().map(|state| (*state, expansion.census.of(*state))));
        one.into_iter().chain(all)
    }

    /// Which tasks directly after a task it has decided to skip.
    pub fn skips_of(&self, at: TiPos) -> Vec<TaskPos> {
        let skips = self.instance(at).extra.as_deref().and_then(|extra| extra.skips.as_deref());
        skips.unwrap_or_default().iter().filter_map(|number| self.def.position(*number)).collect()
    }

    /// Instances that wait for an instant.
    pub fn wakes(&self) -> impl Iterator<Item = (Timestamp, TiKey)> {
        let waits = |at: &TiPos| {
            matches!(self.state(*at), TaskState::UpForRetry | TaskState::UpForReschedule | TaskState::AwaitingInput)
        };
        let wake_at = |at: TiPos| Some((self.instance(at).extra.as_deref()?.wake_at?, self.key_of(at)));
        self.all().filter(waits).filter_map(wake_at)
    }

    /// Whether the instant is there that an instance waits for.
    pub fn is_awake(&self, at: TiPos, now: Timestamp) -> bool {
        self.instance(at).extra.as_deref().and_then(|extra| extra.wake_at).is_some_and(|at| at <= now)
    }

    /// Every instance.
    pub fn all(&self) -> impl Iterator<Item = TiPos> {
        self.def.dag.positions().flat_map(|pos| self.all_of(pos))
    }

    /// Every instance of a task: one when it is not expanded.
    pub fn all_of(&self, task: TaskPos) -> impl Iterator<Item = TiPos> + use<> {
        let expansion = self.expansions.get(&task);
        let summary = expansion.is_none().then_some(TiPos::whole(task));
        let expanded = expansion.map(Expansion::indexes).into_iter().flatten();
        summary.into_iter().chain(expanded.map(move |map| TiPos { task, map }))
    }

    /// Whether there is such an instance: a task that is expanded has none of its own.
    pub fn has(&self, at: TiPos) -> bool {
        match self.expansions.get(&at.task) {
            None => at.map == MapIndex::UNMAPPED,
            Some(expansion) => usize::try_from(at.map.get()).is_ok_and(|map| map < expansion.instances.len()),
        }
    }

    pub fn instance(&self, at: TiPos) -> &Instance {
        match usize::try_from(at.map.get()) {
            Err(_) => &self.instances[at.task.0],
            Ok(map) => &self.expansions[&at.task].instances[map],
        }
    }

    pub fn instance_mut(&mut self, at: TiPos) -> &mut Instance {
        match usize::try_from(at.map.get()) {
            Err(_) => &mut self.instances[at.task.0],
            Ok(map) => {
                let expansion = self.expansions.get_mut(&at.task).expect("only instances that are there are changed");
                &mut expansion.instances[map]
            }
        }
    }

    pub fn state(&self, at: TiPos) -> TaskState {
        self.instance(at).core.state
    }

    /// One state for all instances of a task: see [`Expansion::state`].
    pub fn state_of_task(&self, pos: TaskPos) -> TaskState {
        self.expansions.get(&pos).map_or_else(|| self.state(TiPos::whole(pos)), Expansion::state)
    }

    /// How many instances of a task are not finished.
    pub fn unfinished_of(&self, pos: TaskPos) -> u32 {
        match self.expansions.get(&pos) {
            Some(expansion) => expansion.unfinished(),
            None => u32::from(!self.state(TiPos::whole(pos)).is_finished()),
        }
    }

    /// How many instances there are.
    pub fn total(&self) -> usize {
        let more: usize = self.expansions.values().map(|expansion| expansion.instances.len()).sum();
        self.instances.len() - self.expansions.len() + more
    }

    /// Whether an instance of a task is in a state.
    pub fn has_in(&self, pos: TaskPos, state: TaskState) -> bool {
        match self.expansions.get(&pos) {
            Some(expansion) => expansion.census.of(state) > 0,
            None => self.state(TiPos::whole(pos)) == state,
        }
    }

    /// How many instances of a task are active in this run.
    pub fn active_of(&self, pos: TaskPos) -> u32 {
        match self.expansions.get(&pos) {
            Some(expansion) => expansion.active,
            None => u32::from(self.instances[pos.0].core.is_active()),
        }
    }

    /// How many elements a task has left for those that are expanded over them; none when it has left nothing.
    pub fn length_left(&self, pos: TaskPos) -> Option<u64> {
        match self.expansions.get(&pos) {
            Some(expansion) => Some(expansion.left),
            None => {
                let length = self.instances[pos.0].extra.as_deref()?.map_length?;
                u64::try_from(length).ok()
            }
        }
    }

    pub fn place(&self, at: TiPos) -> Place {
        Place { run: self.row.key, task: at.task, map: at.map }
    }

    pub fn key_of(&self, at: TiPos) -> TiKey {
        TiKey { run: self.row.key, task: self.def.number(at.task), map: at.map }
    }

    /// The last try that a failure of a task may lead to.
    pub fn max_tries(&self, at: TiPos) -> i16 {
        let cleared = self.instance(at).extra.as_deref().and_then(|extra| extra.max_tries);
        cleared.unwrap_or_else(|| tries_after(0, self.def.task(at.task).retries))
    }

    /// How many tries of a task have failed by themselves since it was cleared, when its current one fails. What is forgiven,
    /// such as the loss of a worker, raises the last try along with the try, so the difference tells.
    pub fn failed_tries(&self, at: TiPos) -> TryNumber {
        let left = self.max_tries(at).saturating_sub(self.instance(at).core.try_number.get());
        let of_all = tries_after(0, self.def.task(at.task).retries);
        TryNumber(of_all.saturating_sub(left).clamp(1, self.instance(at).core.try_number.get().max(1)))
    }

    /// Whether a task's own dates let the run have it. Backfills ignore them, as in Airflow.
    pub fn is_in_window(&self, pos: TaskPos) -> bool {
        let date = self.row.logical_date.filter(|_| self.row.run_type != RunType::Backfill);
        date.is_none_or(|date| self.def.task(pos).is_in_window(date))
    }

    /// The earliest instant at which it may start.
    pub fn starts_at(&self) -> Timestamp {
        self.row.logical_date.map_or(self.row.run_after, |date| date.max(self.row.run_after))
    }

    /// How many of its attempts hold a slot.
    pub fn at_work(&self) -> u32 {
        self.live - self.aside
    }

    /// Whether it may have another attempt.
    pub fn has_room(&self) -> bool {
        self.at_work() < self.def.dag.max_active_tasks
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
        let here = self.def.dag.positions().map(|pos| self.def.number(pos));
        let strays = self.strays.keys().map(|(number, _)| *number);
        here.chain(strays).filter_map(|number| Some((number, self.past_state(number)?))).collect()
    }

    /// The state of a task by its number; none when the run never had it.
    pub fn past_state(&self, task: TaskIdx) -> Option<TaskState> {
        match self.def.position(task) {
            Some(pos) => Some(self.state_of_task(pos)),
            None => {
                let whole = (task, MapIndex(i32::MIN))..=(task, MapIndex(i32::MAX));
                let mut states = self.strays.range(whole).map(|(_, stray)| stray.core.state).peekable();
                states.peek().is_some().then(|| one_state_of(states))
            }
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
