//! What a turn owes to the outside: a notification for each callback of an event, with an id of its own.
//!
//! An event is noted where the state changes that it is about, once, in the turn that stores the change. A turn that is not
//! stored owes nothing, and is decided again.

use dag::TaskPos;
use model::{Callback, CallbackEvent, RunKey, TaskState};

use crate::{
    Engine, NotificationRow, NotifiedTask,
    memory::{
        instance::{Place, TiPos},
        run::Run,
    },
};

/// Why a run has ended, in Airflow's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunReason {
    /// All leaves have succeeded.
    Success,
    /// A task has failed.
    TaskFailure,
    /// What is unfinished can never run.
    Deadlocked,
    /// It took longer than it may.
    TimedOut,
    /// A newer one was due, and its DAG lets only one be active.
    Cancelled,
}

impl RunReason {
    const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::TaskFailure => "task_failure",
            Self::Deadlocked => "all_tasks_deadlocked",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
        }
    }

    const fn event(self) -> CallbackEvent {
        match self {
            Self::Success => CallbackEvent::DagSuccess,
            Self::TaskFailure | Self::Deadlocked | Self::TimedOut | Self::Cancelled => CallbackEvent::DagFailure,
        }
    }
}

impl Engine {
    /// A task has come to something.
    pub(super) fn owe_for_task(&mut self, place: Place, event: CallbackEvent, reason: &str) {
        let run = self.known_run(place.run);
        if run.def.task(place.task).callbacks.is_empty() {
            return;
        }
        let kinds = kinds(run.def.dag.callbacks_at(event, Some(place.task), 0));
        let reason = (!reason.is_empty()).then_some(reason);
        self.owe(place.run, (event, kinds), Some(place.at()), reason);
    }

    /// A run has ended by itself.
    pub(super) fn owe_for_run(&mut self, key: RunKey, why: RunReason) {
        let run = self.known_run(key);
        let kinds = kinds(run.def.dag.callbacks_at(why.event(), None, 0));
        if !kinds.is_empty() {
            let about = telling_task(run, why);
            self.owe(key, (why.event(), kinds), about, Some(why.name()));
        }
    }

    fn owe(
        &mut self,
        key: RunKey,
        (event, kinds): (CallbackEvent, Vec<String>),
        about: Option<TiPos>,
        reason: Option<&str>,
    ) {
        for (position, kind) in (0_i16..).zip(kinds) {
            let id = self.draft.notification_id();
            let run = self.known_run(key);
            let task = about.map(|at| NotifiedTask {
                key: run.key_of(at),
                task_id: run.def.task(at.task).task_id.clone(),
                try_number: run.instance(at).core.try_number,
                max_tries: run.max_tries(at),
            });
            let row = NotificationRow {
                id,
                dag_id: run.row.dag_id.clone(),
                run: key,
                run_id: run.row.run_id.clone(),
                version: run.row.version,
                event,
                position,
                kind,
                deadline: None,
                task,
                reason: reason.map(str::to_owned),
                at: self.now,
            };
            self.draft.plan.notifications.push(row);
        }
    }
}

fn kinds(callbacks: &[Callback]) -> Vec<String> {
    callbacks.iter().map(|callback| callback.kind().to_owned()).collect()
}

/// The instance that the context of a run's callback is about: the one that failed first, else the last one.
fn telling_task(run: &Run, why: RunReason) -> Option<TiPos> {
    let failed = || {
        let failed = run.all().filter(|at| run.state(*at).is_failed_like());
        failed.min_by_key(|at| (run.state(*at) != TaskState::Failed, run.instance(*at).core.ended_at, *at))
    };
    let last = || {
        let at = run.def.dag.tasks.len().checked_sub(1).map(|pos| TiPos::whole(TaskPos(pos)));
        at.filter(|at| run.has(*at)).or_else(|| run.all().last())
    };
    match why {
        RunReason::TaskFailure | RunReason::TimedOut | RunReason::Cancelled => failed().or_else(last),
        RunReason::Success | RunReason::Deadlocked => last(),
    }
}
