//! A version of a DAG, with what the engine looks up in it again and again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dag::{Dag, Task, TaskPos};
use model::{DagVersionId, TaskId, TaskIdx, command::Relatives};

use super::ready::{ClassId, Ready};
pub(crate) use crate::selection::Direction;
use crate::{
    selection::{reached, setups_along},
    state::DagVersion,
};

/// What a task heeds of another one beside the state of what is directly before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heed {
    /// It is a teardown, and this a setup directly before it.
    OwnSetup,
    /// It needs this setup, which is not directly before it.
    IndirectSetup,
    /// It is a teardown, and this lies between it and its setups, and is not directly before it.
    Span,
}

/// A version of a DAG.
#[derive(Debug)]
pub(crate) struct Definition {
    pub id: DagVersionId,
    pub dag: Arc<Dag>,
    numbers: Arc<[TaskIdx]>,
    positions: BTreeMap<TaskIdx, TaskPos>,
    names: BTreeMap<TaskId, TaskPos>,
    /// The number of each task by its name, shared by all assignments.
    pub task_numbers: Arc<BTreeMap<TaskId, TaskIdx>>,
    classes: Vec<ClassId>,
    /// Whether a task of it asks for its previous run.
    pub asks_past: bool,
    /// The tasks that leave what a task is expanded over.
    sources: BTreeMap<TaskPos, Vec<TaskPos>>,
    /// The other way round: the tasks that are expanded over what a task leaves.
    fed: BTreeMap<TaskPos, Vec<TaskPos>>,
    /// The tasks directly before one in the same expanded group: an instance comes after the one of them that has its index.
    inside: BTreeMap<TaskPos, Vec<TaskPos>>,
    /// Tasks directly before one that have dates of their own, but for those inside its group.
    dated: BTreeMap<TaskPos, Vec<TaskPos>>,
    /// What tasks heed because of setups and teardowns.
    heeds: BTreeMap<TaskPos, Vec<(Heed, TaskPos)>>,
    /// The other way round: by which tasks one is heeded.
    heeded: BTreeMap<TaskPos, Vec<(Heed, TaskPos)>>,
    /// The tasks by which a run ends.
    leaves: BTreeSet<TaskPos>,
}

impl Definition {
    /// Prepares a version; what its tasks demand becomes known to the queues.
    pub fn new(version: &DagVersion, ready: &mut Ready) -> Self {
        let dag = Arc::clone(&version.dag);
        let numbers = Arc::clone(&version.task_idx);
        let sources_of = |pos: TaskPos| {
            let expand = dag.task(pos).expand.as_ref()?;
            Some((pos, expand.sources().into_iter().filter_map(|id| dag.position(id)).collect::<Vec<_>>()))
        };
        let sources: BTreeMap<TaskPos, Vec<TaskPos>> = dag.positions().filter_map(sources_of).collect();
        let mut fed: BTreeMap<TaskPos, Vec<TaskPos>> = BTreeMap::new();
        for (pos, sources) in &sources {
            for source in sources {
                fed.entry(*source).or_default().push(*pos);
            }
        }
        let inside_of = |pos: TaskPos| {
            let group = group_of(dag.task(pos))?;
            let is_inside = |before: &TaskPos| group_of(dag.task(*before)) == Some(group);
            let inside: Vec<TaskPos> = dag.task(pos).upstream.iter().copied().filter(is_inside).collect();
            (!inside.is_empty()).then_some((pos, inside))
        };
        let dated_of = |pos: TaskPos| {
            let has_dates = |before: &TaskPos| {
                let task = dag.task(*before);
                (task.start_date.is_some() || task.end_date.is_some())
                    && (group_of(task).is_none() || group_of(task) != group_of(dag.task(pos)))
            };
            let dated: Vec<TaskPos> = dag.task(pos).upstream.iter().copied().filter(has_dates).collect();
            (!dated.is_empty()).then_some((pos, dated))
        };
        let heeds = heeds_of(&dag);
        let mut heeded: BTreeMap<TaskPos, Vec<(Heed, TaskPos)>> = BTreeMap::new();
        for (pos, of) in &heeds {
            for (heed, other) in of {
                heeded.entry(*other).or_default().push((*heed, *pos));
            }
        }
        Self {
            leaves: dag.leaves(),
            heeds,
            heeded,
            inside: dag.positions().filter_map(inside_of).collect(),
            dated: dag.positions().filter_map(dated_of).collect(),
            fed,
            sources,
            id: version.id,
            positions: numbers.iter().enumerate().map(|(pos, number)| (*number, TaskPos(pos))).collect(),
            names: dag.positions().map(|pos| (dag.task(pos).task_id.clone(), pos)).collect(),
            task_numbers: Arc::new(
                dag.positions().map(|pos| (dag.task(pos).task_id.clone(), numbers[pos.0])).collect(),
            ),
            classes: dag.tasks.iter().map(|task| ready.class_of(task)).collect(),
            asks_past: dag.tasks.iter().any(asks_past),
            numbers,
            dag,
        }
    }

    pub fn task(&self, pos: TaskPos) -> &Task {
        self.dag.task(pos)
    }

    pub fn number(&self, pos: TaskPos) -> TaskIdx {
        self.numbers[pos.0]
    }

    pub fn position(&self, number: TaskIdx) -> Option<TaskPos> {
        self.positions.get(&number).copied()
    }

    pub fn position_of(&self, task: &TaskId) -> Option<TaskPos> {
        self.names.get(task).copied()
    }

    /// The tasks that leave what a task is expanded over.
    pub fn sources_of(&self, pos: TaskPos) -> &[TaskPos] {
        self.sources.get(&pos).map_or(&[], Vec::as_slice)
    }

    /// Whether a task is expanded over what this one returns.
    pub fn is_source(&self, pos: TaskPos) -> bool {
        self.fed.contains_key(&pos)
    }

    /// The tasks that are expanded over what this one leaves.
    pub fn fed_by(&self, pos: TaskPos) -> &[TaskPos] {
        self.fed.get(&pos).map_or(&[], Vec::as_slice)
    }

    /// The tasks directly before one in the same expanded group.
    pub fn inside(&self, pos: TaskPos) -> &[TaskPos] {
        self.inside.get(&pos).map_or(&[], Vec::as_slice)
    }

    /// Whether instances of a task come after those of this one that have their index.
    pub fn is_inside(&self, before: TaskPos, pos: TaskPos) -> bool {
        self.inside(pos).contains(&before)
    }

    /// Those of [`Self::outside`] that dates of their own may leave out of a run.
    pub fn dated(&self, pos: TaskPos) -> &[TaskPos] {
        self.dated.get(&pos).map_or(&[], Vec::as_slice)
    }

    /// The tasks directly before one that count for all of its instances.
    pub fn outside(&self, pos: TaskPos) -> impl Iterator<Item = TaskPos> {
        let inside = self.inside(pos);
        self.task(pos).upstream.iter().copied().filter(move |before| !inside.contains(before))
    }

    /// What a task heeds because of setups and teardowns.
    pub fn heeds(&self, pos: TaskPos) -> &[(Heed, TaskPos)] {
        self.heeds.get(&pos).map_or(&[], Vec::as_slice)
    }

    /// The same of what counts for all of its instances.
    pub fn heeds_outside(&self, pos: TaskPos) -> impl Iterator<Item = (Heed, TaskPos)> {
        self.heeds(pos).iter().copied().filter(move |(_, other)| !self.shares_group(*other, pos))
    }

    /// The same of what stands in its expanded group, where each instance heeds the one with its index.
    pub fn heeds_inside(&self, pos: TaskPos) -> impl Iterator<Item = (Heed, TaskPos)> {
        self.heeds(pos).iter().copied().filter(move |(_, other)| self.shares_group(*other, pos))
    }

    /// The tasks that heed something.
    pub fn heedful(&self) -> impl Iterator<Item = TaskPos> {
        self.heeds.keys().copied()
    }

    /// By which tasks one is heeded, and why.
    pub fn heeded_by(&self, pos: TaskPos) -> &[(Heed, TaskPos)] {
        self.heeded.get(&pos).map_or(&[], Vec::as_slice)
    }

    /// Whether both tasks are expanded with the same group.
    pub fn shares_group(&self, one: TaskPos, other: TaskPos) -> bool {
        let group = group_of(self.task(one));
        group.is_some() && group == group_of(self.task(other))
    }

    /// Whether a run ends as this task does, among others.
    pub fn is_leaf(&self, pos: TaskPos) -> bool {
        self.leaves.contains(&pos)
    }

    /// Whether a task is expanded with its group.
    pub fn is_in_expanded_group(&self, pos: TaskPos) -> bool {
        group_of(self.task(pos)).is_some()
    }

    pub fn class(&self, pos: TaskPos) -> ClassId {
        self.classes[pos.0]
    }

    /// Everything that is reached from these tasks in one direction, they themselves not included unless reached.
    pub fn reached(&self, from: impl IntoIterator<Item = TaskPos>, direction: Direction) -> BTreeSet<TaskPos> {
        reached(&self.dag, from, direction)
    }

    /// The setups and teardowns that a clear of these tasks brings along.
    pub fn setups_along(&self, tasks: &[TaskPos], relatives: Relatives) -> BTreeSet<TaskPos> {
        setups_along(&self.dag, tasks, relatives)
    }

    /// The tasks that a branch's answer names: one task, or those at the head of a group.
    pub fn named(&self, id: &str) -> Option<Vec<TaskPos>> {
        if let Some(pos) = TaskId::new(id).ok().and_then(|id| self.position_of(&id)) {
            return Some(vec![pos]);
        }
        self.dag.groups.iter().any(|group| group.group_id == id).then(|| {
            let members: BTreeSet<TaskPos> =
                self.dag.positions().filter(|pos| is_in_group(self.task(*pos), id)).collect();
            let is_head = |pos: &TaskPos| self.task(*pos).upstream.iter().all(|before| !members.contains(before));
            members.iter().copied().filter(is_head).collect()
        })
    }
}

fn heeds_of(dag: &Dag) -> BTreeMap<TaskPos, Vec<(Heed, TaskPos)>> {
    if dag.tasks.iter().all(|task| task.phase.is_work()) {
        return BTreeMap::new();
    }
    let scopes = dag.scopes();
    let of = |pos: TaskPos| {
        let task = dag.task(pos);
        let is_indirect = |other: &TaskPos| task.upstream.binary_search(other).is_err();
        let heeds: Vec<(Heed, TaskPos)> = if task.phase.is_teardown() {
            let setups = task.upstream.iter().copied().filter(|before| dag.task(*before).phase.is_setup());
            let span = scopes.span(pos).filter(is_indirect);
            setups.map(|setup| (Heed::OwnSetup, setup)).chain(span.map(|other| (Heed::Span, other))).collect()
        } else {
            scopes.needs(pos).filter(is_indirect).map(|setup| (Heed::IndirectSetup, setup)).collect()
        };
        (!heeds.is_empty()).then_some((pos, heeds))
    };
    dag.positions().filter_map(of).collect()
}

/// The group that a task is expanded with.
fn group_of(task: &Task) -> Option<&str> {
    task.expand.as_ref()?.group.as_deref()
}

/// Whether a task asks for its previous run.
pub(crate) fn asks_past(task: &Task) -> bool {
    task.depends_on_past || task.wait_for_downstream
}

fn is_in_group(task: &Task, id: &str) -> bool {
    task.group
        .as_deref()
        .is_some_and(|group| group.strip_prefix(id).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}
