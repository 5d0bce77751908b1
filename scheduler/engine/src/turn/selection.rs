//! Which tasks of which runs a command means.

use std::collections::BTreeSet;

use dag::TaskPos;
use model::{
    DagId, MapIndex, RunId, RunKey,
    command::{Relatives, TaskSelector},
};
use serde_json::{Value, json};

use super::command::Refusal;
use crate::{
    Engine,
    memory::definition::{Definition, Direction},
};

/// What becomes of a task that a version does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// The command is refused.
    Refused,
    /// It is not meant there.
    PassedOver,
}

/// The tasks of one run that are meant.
pub(super) type Chosen = (RunKey, BTreeSet<TaskPos>);

/// The tasks that are named, and those of their relatives that are asked for; all of them when none is named.
pub(super) fn select(
    def: &Definition,
    tasks: &[TaskSelector],
    relatives: Relatives,
    missing: Missing,
) -> Result<BTreeSet<TaskPos>, Refusal> {
    if tasks.is_empty() {
        return Ok(def.dag.positions().collect());
    }
    let mut chosen = BTreeSet::new();
    for selector in tasks {
        let exists = selector.map_index.is_none_or(|map| map == MapIndex::UNMAPPED);
        match (def.position_of(&selector.task_id).filter(|_| exists), missing) {
            (Some(pos), _) => drop(chosen.insert(pos)),
            (None, Missing::PassedOver) => {}
            (None, Missing::Refused) => {
                return Err(Refusal::NotFound(format!(
                    "Task with ID: `{}` was not found in the run's DAG version",
                    selector.task_id
                )));
            }
        }
    }
    let mut all = chosen.clone();
    if relatives.upstream {
        all.extend(def.reached(chosen.iter().copied(), Direction::Upstream));
    }
    if relatives.downstream {
        all.extend(def.reached(chosen, Direction::Downstream));
    }
    Ok(all)
}

impl Engine {
    /// Runs of a DAG, each once, brought into memory where they are not there.
    pub(super) fn find_runs<'r>(
        &mut self,
        dag: &DagId,
        runs: impl Iterator<Item = &'r RunId>,
    ) -> Result<Vec<RunKey>, Refusal> {
        let mut keys = Vec::new();
        for run in runs {
            let key = self.find_run(dag, run).ok_or_else(|| Refusal::no_run(dag, run))?;
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    /// The tasks that are meant in each of these runs. The first one has to have them; the others need not.
    pub(super) fn select_in(
        &self,
        keys: &[RunKey],
        tasks: &[TaskSelector],
        relatives: Relatives,
    ) -> Result<Vec<Chosen>, Refusal> {
        let missing = std::iter::once(Missing::Refused).chain(std::iter::repeat(Missing::PassedOver));
        let of_run = |(key, missing): (&RunKey, Missing)| {
            Ok((*key, select(&self.known_run(*key).def, tasks, relatives, missing)?))
        };
        keys.iter().zip(missing).map(of_run).collect()
    }

    /// The answer that names what is meant.
    pub(super) fn listed(&self, chosen: &[Chosen]) -> Value {
        let all = chosen.iter().flat_map(|(key, tasks)| tasks.iter().map(|pos| (self.known_run(*key), *pos)));
        let listed: Vec<Value> = all
            .map(|(run, pos)| {
                json!({
                    "run_id": run.row.run_id, "task_id": run.def.task(pos).task_id, "map_index": run.key_of(pos).map,
                })
            })
            .collect();
        json!({ "task_instances": listed })
    }
}
