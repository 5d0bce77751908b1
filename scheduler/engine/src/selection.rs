//! Which tasks of a version a clear or a mark means. Pure, so that whoever only wants to know need not ask the leader.

use std::collections::{BTreeMap, BTreeSet};

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

/// Which instances of a task are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Maps {
    /// All that there are.
    All,
    /// These.
    Some(BTreeSet<MapIndex>),
}

/// Tasks, and which of their instances are meant.
pub type Chosen = BTreeMap<TaskPos, Maps>;

/// What tasks are chosen for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To run again: with what they need, and with what takes that away.
    Clear,
    /// To be set to a state: what they need stays as it is, and teardowns behind them are left to run.
    Mark,
}

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
    (relatives, purpose): (Relatives, Purpose),
    missing: Missing,
) -> Result<Chosen, NoSuchTask> {
    if tasks.is_empty() {
        return Ok(dag.positions().map(|pos| (pos, Maps::All)).collect());
    }
    let mut named = Chosen::new();
    for selector in tasks {
        let may_have = |pos: &TaskPos| {
            dag.task(*pos).expand.is_some() || selector.map_index.is_none_or(|map| map == MapIndex::UNMAPPED)
        };
        match (position(&selector.task_id).filter(may_have), missing) {
            (Some(pos), _) => {
                match (named.entry(pos).or_insert_with(|| Maps::Some(BTreeSet::new())), selector.map_index) {
                    (Maps::Some(maps), Some(map)) => drop(maps.insert(map)),
                    (Maps::All, Some(_)) => {}
                    (all, None) => *all = Maps::All,
                }
            }
            (None, Missing::PassedOver) => {}
            (None, Missing::Refused) => return Err(NoSuchTask(selector.task_id.clone())),
        }
    }
    let tasks: Vec<TaskPos> = named.keys().copied().collect();
    let mut found = BTreeSet::new();
    if relatives.upstream {
        found.extend(reached(dag, tasks.iter().copied(), Direction::Upstream));
    }
    if relatives.downstream {
        let behind = reached(dag, tasks.iter().copied(), Direction::Downstream);
        let is_left = |pos: &TaskPos| purpose == Purpose::Mark && dag.task(*pos).phase.is_teardown();
        found.extend(behind.into_iter().filter(|pos| !is_left(pos)));
    }
    if purpose == Purpose::Clear {
        found.extend(setups_along(dag, &tasks, relatives));
    }
    let alike = of_one_group(dag, &named);
    for pos in found {
        let maps = match &alike {
            Some((group, maps)) if group_of(dag, pos) == Some(group) => Maps::Some(maps.clone()),
            _ => Maps::All,
        };
        named.entry(pos).or_insert(maps);
    }
    Ok(named)
}

/// The expanded group that a task is in.
fn group_of(dag: &Dag, pos: TaskPos) -> Option<&str> {
    dag.task(pos).expand.as_ref()?.group.as_deref()
}

/// The expanded group that all of these tasks are in, with the indexes that are meant of them; none when they are not in one, or
/// some are meant whole. Within the group an instance has those of its own index for relatives, as in Airflow.
fn of_one_group<'d>(dag: &'d Dag, named: &Chosen) -> Option<(&'d str, BTreeSet<MapIndex>)> {
    let group = group_of(dag, *named.keys().next()?)?;
    let mut meant = BTreeSet::new();
    for (pos, maps) in named {
        match maps {
            Maps::Some(maps) if group_of(dag, *pos) == Some(group) => meant.extend(maps),
            Maps::Some(_) | Maps::All => return None,
        }
    }
    Some((group, meant))
}

/// The setups that these tasks, and those behind them that are meant, need to run again, and the teardowns of all setups
/// among them: what is set up anew is taken away again. As in Airflow, a setup or a teardown itself brings none of those along
/// that it lies between, unless what is before it is meant.
pub(crate) fn setups_along(dag: &Dag, tasks: &[TaskPos], relatives: Relatives) -> BTreeSet<TaskPos> {
    if dag.tasks.iter().all(|task| task.phase.is_work()) {
        return BTreeSet::new();
    }
    let scopes = dag.scopes();
    let is_setup = |pos: &TaskPos| dag.task(*pos).phase.is_setup();
    let behind = match relatives.downstream {
        true => reached(dag, tasks.iter().copied(), Direction::Downstream),
        false => BTreeSet::new(),
    };
    let before = match relatives.upstream {
        true => reached(dag, tasks.iter().copied(), Direction::Upstream),
        false => BTreeSet::new(),
    };
    let needing = tasks.iter().filter(|_| !relatives.upstream).chain(&behind);
    let needing = needing.filter(|pos| dag.task(**pos).phase.is_work());
    let mut setups: BTreeSet<TaskPos> = needing.flat_map(|pos| scopes.needs(*pos)).collect();
    setups.extend(before.into_iter().filter(is_setup));
    let chosen = tasks.iter().copied().filter(|pos| is_setup(pos) && !relatives.downstream);
    let teardowns: Vec<TaskPos> =
        setups.iter().copied().chain(chosen).flat_map(|setup| dag.teardowns_after(setup)).collect();
    setups.extend(teardowns);
    setups
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
