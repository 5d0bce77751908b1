//! Counters and queues follow every change of an instance.

use std::cmp::Reverse;

use dag::TaskPos;
use model::{RunKey, TaskState};

use super::{
    Engine,
    instance::{Core, Place},
    pools::TakenBy,
    ready::Ticket,
    run::is_pending,
};

impl Engine {
    /// Moves everything that is counted by the difference between two states of an instance.
    pub(super) fn account(&mut self, place: Place, before: Core, after: Core) {
        self.account_state(place, before.state, after.state);
        self.account_slots(place, before, after);
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
            place,
            class: run.def.class(place.task),
        }
    }

    fn withdraw(&mut self, place: Place) {
        let ticket = self.ticket(place);
        let run = self.known_run(place.run);
        let (dag, number) = (run.row.dag_id.clone(), run.def.number(place.task));
        self.ready.withdraw(ticket, (&dag, number));
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
            self.tell_followers(place);
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

    /// A task of the run after this one may have waited for it, or for a task directly after its own.
    fn tell_followers(&mut self, place: Place) {
        let Some(followers) = self.followers.get(&place.run).cloned() else { return };
        let def = std::sync::Arc::clone(&self.known_run(place.run).def);
        let changed = std::iter::once(place.task).chain(def.task(place.task).upstream.iter().copied());
        let numbers: Vec<_> = changed.map(|pos| def.number(pos)).collect();
        for follower in followers {
            let Some(run) = self.runs.get(&follower) else { continue };
            let positions: Vec<TaskPos> = numbers.iter().filter_map(|number| run.def.position(*number)).collect();
            for pos in positions {
                self.mark_dirty(follower, pos);
            }
        }
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
                (true, false) => self.pools.give_back(&task.pool, task.pool_slots, by),
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
                self.ready.task_has_slot((&dag_id, number));
            }
            (true, true) | (false, false) => {}
        }
    }

    fn hold_attempt(&mut self, place: Place, core: Core) {
        let (attempt, worker) = live_of(core);
        self.attempts.insert(attempt, place);
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
        self.ready.run_has_slot(place.run);
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
