//! Which tasks of a run a command means.

use std::collections::BTreeSet;

use dag::TaskPos;
use model::{
    MapIndex,
    command::{Relatives, TaskSelector},
};

use super::command::Refusal;
use crate::memory::{definition::Direction, run::Run};

impl Run {
    /// The tasks that are named, and those of their relatives that are asked for; all of them when none is named.
    pub(super) fn select(&self, tasks: &[TaskSelector], relatives: Relatives) -> Result<BTreeSet<TaskPos>, Refusal> {
        if tasks.is_empty() {
            return Ok(self.def.dag.positions().collect());
        }
        let mut chosen = BTreeSet::new();
        for selector in tasks {
            let pos = self.def.position_of(&selector.task_id);
            let exists = selector.map_index.is_none_or(|map| map == MapIndex::UNMAPPED);
            let pos = pos.filter(|_| exists).ok_or_else(|| {
                Refusal::NotFound(format!(
                    "Task with ID: `{}` was not found in the run's DAG version",
                    selector.task_id
                ))
            })?;
            chosen.insert(pos);
        }
        let mut all = chosen.clone();
        if relatives.upstream {
            all.extend(self.def.reached(chosen.iter().copied(), Direction::Upstream));
        }
        if relatives.downstream {
            all.extend(self.def.reached(chosen, Direction::Downstream));
        }
        Ok(all)
    }
}
