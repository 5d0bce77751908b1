//! Which tasks of which runs a command means.

use std::collections::BTreeSet;

use dag::TaskPos;
use model::{
    DagId, RunId, RunKey,
    command::{Relatives, TaskSelector},
};
use serde_json::{Value, json};

use super::command::Refusal;
pub(super) use crate::selection::Missing;
use crate::{Engine, memory::definition::Definition, selection::chosen};

/// The tasks of one run that are meant.
pub(super) type Chosen = (RunKey, BTreeSet<TaskPos>);

/// The tasks that are named, and those of their relatives that are asked for; all of them when none is named.
pub(super) fn select(
    def: &Definition,
    tasks: &[TaskSelector],
    relatives: Relatives,
    missing: Missing,
) -> Result<BTreeSet<TaskPos>, Refusal> {
    chosen(&def.dag, |task| def.position_of(task), tasks, relatives, missing)
        .map_err(|error| Refusal::NotFound(error.to_string()))
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
