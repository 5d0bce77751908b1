//! Deletion of one task instance: it is as if nothing had ever happened to it.
//!
//! What always holds: nothing at work is deleted, since its attempt would go on and report to an instance that knows nothing of
//! it. The run's version has the task still, so the instance itself stays, without a try: a run that goes on starts it as one that
//! has not run yet, a run that has ended stays ended.

use model::{TaskEvent, command::TaskInstanceName};
use serde_json::{Value, json};

use super::command::Refusal;
use crate::{
    Engine,
    memory::instance::{Core, Place},
    state::TiExtra,
};

impl Engine {
    /// Forgets everything that has happened to an instance.
    pub(super) fn delete_instance(&mut self, name: &TaskInstanceName) -> Result<Value, Refusal> {
        let place = self.instance_of(name)?;
        if self.core(place).live {
            let TaskInstanceName { run_id, task_id, .. } = name;
            return Err(Refusal::Conflict(format!(
                "The task instance {task_id} of the run {run_id} is at work: mark it as failed or success, and delete it when its \
                 attempt has ended"
            )));
        }
        self.forget(place);
        Ok(json!({}))
    }

    fn forget(&mut self, place: Place) {
        let key = self.known_run(place.run).key_of(place.at());
        self.forget_skips(place);
        if self.core(place) != Core::BLANK {
            self.write(place, |core| {
                core.step(TaskEvent::Cleared);
                *core = Core { state: core.state, ..Core::BLANK };
            });
        }
        self.write_extra(place, |extra| *extra = TiExtra::default());
        self.draft.plan.tries.retain(|row| row.key != key);
        self.draft.plan.xcoms_deleted.retain(|(of, _)| *of != key);
        self.draft.drop_xcoms(key);
        self.draft.plan.forgotten.push(key);
    }
}
