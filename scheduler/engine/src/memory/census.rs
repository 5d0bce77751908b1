//! How many instances in memory are in each state, for those who watch.

use model::TaskState;

const STATES: usize = TaskState::ALL.len();

/// A number for each state; it moves with every change of an instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Census([u32; STATES]);

impl Census {
    pub fn add(&mut self, state: TaskState) {
        self.0[state as usize] += 1;
    }

    pub fn remove(&mut self, state: TaskState) {
        self.0[state as usize] -= 1;
    }

    pub fn set(&mut self, state: TaskState, count: u32) {
        self.0[state as usize] = count;
    }

    pub fn of(&self, state: TaskState) -> u32 {
        self.0[state as usize]
    }
}
