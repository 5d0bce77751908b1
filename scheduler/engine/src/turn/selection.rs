//! Which tasks of which runs a command means.

use std::collections::BTreeSet;

use model::{
    DagId, MapIndex, RunId, RunKey,
    command::{Relatives, TaskSelector},
};
use serde_json::{Value, json};

use super::command::Refusal;
pub(super) use crate::selection::{Missing, Purpose};
use crate::{
    Engine,
    memory::{definition::Definition, instance::TiPos, run::Run},
    selection::{Chosen as Named, Maps, NoSuchTask, chosen},
};

/// The instances of one run that are meant.
pub(super) type Chosen = (RunKey, BTreeSet<TiPos>);

/// The tasks that are named, and those of their relatives that are asked for; all of them when none is named.
pub(super) fn names(
    def: &Definition,
    tasks: &[TaskSelector],
    along: (Relatives, Purpose),
    missing: Missing,
) -> Result<Named, Refusal> {
    chosen(&def.dag, |task| def.position_of(task), tasks, along, missing)
        .map_err(|error| Refusal::NotFound(error.to_string()))
}

/// The instances of a run that are named, and those of their tasks' relatives.
pub(super) fn select(
    run: &Run,
    tasks: &[TaskSelector],
    along: (Relatives, Purpose),
    missing: Missing,
) -> Result<BTreeSet<TiPos>, Refusal> {
    let mut found = BTreeSet::new();
    for (task, maps) in names(&run.def, tasks, along, missing)? {
        match maps {
            Maps::All => found.extend(run.all_of(task)),
            Maps::Some(maps) => {
                for map in maps {
                    let at = TiPos { task, map };
                    if run.has(at) {
                        found.insert(at);
                    } else if missing == Missing::Refused {
                        return Err(no_such_instance(run, task, map));
                    }
                }
            }
        }
    }
    Ok(found)
}

fn no_such_instance(run: &Run, task: dag::TaskPos, map: MapIndex) -> Refusal {
    let id = &run.def.task(task).task_id;
    let mapped = run.expansions.get(&task).map(|expansion| expansion.instances.len());
    Refusal::NotFound(match mapped {
        _ if run.def.task(task).expand.is_none() => NoSuchTask(id.clone()).to_string(),
        Some(count) => format!("the task {id} has the map indexes 0 to {} in the run, and not {map}", count - 1),
        None => format!("the task {id} is not expanded yet in the run: it has no instance {map}"),
    })
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
        along: (Relatives, Purpose),
    ) -> Result<Vec<Chosen>, Refusal> {
        let missing = std::iter::once(Missing::Refused).chain(std::iter::repeat(Missing::PassedOver));
        let of_run =
            |(key, missing): (&RunKey, Missing)| Ok((*key, select(self.known_run(*key), tasks, along, missing)?));
        keys.iter().zip(missing).map(of_run).collect()
    }

    /// The answer that names what is meant.
    pub(super) fn listed(&self, chosen: &[Chosen]) -> Value {
        let all = chosen.iter().flat_map(|(key, tasks)| tasks.iter().map(|at| (self.known_run(*key), *at)));
        let listed: Vec<Value> = all
            .map(|(run, at)| {
                json!({
                    "run_id": run.row.run_id, "task_id": run.def.task(at.task).task_id, "map_index": at.map,
                })
            })
            .collect();
        json!({ "task_instances": listed })
    }
}
