//! The operator `external_task_sensor`: a run of another DAG for the same date, or tasks of it.

use futures::{FutureExt as _, future::BoxFuture};
use link::{FetchItem, FetchKey, RunView, WhichRun};
use model::{DagRunState, TaskState, Timestamp, operator::ExternalTaskSensor};

use super::{Found, Sight, unless_stopped, watch};
use crate::{Attempt, Executor, Outcome, Stop};

/// Waits for another DAG.
pub(crate) struct ExternalTaskSensorExecutor {
    keys: ExternalTaskSensor,
}

struct Elsewhere<'k> {
    keys: &'k ExternalTaskSensor,
    date: Timestamp,
}

impl ExternalTaskSensorExecutor {
    /// An executor for one task.
    pub(crate) fn new(keys: ExternalTaskSensor) -> Self {
        Self { keys }
    }

    async fn outcome(&self, attempt: &Attempt, stop: &Stop) -> Result<Outcome, Outcome> {
        let delta = std::time::Duration::try_from_secs_f64(self.keys.execution_delta_secs).unwrap_or_default();
        let delta = chrono::TimeDelta::from_std(delta).unwrap_or_default();
        let Some(date) = attempt.assignment.context.logical_date else {
            return Err(Outcome::failed_for_good(
                "its run has no logical date, by which the run of the other DAG would be found",
            ));
        };
        let mut elsewhere = Elsewhere { keys: &self.keys, date: date - delta };
        Ok(watch(&mut elsewhere, &self.keys.poking, attempt, stop).await)
    }
}

impl Executor for ExternalTaskSensorExecutor {
    fn run<'a>(&'a self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Outcome> {
        self.outcome(attempt, stop).map(|outcome| outcome.unwrap_or_else(|outcome| outcome)).boxed()
    }
}

impl Elsewhere<'_> {
    async fn ask(&self, attempt: &Attempt) -> Result<Found, Outcome> {
        let key = FetchKey::Run {
            dag_id: self.keys.external_dag_id.clone(),
            which: WhichRun::LogicalDate(self.date),
            tasks: self.keys.external_task_ids.clone(),
        };
        match attempt.host.fetch(key).await {
            FetchItem::Run(run) => self.judge(&run),
            FetchItem::Missing(detail) => Ok(Found::NotYet(detail)),
            FetchItem::Refused(detail) if self.keys.check_existence => Err(Outcome::failed_for_good(detail)),
            FetchItem::Refused(detail) => Ok(Found::NotYet(detail)),
            other => Err(Outcome::failed(other.misfit())),
        }
    }

    fn judge(&self, run: &RunView) -> Result<Found, Outcome> {
        let states = self.states(run)?;
        let in_any = |wanted: &[TaskState]| states.iter().find(|(_, state)| wanted.contains(state));
        let name = |what: &str, state: TaskState| format!("{what} of {} is {state}", self.keys.external_dag_id);
        if let Some((what, state)) = in_any(&self.keys.failed_states) {
            return Err(Outcome::failed_for_good(format!("{}, one of failed_states", name(what, *state))));
        }
        if let Some((what, state)) = in_any(&self.keys.skipped_states) {
            return Err(Outcome::skipped(format!("{}, one of skipped_states", name(what, *state))));
        }
        match states.iter().find(|(_, state)| !self.keys.allowed_states.contains(state)) {
            Some((what, state)) => Ok(Found::NotYet(name(what, *state))),
            None => Ok(Found::There(format!("run {} of {} is as wanted", run.run_id, self.keys.external_dag_id))),
        }
    }

    /// What was asked for, by name, with its state: the run, or each task.
    fn states(&self, run: &RunView) -> Result<Vec<(String, TaskState)>, Outcome> {
        if self.keys.external_task_ids.is_empty() {
            return Ok(vec![(format!("run {}", run.run_id), of_run(run.state))]);
        }
        let mut states = Vec::new();
        for task in &self.keys.external_task_ids {
            match run.tasks.get(task) {
                Some(state) => states.push((format!("task {task} in run {}", run.run_id), *state)),
                None if self.keys.check_existence => {
                    let dag = &self.keys.external_dag_id;
                    return Err(Outcome::failed_for_good(format!("DAG {dag} has no task {task}")));
                }
                None => states.push((format!("task {task}, which is not there,"), TaskState::NoStatus)),
            }
        }
        Ok(states)
    }
}

impl Sight for Elsewhere<'_> {
    fn look<'a>(&'a mut self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Result<Found, Outcome>> {
        unless_stopped(stop, self.ask(attempt)).boxed()
    }
}

/// A run's state among those of tasks.
fn of_run(state: DagRunState) -> TaskState {
    match state {
        DagRunState::Queued => TaskState::Queued,
        DagRunState::Running => TaskState::Running,
        DagRunState::Success => TaskState::Success,
        DagRunState::Failed => TaskState::Failed,
    }
}
