//! Counters and queues follow every change of an instance.

use dag::TaskPos;
use model::{RunKey, TaskState};

use super::{
    Engine,
    instance::{Core, Grip, On, Place, TiPos},
    pools::TakenBy,
    ready::{Limit, OnWorker, Rank, TaskLimit, Ticket},
    run::is_pending,
};

impl Engine {
    /// Moves everything that is counted by the difference between two states of an instance.
    pub(super) fn account(&mut self, place: Place, before: Core, after: Core) {
        if let Some(expansion) = self.known_run_mut(place.run).expansions.get_mut(&place.task) {
            expansion.account(place.map, before, after);
        }
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
        for at in self.known_run(run).all().collect::<Vec<_>>() {
            let place = self.known_run(run).place(at);
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
            rank: Rank::of(
                run.def.task(place.task).effective_weight,
                run.row.started_at.unwrap_or(run.row.queued_at),
                self.settings.priority_aging,
            ),
            date: run.order_date(),
            key: run.key_of(place.at()),
            class: run.def.class(place.task),
        }
    }

    fn withdraw(&mut self, place: Place) {
        let ticket = self.ticket(place);
        let limits = self.limits_of(place);
        self.ready.withdraw(ticket, &limits);
    }

    /// The limits under which an instance's ticket may be held: its run's always, its task's when there are any.
    pub(crate) fn limits_of(&self, place: Place) -> Vec<Limit> {
        let run = self.known_run(place.run);
        let (task, number) = (run.def.task(place.task), run.def.number(place.task));
        let in_run = task.max_active_tis_per_dagrun.map(|_| Limit::TaskInRun(place.run, number));
        let in_all = task
            .max_active_tis_per_dag
            .map(|most| Limit::Task(TaskLimit { dag: run.row.dag_id.clone(), task: number, most }));
        std::iter::once(Limit::Run(place.run)).chain(in_run).chain(in_all).collect()
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
        if def.is_leaf(place.task) {
            run.leaves_failed =
                run.leaves_failed + usize::from(after.is_failed_like()) - usize::from(before.is_failed_like());
        }
        if before.is_finished() || after.is_finished() {
            for next in downstream {
                let one = TiPos { task: *next, map: place.map };
                if !def.is_inside(place.task, *next) {
                    run.tasks[next.0].upstream.uncount(before);
                    run.tasks[next.0].upstream.count(after);
                    run.dirty.insert(TiPos::whole(*next));
                } else if run.has(one) {
                    run.dirty.insert(one);
                } else {
                    run.dirty.insert(TiPos::whole(*next));
                }
            }
            for (heed, other) in def.heeded_by(place.task) {
                let one = TiPos { task: *other, map: place.map };
                if !def.shares_group(place.task, *other) {
                    let counts = run.heeded.get_mut(other).expect("what heeds something is counted");
                    counts.follow(*heed, before, after);
                }
                let is_one = def.shares_group(place.task, *other) && run.has(one);
                run.dirty.insert(if is_one { one } else { TiPos::whole(*other) });
            }
            run.dirty.extend(def.fed_by(place.task).iter().copied().map(TiPos::whole));
            for (follower, pos) in self.waiting_for(place) {
                self.mark_dirty(follower, pos);
            }
        }
        let run = self.runs.get_mut(&place.run).expect("only runs in memory are decided");
        run.parked.remove(&place.at());
        if after == TaskState::NoStatus {
            run.dirty.insert(place.at());
        }
        if before.is_finished() || after.is_finished() || after == TaskState::NoStatus {
            self.unsettled.insert(place.run);
        }
    }

    /// Instances come to a task, or its summary goes: everything that is counted moves along.
    pub(crate) fn account_more(&mut self, run: RunKey, task: TaskPos, by: i64) {
        let memory = self.runs.get_mut(&run).expect("only runs in memory are decided");
        let def = std::sync::Arc::clone(&memory.def);
        let moved = |count: u32| u32::try_from(i64::from(count) + by).expect("no more instances go than there are");
        memory.unfinished = memory
            .unfinished
            .checked_add_signed(isize::try_from(by).expect("expansions are bounded"))
            .expect("no more instances go than there are");
        for next in &def.task(task).downstream {
            if !def.is_inside(task, *next) {
                let total = &mut memory.tasks[next.0].upstream.total;
                *total = moved(*total);
            }
            memory.dirty.insert(TiPos::whole(*next));
        }
        for (heed, other) in def.heeded_by(task) {
            if !def.shares_group(task, *other) {
                memory.heeded.get_mut(other).expect("what heeds something is counted").resize(*heed, by);
            }
            memory.dirty.insert(TiPos::whole(*other));
        }
        let census = self.census.of(TaskState::NoStatus);
        self.census.set(TaskState::NoStatus, moved(census));
        self.unsettled.insert(run);
    }

    /// What ended goes on after all: tasks that were let go by it, and wait for a slot, are decided again. So it makes no
    /// difference whether a new leader decides them, which knows of no ticket.
    fn decide_behind_again(&mut self, place: Place) {
        let def = std::sync::Arc::clone(&self.known_run(place.run).def);
        let heeding = def.heeded_by(place.task).iter().map(|(_, other)| other);
        for next in def.task(place.task).downstream.iter().chain(def.fed_by(place.task)).chain(heeding) {
            let one = TiPos { task: *next, map: place.map };
            if def.shares_group(place.task, *next) && self.known_run(place.run).has(one) {
                self.decide_one_again(place.run, one);
            } else {
                self.decide_again(place.run, *next);
            }
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
        let (was, is) = (before.grip(), after.grip());
        if was == is && before.is_active() == after.is_active() && before.state == after.state {
            return;
        }
        self.account_queued(place, before, after);
        let run = self.known_run(place.run);
        let def = std::sync::Arc::clone(&run.def);
        let dag_id = run.row.dag_id.clone();
        let task = def.task(place.task);
        let number = def.number(place.task);
        if was != is {
            if let Some(grip) = was {
                self.release_attempt(place, grip);
            }
            if let Some(grip) = is {
                self.hold_attempt(place, grip);
            }
        }
        self.account_wait(place, before, after);
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
                self.ready.limit_has_room(&Limit::TaskInRun(place.run, number));
            }
            (true, true) | (false, false) => {}
        }
    }

    /// A deferred instance comes to those whose wait no worker holds, or leaves them.
    fn account_wait(&mut self, place: Place, before: Core, after: Core) {
        if before.state != TaskState::Deferred && after.state != TaskState::Deferred {
            return;
        }
        let run = self.known_run(place.run);
        let (class, key) = (run.def.class(place.task), run.key_of(place.at()));
        self.adrift.remove(class, key);
        if after.is_adrift() {
            self.adrift.wait(class, key);
        }
    }

    fn hold_attempt(&mut self, place: Place, grip: Grip) {
        self.attempts.insert(grip.attempt, self.key_of(place));
        let run = self.known_run_mut(place.run);
        run.live += 1;
        run.aside += u32::from(grip.on == On::Aside);
        let on = self.on_worker(place, grip);
        self.workers.take(grip.worker, grip.attempt, on);
    }

    fn release_attempt(&mut self, place: Place, grip: Grip) {
        self.attempts.remove(&grip.attempt);
        let run = self.known_run_mut(place.run);
        run.live -= 1;
        run.aside -= u32::from(grip.on == On::Aside);
        let on = self.on_worker(place, grip);
        self.workers.give_back(grip.worker, grip.attempt, on);
        self.worker_has_room(grip.worker);
        self.ready.limit_has_room(&Limit::Run(place.run));
    }

    /// What a live attempt takes of its worker.
    pub(crate) fn on_worker(&self, place: Place, grip: Grip) -> OnWorker {
        match grip.on {
            On::Slot => self.ready.demand(self.known_run(place.run).def.class(place.task)).on_worker,
            On::Aside => OnWorker::TakesNone,
        }
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
