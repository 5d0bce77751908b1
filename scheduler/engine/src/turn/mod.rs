//! A turn: timers that are due, then the events one after the other, each to its fixpoint, then slots, once.
//!
//! Memory moves ahead of the store; the plan says what has to be stored for both to be equal again.

mod attempt;
mod clear;
mod command;
mod delete;
mod end;
mod finish;
mod granting;
mod mark;
mod note;
mod schedule;
mod selection;
mod settle;
mod skip;
mod trigger;
mod worker;

use chrono::SubsecRound;
use model::{DagRunState, TaskState, Timestamp};

pub(crate) use granting::Blocked;
pub(crate) use schedule::active_runs_max;
pub(crate) use settle::Past;

use crate::{
    Engine, Event, Input, Plan, Rest,
    memory::{draft::Draft, timers::Timer},
};

impl Engine {
    /// Decides what follows from a turn's events. When the plan can not be stored, this engine is worthless: load anew.
    pub fn turn(&mut self, input: Input) -> Plan {
        self.now = self.now.max(input.now.trunc_subsecs(6));
        self.draft = Draft::new(input.seed, input.run_keys);
        self.use_previous_runs();
        self.fire_timers();
        self.settle();
        for event in input.events {
            self.handle(event);
            self.settle();
        }
        loop {
            self.serve_dags();
            self.grant();
            if self.unsettled.is_empty() || self.draft.is_full() {
                break;
            }
            self.settle();
        }
        self.finish()
    }

    /// The earliest instant at which something happens by itself; not after the last turn when something waits already.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        if self.unserved.is_empty() && self.unsettled.is_empty() && self.facts.wanted.is_empty() {
            self.timers.earliest()
        } else {
            Some(self.now)
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Command { id, by, command } => {
                let answer = self.obey(command, by);
                self.draft.answer(id, answer);
            }
            Event::AttemptStarted { worker, attempt, at } => self.attempt_started(worker, attempt, at),
            Event::AttemptEnded { worker, attempt, end } => self.attempt_ended(worker, attempt, &end),
            Event::WorkerJoined(joined) => self.worker_joined(joined),
            Event::WorkerSilent(worker) => self.workers.silence(worker),
            Event::WorkerLeaving(worker) => self.workers.leaves(worker),
            Event::WorkerLost(worker) => self.worker_lost(worker),
            Event::DagVersionStored { version } => self.version_stored(&version),
            Event::DagGone(dag) => self.dag_gone(&dag),
            Event::Continue => {}
        }
    }

    fn fire_timers(&mut self) {
        while let Some(timer) = self.timers.pop_due(self.now) {
            match timer {
                Timer::Dag(dag) => {
                    self.unserved.insert(dag);
                }
                Timer::RunTimeout(run) => self.check_timeout(run),
                Timer::Wake(place) => {
                    let waits = |state| matches!(state, TaskState::UpForRetry | TaskState::UpForReschedule);
                    let still_waits = self
                        .run(place.run)
                        .is_some_and(|run| run.row.state == DagRunState::Running && waits(run.state(place.task)));
                    if still_waits {
                        self.mark_dirty(place.run, place.task);
                    }
                }
            }
        }
    }

    /// The turn has changed as much as it may: the next one goes on.
    pub(crate) fn leave_rest(&mut self) {
        self.draft.plan.rest = Rest::Continue;
    }
}
