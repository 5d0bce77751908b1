//! Marks: somebody sets task instances, or a run, to a state.

use std::collections::BTreeSet;

use dag::TaskPos;
use model::{
    DagId, DagRunEvent, DagRunState, RunId, RunKey, TaskState,
    command::{ClearEffect, EndedRuns, MarkTaskInstances, Relatives},
    task::Mark,
};
use serde_json::{Value, json};

use super::{command::Refusal, deadline::Which, selection::Purpose};
use crate::{
    Engine,
    memory::{
        definition::Direction,
        instance::{Place, TiPos},
        run::is_pending,
    },
};

/// What the log of a stopped attempt says.
const MARKED: &str = "it was set to a final state by hand";

impl Engine {
    /// Sets tasks to a final state. What failed behind them is cleared, so that the run goes on, as in Airflow.
    pub(super) fn mark_tasks(&mut self, command: &MarkTaskInstances) -> Result<Value, Refusal> {
        let mark = mark_of(command.state)?;
        let keys = self.find_runs(&command.dag_id, command.runs())?;
        if command.tasks.is_empty() {
            return Err(Refusal::Invalid("name the tasks to set, or set the whole run".to_owned()));
        }
        let chosen = self.select_in(&keys, &command.tasks, (command.relatives, Purpose::Mark))?;
        let mut changing = chosen.clone();
        for (key, tasks) in &mut changing {
            tasks.retain(|at| self.known_run(*key).state(*at) != state_of(mark));
        }
        let listed = self.listed(&changing);
        if command.effect == ClearEffect::Apply {
            for ((key, all), (_, tasks)) in chosen.iter().zip(&changing) {
                self.mark_in(*key, all, tasks, mark);
            }
        }
        Ok(listed)
    }

    /// Sets those tasks of a run that are not in the state yet.
    fn mark_in(&mut self, key: RunKey, chosen: &BTreeSet<TiPos>, changing: &BTreeSet<TiPos>, mark: Mark) {
        for at in changing {
            self.set_final(self.known_run(key).place(*at), mark, MARKED);
        }
        let stuck = self.failed_behind(key, chosen);
        if !stuck.is_empty() {
            self.clear_tasks(key, &stuck, EndedRuns::GoOn);
        }
    }

    fn failed_behind(&self, key: RunKey, chosen: &BTreeSet<TiPos>) -> BTreeSet<TiPos> {
        let run = self.known_run(key);
        let tasks: BTreeSet<TaskPos> = chosen.iter().map(|at| at.task).collect();
        let behind = run.def.reached(tasks.iter().copied(), Direction::Downstream);
        let downstream = Relatives { upstream: false, downstream: true };
        let along = run.def.setups_along(&tasks.into_iter().collect::<Vec<_>>(), downstream);
        let instances = behind.union(&along).flat_map(|pos| run.all_of(*pos));
        instances.filter(|at| !chosen.contains(at) && run.state(*at).is_failed_like()).collect()
    }

    /// Sets a run to a state: success and failed end it, queued lets it be looked at again.
    pub(super) fn mark_run(&mut self, dag: &DagId, run: &RunId, state: DagRunState) -> Result<Value, Refusal> {
        if state == DagRunState::Running {
            return Err(Refusal::Invalid("a run can be set to queued, success or failed, not to running".to_owned()));
        }
        let key = self.find_run(dag, run).ok_or_else(|| Refusal::no_run(dag, run))?;
        match state {
            DagRunState::Success => self.end_by_hand(key, Mark::Success, DagRunEvent::MarkedSuccess),
            DagRunState::Failed => self.end_by_hand(key, Mark::Failed, DagRunEvent::MarkedFailed),
            DagRunState::Queued | DagRunState::Running => self.queue_again(key),
        }
        Ok(json!({}))
    }

    /// What runs takes the run's state, what has not begun is skipped, what is finished stays.
    ///
    /// Teardowns that have something to take away are left to run; the run goes on for them, and ends as its leaves do.
    fn end_by_hand(&mut self, key: RunKey, mark: Mark, event: DagRunEvent) {
        let is_over = self.known_run(key).row.state.is_finished();
        let phase = |engine: &Self, place: &Place| engine.known_run(key).def.task(place.task).phase;
        let unfinished = self.unfinished_tasks(key).into_iter();
        let (teardowns, others): (Vec<Place>, Vec<Place>) =
            unfinished.partition(|place| phase(self, place).is_teardown() && !is_over);
        for place in others {
            self.set_final(place, mark_by_run(self.core(place).state, mark), MARKED);
        }
        // What may still run by what is over now; a teardown may itself be between another one and its setups.
        let (needed, idle): (Vec<Place>, Vec<Place>) = teardowns.into_iter().partition(|place| self.is_needed(*place));
        for place in idle {
            self.set_final(place, mark_by_run(self.core(place).state, mark), MARKED);
        }
        if needed.is_empty() {
            self.end_run(key, event);
        }
    }

    /// Whether a teardown is at work, or will be: it has no setup, or one that has succeeded.
    fn is_needed(&self, teardown: Place) -> bool {
        let run = self.known_run(teardown.run);
        let setups = run.case(teardown.at()).setups;
        is_pending(run.state(teardown.at())) || setups.total == 0 || setups.success > 0
    }

    fn queue_again(&mut self, key: RunKey) {
        if self.known_run(key).row.state == DagRunState::Queued {
            return;
        }
        // Nothing of a queued run starts.
        self.withdraw_all(key);
        self.change_run(key, DagRunEvent::Cleared);
        let now = self.now;
        let run = self.known_run_mut(key);
        run.row.queued_at = now;
        (run.row.started_at, run.row.ended_at) = (None, None);
        let dag_id = run.row.dag_id.clone();
        self.unserved.insert(dag_id);
        self.set_deadlines(key, Which::Queued);
    }
}

fn mark_of(state: TaskState) -> Result<Mark, Refusal> {
    match state {
        TaskState::Success => Ok(Mark::Success),
        TaskState::Failed => Ok(Mark::Failed),
        TaskState::Skipped => Ok(Mark::Skipped),
        TaskState::NoStatus
        | TaskState::Scheduled
        | TaskState::Queued
        | TaskState::Running
        | TaskState::UpstreamFailed
        | TaskState::Removed
        | TaskState::Restarting
        | TaskState::UpForRetry
        | TaskState::UpForReschedule
        | TaskState::Deferred
        | TaskState::AwaitingInput => {
            Err(Refusal::Invalid(format!("a task can be set to success, failed or skipped, not to {state}")))
        }
    }
}

fn state_of(mark: Mark) -> TaskState {
    match mark {
        Mark::Success => TaskState::Success,
        Mark::Failed => TaskState::Failed,
        Mark::Skipped => TaskState::Skipped,
    }
}

/// What the end of a run makes of a task.
fn mark_by_run(state: TaskState, mark: Mark) -> Mark {
    match state {
        TaskState::Running
        | TaskState::Restarting
        | TaskState::Deferred
        | TaskState::UpForReschedule
        | TaskState::AwaitingInput => mark,
        TaskState::NoStatus
        | TaskState::Scheduled
        | TaskState::Queued
        | TaskState::UpForRetry
        | TaskState::Success
        | TaskState::Failed
        | TaskState::Skipped
        | TaskState::UpstreamFailed
        | TaskState::Removed => Mark::Skipped,
    }
}
