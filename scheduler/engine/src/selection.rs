//! Which tasks of a version a clear or a mark means. Pure, so that whoever only wants to know need not ask the leader.

use std::collections::BTreeSet;

use dag::{Dag, TaskPos};
use model::{
    MapIndex, TaskId, TaskState,
    command::{ClearOnly, Relatives, TaskSelector},
};

/// What becomes of a task that a version does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The command is refused.
    Refused,
    /// It is not meant there.
    PassedOver,
}

/// A task that a version does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Task with ID: `{0}` was not found in the run's DAG version")]
pub struct NoSuchTask(pub TaskId);

/// A way along the arrows of a DAG.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Upstream,
    Downstream,
}

/// The tasks that are named, and those of their relatives that are asked for; all of them when none is named.
///
/// # Errors
/// [`NoSuchTask`] when one is named that the version does not have, unless such ones are passed over.
pub fn chosen(
    dag: &Dag,
    position: impl Fn(&TaskId) -> Option<TaskPos>,
    tasks: &[TaskSelector],
    relatives: Relatives,
    missing: Missing,
) -> Result<BTreeSet<TaskPos>, NoSuchTask> {
    if tasks.is_empty() {
        return Ok(dag.positions().collect());
    }
    let mut named = BTreeSet::new();
    for selector in tasks {
        let exists = selector.map_index.is_none_or(|map| map == MapIndex::UNMAPPED);
        match (position(&selector.task_id).filter(|_| exists), missing) {
            (Some(pos), _) => drop(named.insert(pos)),
            (None, Missing::PassedOver) => {}
            (None, Missing::Refused) => return Err(NoSuchTask(selector.task_id.clone())),
        }
    }
    let mut all = named.clone();
    if relatives.upstream {
        all.extend(reached(dag, named.iter().copied(), Direction::Upstream));
    }
    if relatives.downstream {
        all.extend(reached(dag, named, Direction::Downstream));
    }
    Ok(all)
}

/// Whether a clear that is limited to some states means a task in this one.
#[must_use]
pub fn is_cleared(state: TaskState, only: ClearOnly) -> bool {
    match only {
        ClearOnly::All => true,
        ClearOnly::Failed => state.is_failed_like(),
        ClearOnly::Running => state == TaskState::Running,
    }
}

/// Everything that is reached from these tasks in one direction, they themselves not included unless reached.
pub(crate) fn reached(dag: &Dag, from: impl IntoIterator<Item = TaskPos>, direction: Direction) -> BTreeSet<TaskPos> {
    let mut open: Vec<TaskPos> = from.into_iter().collect();
    let mut found = BTreeSet::new();
    while let Some(pos) = open.pop() {
        let neighbours = match direction {
            Direction::Upstream => &dag.task(pos).upstream,
            Direction::Downstream => &dag.task(pos).downstream,
        };
        open.extend(neighbours.iter().copied().filter(|next| found.insert(*next)));
    }
    found
}
