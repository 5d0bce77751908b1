//! A turn: timers that are due, then the events one after the other, each to its fixpoint, then slots, once.
//!
//! Memory moves ahead of the store; the plan says what has to be stored for both to be equal again.
//!
//! A turn is a fold, and the size of a batch changes no outcome: an event is only taken when everything before it has
//! reached its fixpoint. One that has changed as many rows as it may takes no more; the plan says how many events it has
//! taken, and the others are given to the next turn, behind what is left of this one.

mod attempt;
mod backfill;
mod clear;
mod command;
mod deadline;
mod defer;
mod delete;
mod delete_instance;
mod end;
mod expand;
mod failures;
mod finish;
mod granting;
mod mark;
mod note;
mod notify;
mod overlap;
mod question;
mod schedule;
mod selection;
mod settle;
mod skip;
mod stuck;
mod trigger;
mod worker;

use chrono::SubsecRound;
use model::{DagRunState, TaskState, TiKey, Timestamp};

pub(crate) use command::Refusal;
pub(crate) use expand::Inputs;
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
        self.use_newest_runs();
        self.use_average_runtimes();
        self.settle();
        self.fire_timers();
        self.serve_assets();
        let given = input.events.len();
        let mut events = input.events.into_iter();
        while !self.is_cut()
            && let Some(event) = events.next()
        {
            self.handle(event);
            self.settle();
            self.serve_assets();
        }
        // Only now: what the events say of an attempt goes before its time.
        self.take_back_queued();
        self.draft.plan.taken = given - events.len();
        if self.draft.plan.taken < given {
            self.leave_rest();
        }
        loop {
            self.serve_dags();
            self.hand_waits();
            self.grant();
            if self.unsettled.is_empty() || self.draft.is_full() {
                break;
            }
            self.settle();
        }
        let plan = self.finish();
        self.rest = plan.rest;
        #[cfg(debug_assertions)]
        assert_eq!(self.verify(), Vec::<String>::new(), "memory is what its instances say");
        plan
    }

    /// Whether the turn takes nothing more, because it has changed as much as it may.
    fn is_cut(&self) -> bool {
        self.draft.is_full() || !self.unsettled.is_empty()
    }

    /// The earliest instant at which something happens by itself; not after the last turn when something waits already.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        if self.unserved.is_empty() && self.unsettled.is_empty() && self.facts.wanted.is_empty() {
            self.timers.earliest().into_iter().chain(self.queued.earliest()).min()
        } else {
            Some(self.now)
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Command { id, by, command } => {
                let answer = self.obey(id, command, by);
                self.draft.answer(id, answer);
            }
            Event::AttemptStarted { worker, attempt, at } => self.attempt_started(worker, attempt, at),
            Event::AttemptDeferred { worker, attempt, at, end } => {
                self.attempt_deferred((worker, attempt), at, &end);
            }
            Event::AttemptEnded { worker, attempt, end } => self.attempt_ended(worker, attempt, &end),
            Event::WorkerJoined(joined) => self.worker_joined(joined),
            Event::WorkerSilent(worker) => self.workers.silence(worker),
            Event::WorkerLeaving(worker) => self.worker_leaving(worker),
            Event::WorkerLost(worker) => self.worker_lost(worker),
            Event::DagVersionStored { version } => self.version_stored(&version),
            Event::DagGone(dag) => self.dag_gone(&dag),
            Event::Continue => {}
        }
    }

    fn fire_timers(&mut self) {
        while !self.is_cut()
            && let Some(timer) = self.timers.pop_due(self.now)
        {
            match timer {
                Timer::Dag(dag) => {
                    self.unserved.insert(dag);
                }
                Timer::RunTimeout(run) => self.check_timeout(run),
                Timer::Deadline(run, position) => self.check_deadline((run, position)),
                Timer::Wake(key) => self.wake(key),
                Timer::Pool(pool) => self.ready.pool_has_room(&pool),
            }
            self.settle();
        }
    }

    /// Takes back what has been queued for too long.
    fn take_back_queued(&mut self) {
        while !self.is_cut()
            && let Some(key) = self.queued.first_due(self.now)
        {
            self.take_back(key);
            self.settle();
        }
    }

    /// An instance's pause is over, unless something has happened to it in the meantime.
    fn wake(&mut self, key: TiKey) {
        let Some(place) = self.place_of(key) else { return };
        let run = self.known_run(place.run);
        if run.row.state != DagRunState::Running {
            return;
        }
        match run.state(place.at()) {
            TaskState::UpForRetry | TaskState::UpForReschedule => self.mark_one_dirty(place.run, place.at()),
            TaskState::AwaitingInput if run.is_awake(place.at(), self.now) => self.time_out_question(place),
            TaskState::NoStatus
            | TaskState::Scheduled
            | TaskState::Queued
            | TaskState::Running
            | TaskState::Success
            | TaskState::Failed
            | TaskState::Skipped
            | TaskState::UpstreamFailed
            | TaskState::Removed
            | TaskState::Restarting
            | TaskState::Deferred
            | TaskState::AwaitingInput => {}
        }
    }

    /// The turn has changed as much as it may: the next one goes on.
    pub(crate) fn leave_rest(&mut self) {
        self.draft.plan.rest = Rest::Continue;
    }
}
