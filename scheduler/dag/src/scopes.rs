//! Setups and teardowns: which tasks need what, what a teardown waits for, and which tasks decide how a run ends.
//!
//! A setup and a teardown directly after it are a pair, and the tasks between them are its scope. Everything behind a setup without
//! a teardown is in its scope. A task needs the setups in whose scope it is, and a teardown waits for all that is in its own.
//! What lies between is found for 64 pairs at once: each task has a word with a bit for each pair, which goes along the arrows once
//! forward from the setups and once backward from the teardowns. So it costs the number of arrows, and not that of pairs times
//! tasks; what comes out is bounded by [`PLACES_MAX`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::compiled::{Dag, Task, TaskPos};

/// How often tasks may lie in scopes, all of a DAG's together: as many as it may have dependencies.
pub(crate) const PLACES_MAX: usize = 1_000_000;

/// What a task does for others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing but its own work.
    #[default]
    Work,
    /// It makes what tasks behind it need.
    Setup,
    /// It takes away what its setups have made, however the tasks between have ended.
    Teardown {
        /// Whether the run fails with it.
        on_failure_fail_dagrun: bool,
    },
}

impl Phase {
    /// Whether it is neither setup nor teardown.
    #[must_use]
    pub const fn is_work(&self) -> bool {
        matches!(self, Self::Work)
    }

    /// Whether tasks behind it need it.
    #[must_use]
    pub const fn is_setup(&self) -> bool {
        matches!(self, Self::Setup)
    }

    /// Whether it takes away what setups have made.
    #[must_use]
    pub const fn is_teardown(&self) -> bool {
        matches!(self, Self::Teardown { .. })
    }

    /// Whether a run ends as if it were not there.
    #[must_use]
    pub const fn is_ignored(&self) -> bool {
        matches!(self, Self::Teardown { on_failure_fail_dagrun: false })
    }
}

/// The scopes of a DAG.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes {
    needs: BTreeMap<TaskPos, BTreeSet<TaskPos>>,
    spans: BTreeMap<TaskPos, BTreeSet<TaskPos>>,
}

/// A setup, and a teardown directly after it; none for a setup without one.
type Pair = (TaskPos, Option<TaskPos>);

impl Scopes {
    /// The scopes of these tasks; none when tasks lie in them more often than they may.
    pub(crate) fn of(tasks: &[Task]) -> Option<Self> {
        let mut scopes = Self::default();
        let mut left = PLACES_MAX;
        for block in pairs(tasks).chunks(u64::BITS as usize) {
            for (pos, bits) in between(tasks, block).into_iter().enumerate() {
                left = left.checked_sub(bits.count_ones() as usize)?;
                for (setup, teardown) in
                    block.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, p)| p)
                {
                    if !tasks[pos].phase.is_teardown() {
                        scopes.needs.entry(TaskPos(pos)).or_default().insert(*setup);
                    }
                    if let Some(teardown) = teardown {
                        scopes.spans.entry(*teardown).or_default().insert(TaskPos(pos));
                    }
                }
            }
        }
        Some(scopes)
    }

    /// The setups that a task needs, those directly before it too. A teardown needs none but those.
    pub fn needs(&self, pos: TaskPos) -> impl Iterator<Item = TaskPos> {
        self.needs.get(&pos).into_iter().flatten().copied()
    }

    /// The tasks between a teardown and its setups.
    pub fn span(&self, teardown: TaskPos) -> impl Iterator<Item = TaskPos> {
        self.spans.get(&teardown).into_iter().flatten().copied()
    }
}

fn pairs(tasks: &[Task]) -> Vec<Pair> {
    let setups = (0..tasks.len()).map(TaskPos).filter(|pos| tasks[pos.0].phase.is_setup());
    setups
        .flat_map(|setup| {
            let ends: Vec<Pair> = teardowns(tasks, setup).map(|teardown| (setup, Some(teardown))).collect();
            if ends.is_empty() { vec![(setup, None)] } else { ends }
        })
        .collect()
}

/// The teardowns directly after a task.
fn teardowns(tasks: &[Task], pos: TaskPos) -> impl Iterator<Item = TaskPos> {
    tasks[pos.0].downstream.iter().copied().filter(|after| tasks[after.0].phase.is_teardown())
}

/// Of each task a bit for each pair that it lies between. Tasks are in topological order.
fn between(tasks: &[Task], pairs: &[Pair]) -> Vec<u64> {
    let (mut starts, mut ends) = (vec![0_u64; tasks.len()], vec![0_u64; tasks.len()]);
    let mut without_end = 0;
    for (bit, (setup, teardown)) in pairs.iter().enumerate() {
        starts[setup.0] |= 1 << bit;
        match teardown {
            Some(teardown) => ends[teardown.0] |= 1 << bit,
            None => without_end |= 1 << bit,
        }
    }
    let mut behind = vec![0; tasks.len()];
    for (pos, task) in tasks.iter().enumerate() {
        behind[pos] = task.upstream.iter().fold(0, |bits, before| bits | starts[before.0] | behind[before.0]);
    }
    let mut before = vec![0; tasks.len()];
    for (pos, task) in tasks.iter().enumerate().rev() {
        before[pos] = task.downstream.iter().fold(0, |bits, after| bits | ends[after.0] | before[after.0]);
    }
    behind.iter().zip(&before).map(|(behind, before)| behind & (before | without_end)).collect()
}

impl Dag {
    /// The scopes of its setups and teardowns.
    #[must_use]
    pub fn scopes(&self) -> Scopes {
        Scopes::of(&self.tasks).expect("a DAG with more in its scopes is refused when it is compiled")
    }

    /// The teardowns directly after a task.
    pub fn teardowns_after(&self, pos: TaskPos) -> impl Iterator<Item = TaskPos> {
        teardowns(&self.tasks, pos)
    }

    /// The tasks by which a run ends: those that nothing follows, teardowns left out that do not fail the run. In a DAG of nothing
    /// but such teardowns it is the last ones of them.
    #[must_use]
    pub fn leaves(&self) -> BTreeSet<TaskPos> {
        let is_ignored = |pos: &TaskPos| self.task(*pos).phase.is_ignored();
        let all = || self.positions();
        let leaves: BTreeSet<TaskPos> =
            all().filter(|pos| !is_ignored(pos) && self.task(*pos).downstream.iter().all(is_ignored)).collect();
        if leaves.is_empty() { all().filter(|pos| self.task(*pos).downstream.is_empty()).collect() } else { leaves }
    }
}
