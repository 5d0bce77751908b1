//! Counters and queues follow every change of an instance.

use std::cmp::Reverse;

use dag::TaskPos;
use model::{RunKey, TaskState};

use super::{
    Engine,
    instance::{Core, Place},
    pools::TakenBy,
    ready::{Limits, TaskLimit, Ticket},
    run::is_pending,
};

impl Engine {
    /// Moves everything that is counted by the difference between two states of an instance.
    pub(super) fn account(&mut self, place: Place, before: Core, after: Core) {
        self.account_state(place, before.state, after.state);
        self.account_slots(place, before, after);
        if before.state.is_finished() && before.state != after.state {
            self.decide_behind_again(place);
        }
        match (before.wants_slot(), after.wants_slot()) {
            (false, true) => {
                let ticket = self.ticket(place);
                self.ready.offer(ticket);
            }
            (true, false) => self.withdraw(place),
            (true, true) | (false, false) => {}
        }
    }

    /// Takes a run's instances into the counters, or out of them: it comes into memory, or leaves it.
    pub(super) fn account_whole_run(&mut self, run: RunKey, presence: RunPresence) {
        for pos in self.known_run(run).def.dag.positions() {
            let place = Place { run, task: pos };
            let core = self.core(place);
            match presence {
                RunPresence::Comes => {
                    self.census.add(core.state);
                    self.account_slots(place, Core::BLANK, core);
                }
                RunPresence::Leaves => {
                    self.census.remove(core.state);
                    self.account_slots(place, core, Core::BLANK);
                }
            }
        }
    }

    /// The ticket with which an instance waits for a slot.
    pub(crate) fn ticket(&self, place: Place) -> Ticket {
        let run = self.known_run(place.run);
        Ticket {
            weight: Reverse(run.def.task(place.task).effective_weight),
            date: run.order_date(),
            key: run.key_of(place.task),
            class: run.def.class(place.task),
        }
    }

    fn withdraw(&mut self, place: Place) {
        let ticket = self.ticket(place);
        let limits = self.limits_of(place);
        self.ready.withdraw(ticket, &limits);
    }

    /// The limits under which an instance's ticket may be held.
    pub(crate) fn limits_of(&self, place: Place) -> Limits {
        let run = self.known_run(place.run);
        let most = run.def.task(place.task).max_active_tis_per_dag;
        let task = most.map(|most| TaskLimit { dag: run.row.dag_id.clone(), task: run.def.number(place.task), most });
        Limits { run: place.run, task }
    }

    fn account_state(&mut self, place: Place, before: TaskState, after: TaskState) {
        if before == after {
            return;
        }
        self.census.remove(before);
        self.census.add(after);
        let run = self.runs.get_mut(&place.run).expect("only runs in memory are decided");
        run.unfinished = run.unfinished + usize::from(!after.is_finished()) - usize::from(!before.is_finished());
        run.pending = run.pending + usize::from(is_pending(after)) - usize::from(is_pending(before));
        let def = std::sync::Arc::clone(&run.def);
        let downstream = &def.task(place.task).downstream;
        if downstream.is_empty() {
            run.leaves_failed =
                run.leaves_failed + usize::from(after.is_failed_like()) - usize::from(before.is_failed_like());
        }
        if before.is_finished() || after.is_finished() {
            for next in downstream {
                run.instances[next.0].upstream.uncount(before);
                run.instances[next.0].upstream.count(after);
                run.dirty.insert(*next);
            }
            for (follower, pos) in self.waiting_for(place) {
                self.mark_dirty(follower, pos);
            }
        }
        let run = self.runs.get_mut(&place.run).expect("only runs in memory are decided");
        run.parked.remove(&place.task);
        if after == TaskState::NoStatus {
            run.dirty.insert(place.task);
        }
        if before.is_finished() || after.is_finished() || after == TaskState::NoStatus {
            self.unsettled.insert(place.run);
        }
    }

    /// What ended goes on after all: tasks that were let go by it, and wait for a slot, are decided again. So it makes no
    /// difference whether a new leader decides them, which knows of no ticket.
    fn decide_behind_again(&mut self, place: Place) {
        let def = std::sync::Arc::clone(&self.known_run(place.run).def);
        for next in &def.task(place.task).downstream {
            self.decide_again(place.run, *next);
        }
        for (follower, pos) in self.waiting_for(place) {
            self.decide_again(follower, pos);
        }
    }

    /// Tasks of the runs after this one that may wait for a task of it: its like, and those that have it directly after them.
    fn waiting_for(&self, place: Place) -> Vec<(RunKey, TaskPos)> {
        let Some(followers) = self.followers.get(&place.run) else { return Vec::new() };
        let number = self.known_run(place.run).def.number(place.task);
        let of_run = |key: &RunKey| {
            let run = self.runs.get(key)?;
            let pos = run.def.position(number)?;
            Some((*key, std::iter::once(pos).chain(run.def.task(pos).upstream.iter().copied()).collect::<Vec<_>>()))
        };
        followers
            .iter()
            .filter_map(of_run)
            .flat_map(|(key, tasks)| tasks.into_iter().map(move |pos| (key, pos)))
            .collect()
    }

    fn account_slots(&mut self, place: Place, before: Core, after: Core) {
        if before.live == after.live && before.is_active() == after.is_active() && before.state == after.state {
            return;
        }
        let run = self.known_run(place.run);
        let def = std::sync::Arc::clone(&run.def);
        let dag_id = run.row.dag_id.clone();
        let task = def.task(place.task);
        let number = def.number(place.task);
        if before.live && !after.live {
            self.release_attempt(place, before);
        }
        if !before.live && after.live {
            self.hold_attempt(place, after);
        }
        for by in TakenBy::ALL {
            match (before.takes(by), after.takes(by)) {
                (false, true) => self.pools.take(&task.pool, task.pool_slots, by),
                (true, false) => {
                    self.pools.give_back(&task.pool, task.pool_slots, by);
                    if matches!(by, TakenBy::LiveAttempt | TakenBy::Deferred) {
                        self.ready.pool_has_room(&task.pool);
                    }
                }
                (true, true) | (false, false) => {}
            }
        }
        match (before.is_active(), after.is_active()) {
            (false, true) => *self.dag_mut(&dag_id).active_tasks.entry(number).or_default() += 1,
            (true, false) => {
                let active = self.dag_mut(&dag_id).active_tasks.get_mut(&number).expect("it was counted as active");
                *active -= 1;
                if *active == 0 {
                    self.dag_mut(&dag_id).active_tasks.remove(&number);
                }
                self.ready.task_has_slot(&dag_id, number);
            }
            (true, true) | (false, false) => {}
        }
    }

    fn hold_attempt(&mut self, place: Place, core: Core) {
        let (attempt, worker) = live_of(core);
        self.attempts.insert(attempt, self.key_of(place));
        let run = self.known_run_mut(place.run);
        run.live += 1;
        let class = run.def.class(place.task);
        let on = self.ready.demand(class).on_worker;
        self.workers.take(worker, attempt, on);
    }

    fn release_attempt(&mut self, place: Place, core: Core) {
        let (attempt, worker) = live_of(core);
        self.attempts.remove(&attempt);
        let run = self.known_run_mut(place.run);
        run.live -= 1;
        let class = run.def.class(place.task);
        let on = self.ready.demand(class).on_worker;
        self.workers.give_back(worker, attempt, on);
        self.worker_has_room(worker);
        self.ready.run_has_slot(place.run);
    }
}

impl Engine {
    /// A worker has come, or has a slot more: what it could serve is looked at again.
    pub(crate) fn worker_has_room(&mut self, worker: model::WorkerId) {
        let workers = &self.workers;
        self.ready.worker_has_room(|demand| workers.takes(worker, demand));
    }
}

/// Whether a run's instances come into the counters or go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunPresence {
    Comes,
    Leaves,
}

fn live_of(core: Core) -> (model::AttemptId, model::WorkerId) {
    let attempt = core.attempt.expect("a live instance has an attempt");
    let worker = core.worker.expect("a live instance has a worker");
    (attempt, worker)
}
