//! The instances of an expanded task.
//!
//! **States.** A task with `expand` begins as one instance, its summary, with the index of a task that is not expanded. When its
//! inputs are there, it is expanded: the summary and its row go, and instances 0 to n−1 take its place, each with a row. It stays
//! expanded as long as its run lives. A later length adds instances, or sets those beyond it to `removed`.
//!
//! **What always holds.** All instances have the same upstream, the same inputs and the same past, so these are kept and decided once
//! for the task, and a change before it costs the same however many instances it has: `open` has those that such a change may
//! let go, `scheduled` those that it may hold back again, `census` how many are in which state.
//!
//! **After a crash** the rows are the instances: they are all written by the turn that expands the task, or none is, and then the
//! summary is expanded again, by the lengths that stand in the side rows of the tasks before it.

use std::collections::BTreeSet;

use model::{MapIndex, TaskState};

use super::{
    census::Census,
    instance::{Core, Instance},
};
use crate::state::TiExtra;

/// The instances of an expanded task, and what follows from them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expansion {
    /// By their index.
    pub instances: Vec<Instance>,
    /// How many there are by the inputs, as they were when an instance was last let go; those beyond are removed. After a load it
    /// is the number of rows.
    pub length: usize,
    /// Those that are in no state, and those whose pause was over when they were last looked at, parked ones among them.
    pub open: BTreeSet<MapIndex>,
    /// Those that wait for a slot.
    pub scheduled: BTreeSet<MapIndex>,
    /// How many are in which state.
    pub census: Census,
    /// How many count against limits on active instances.
    pub active: u32,
    /// How many elements they have left for tasks that are expanded over theirs.
    pub left: u64,
}

impl Expansion {
    /// What follows from the instances, counted.
    pub fn of(instances: Vec<Instance>) -> Self {
        let mut new = Self { length: instances.len(), ..Self::default() };
        for (map, instance) in (0..).map(MapIndex).zip(&instances) {
            new.census.add(instance.core.state);
            new.active += u32::from(instance.core.is_active());
            new.left += left_by(instance.extra.as_deref());
            new.sort_in(map, instance.core.state);
        }
        new.instances = instances;
        new.open_all();
        new
    }

    /// One more instance, in no state.
    pub fn push_blank(&mut self) -> MapIndex {
        let map = MapIndex(i32::try_from(self.instances.len()).expect("expansions are bounded"));
        self.instances.push(Instance::blank());
        self.census.add(TaskState::NoStatus);
        self.sort_in(map, TaskState::NoStatus);
        map
    }

    /// An instance has changed.
    pub fn account(&mut self, map: MapIndex, before: Core, after: Core) {
        if before.state != after.state {
            self.census.remove(before.state);
            self.census.add(after.state);
            self.sort_in(map, after.state);
        }
        self.active = self.active + u32::from(after.is_active()) - u32::from(before.is_active());
    }

    /// What an instance has left for others has changed.
    pub fn account_left(&mut self, before: Option<&TiExtra>, after: Option<&TiExtra>) {
        self.left = self.left + left_by(after) - left_by(before);
    }

    /// Every one that may go on is looked at with the next change: a pause may have ended while nobody looked.
    pub fn open_all(&mut self) {
        let waits = |instance: &Instance| {
            matches!(instance.core.state, TaskState::NoStatus | TaskState::UpForRetry | TaskState::UpForReschedule)
        };
        let waiting = (0..).map(MapIndex).zip(&self.instances).filter(|(_, instance)| waits(instance));
        self.open.extend(waiting.map(|(map, _)| map));
    }

    fn sort_in(&mut self, map: MapIndex, state: TaskState) {
        if state == TaskState::NoStatus {
            self.open.insert(map)
        } else {
            self.open.remove(&map)
        };
        if state == TaskState::Scheduled {
            self.scheduled.insert(map)
        } else {
            self.scheduled.remove(&map)
        };
    }

    /// Every index.
    pub fn indexes(&self) -> impl Iterator<Item = MapIndex> + use<> {
        (0..i32::try_from(self.instances.len()).expect("expansions are bounded")).map(MapIndex)
    }

    /// One state for all of them, for those to whom the task is one: success when each has succeeded, was skipped or removed.
    pub fn state(&self) -> TaskState {
        one_state_of(TaskState::ALL.iter().copied().filter(|state| self.census.of(*state) > 0))
    }

    /// How many are not finished.
    pub fn unfinished(&self) -> u32 {
        TaskState::ALL.iter().copied().filter(|state| !state.is_finished()).map(|state| self.census.of(state)).sum()
    }
}

/// One state for the instances of a task: the first that is no good end, else success, or what all of them are.
pub(crate) fn one_state_of(states: impl Iterator<Item = TaskState>) -> TaskState {
    let mut found: Option<TaskState> = None;
    for state in states {
        let is_good = |state: TaskState| state.is_success_like() || state == TaskState::Removed;
        found = match found {
            None => Some(state),
            Some(known) if !is_good(known) => Some(known),
            Some(_) if !is_good(state) => Some(state),
            Some(known) if known == state => Some(known),
            Some(_) => Some(TaskState::Success),
        };
    }
    found.unwrap_or(TaskState::NoStatus)
}

/// How many elements an instance has left for tasks that are expanded over them.
fn left_by(extra: Option<&TiExtra>) -> u64 {
    extra.and_then(|extra| extra.map_length).map_or(0, |length| u64::try_from(length).unwrap_or(0))
}
