//! Deletions of DAGs with a long history: it goes in small steps between turns, and what is left in the turn that answers.
//!
//! A step is taken only while nothing of the DAG is at work; else the engine refuses the command, with what is left of the
//! history. A leader that ends in between leaves the command in the inbox, and the next one goes on.

use std::collections::VecDeque;

use engine::Event;
use model::{Command, CommandId, DagId};
use store::{StoreError, maintenance::Swept};

use super::{announce::Announcement, batch::Batch, reign::Reign};

/// Deletions that wait, in the order in which they came. The inbox bounds them.
#[derive(Debug, Default)]
pub struct Deletions {
    waiting: VecDeque<Deletion>,
}

#[derive(Debug)]
struct Deletion {
    id: CommandId,
    by: String,
    dag_id: DagId,
}

impl Deletions {
    /// One more.
    pub fn add(&mut self, id: CommandId, by: String, dag_id: DagId) {
        self.waiting.push_back(Deletion { id, by, dag_id });
    }

    /// Whether there is something to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Reign {
    /// Takes a step of the first deletion; when no more are needed, the engine does the rest.
    pub(super) async fn go_on_deleting(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        let Some(Deletion { id, by, dag_id }) = self.deletions.waiting.pop_front() else { return Ok(()) };
        if self.engine.is_dag_idle(&dag_id)
            && store::maintenance::drop_ended_runs(&mut self.writer, self.epoch, &dag_id).await? == Swept::Some
        {
            self.deletions.waiting.push_front(Deletion { id, by, dag_id });
            self.announcer.send(Announcement::Changes(store::Changes::anything()));
            return Ok(());
        }
        batch.events.push(Event::Command { id, by, command: Command::DeleteDag { dag_id } });
        Ok(())
    }
}
