//! A second scheduler: the text of the semantics, word for word, over all tasks of a run each time.
//!
//! It knows no counters and no queues. What it shares with the engine is the definition of a DAG and nothing else.

use std::collections::BTreeMap;

use dag::{Dag, TaskPos};
use model::{DagRunState, Operator, TaskState, TriggerRule};

/// A run with a state for each task; everything between scheduled and running is `running`.
#[derive(Debug, Clone)]
pub struct Reference {
    dag: Dag,
    pub states: Vec<TaskState>,
    pub run: DagRunState,
}

impl Reference {
    pub fn new(dag: &Dag) -> Self {
        let mut reference =
            Self { dag: dag.clone(), states: vec![TaskState::NoStatus; dag.tasks.len()], run: DagRunState::Running };
        reference.settle();
        reference
    }

    /// An attempt has ended; `again` when a retry follows at once.
    pub fn ended(&mut self, task: &str, state: TaskState) {
        let pos = self.dag.tasks.iter().position(|other| other.task_id.as_str() == task).unwrap();
        self.states[pos] = state;
        self.settle();
    }

    /// Tasks that would be at work, by name.
    pub fn named(&self) -> BTreeMap<String, TaskState> {
        self.dag.tasks.iter().zip(&self.states).map(|(task, state)| (task.task_id.to_string(), *state)).collect()
    }

    fn settle(&mut self) {
        if self.run.is_finished() {
            return;
        }
        loop {
            // The finished set is taken once, at the start of the pass.
            let seen = self.states.clone();
            for pos in 0..seen.len() {
                if seen[pos] == TaskState::NoStatus
                    && let Some(next) = self.verdict(TaskPos(pos), &seen)
                {
                    self.states[pos] = next;
                }
            }
            if self.states == seen && !self.end_empty_ones() {
                break;
            }
        }
        self.end_run();
    }

    fn end_empty_ones(&mut self) -> bool {
        let mut any = false;
        for (task, state) in self.dag.tasks.iter().zip(&mut self.states) {
            if *state == TaskState::Running && matches!(task.operator, Operator::Empty) {
                (*state, any) = (TaskState::Success, true);
            }
        }
        any
    }

    fn end_run(&mut self) {
        let bad = |state: &TaskState| matches!(state, TaskState::Failed | TaskState::UpstreamFailed);
        let over = |state: &TaskState| {
            bad(state) || matches!(state, TaskState::Success | TaskState::Skipped | TaskState::Removed)
        };
        if self.states.iter().all(over) {
            let mut leaves = self.dag.tasks.iter().zip(&self.states).filter(|(task, _)| task.downstream.is_empty());
            self.run = if leaves.any(|(_, state)| bad(state)) { DagRunState::Failed } else { DagRunState::Success };
        } else if !self.states.contains(&TaskState::Running) {
            self.run = DagRunState::Failed;
        }
    }

    /// The state that the rule's row in the table gives; `running` for "runs", none for "wait".
    fn verdict(&self, pos: TaskPos, seen: &[TaskState]) -> Option<TaskState> {
        use TaskState::{Failed, Removed, Running, Skipped, Success, UpstreamFailed};
        let task = self.dag.task(pos);
        let before: Vec<TaskState> = task.upstream.iter().map(|pos| seen[pos.0]).collect();
        let any = |wanted: &[TaskState]| before.iter().any(|state| wanted.contains(state));
        let only = |wanted: &[TaskState]| before.iter().all(|state| wanted.contains(state));
        let over = only(&[Success, Failed, Skipped, UpstreamFailed, Removed]);
        if before.is_empty() {
            return Some(Running);
        }
        match task.trigger_rule {
            TriggerRule::Always => Some(Running),
            TriggerRule::AllSuccess if any(&[Failed, UpstreamFailed]) => Some(UpstreamFailed),
            TriggerRule::AllSuccess if any(&[Skipped]) => Some(Skipped),
            TriggerRule::AllSuccess => only(&[Success, Removed]).then_some(Running),
            TriggerRule::AllFailed if any(&[Success, Skipped]) => Some(Skipped),
            TriggerRule::AllFailed => only(&[Failed, UpstreamFailed, Removed]).then_some(Running),
            TriggerRule::AllDone => over.then_some(Running),
            TriggerRule::AllDoneMinOneSuccess if any(&[Skipped]) => Some(Skipped),
            TriggerRule::AllDoneMinOneSuccess if over && !any(&[Success]) => Some(UpstreamFailed),
            TriggerRule::AllDoneMinOneSuccess => over.then_some(Running),
            // Without setups it is all_done.
            TriggerRule::AllDoneSetupSuccess => over.then_some(Running),
            TriggerRule::OneSuccess if any(&[Success]) => Some(Running),
            TriggerRule::OneSuccess if only(&[Skipped]) => Some(Skipped),
            TriggerRule::OneSuccess => over.then_some(UpstreamFailed),
            TriggerRule::OneFailed if any(&[Failed, UpstreamFailed]) => Some(Running),
            TriggerRule::OneFailed => over.then_some(Skipped),
            TriggerRule::OneDone if any(&[Success, Failed]) => Some(Running),
            TriggerRule::OneDone => over.then_some(Skipped),
            TriggerRule::NoneFailed if any(&[Failed, UpstreamFailed]) => Some(UpstreamFailed),
            TriggerRule::NoneFailed => over.then_some(Running),
            TriggerRule::NoneFailedMinOneSuccess if any(&[Failed, UpstreamFailed]) => Some(UpstreamFailed),
            TriggerRule::NoneFailedMinOneSuccess if only(&[Skipped]) => Some(Skipped),
            TriggerRule::NoneFailedMinOneSuccess if over && !any(&[Success]) => Some(UpstreamFailed),
            TriggerRule::NoneFailedMinOneSuccess => over.then_some(Running),
            TriggerRule::NoneSkipped if any(&[Skipped]) => Some(Skipped),
            TriggerRule::NoneSkipped => over.then_some(Running),
            TriggerRule::AllSkipped if any(&[Success, Failed, UpstreamFailed]) => Some(Skipped),
            TriggerRule::AllSkipped => only(&[Skipped, Removed]).then_some(Running),
        }
    }
}
