//! Slots: who of those that wait gets one.
//!
//! Airflow's critical section takes candidates by weight, date and index, and checks each one's pool, run, task and
//! executor; a turn goes on until nothing more fits, so that no instance waits while its slot is free. Here that is one
//! walk over the heads: what does not fit now does not fit later in the same turn either, since a grant only takes. What did not
//! fit in an earlier turn is not looked at again until something gave it room.

use model::{CallbackEvent, TaskEvent, TaskState, WorkerId};

use crate::{
    Effect, Engine, TryRow,
    memory::{
        instance::Place,
        pools::Room,
        ready::{BlockedBy, Limit, Ticket},
        run::Run,
        timers::Timer,
    },
};

/// Why an instance that waits for a slot does not get one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Blocked {
    Pool(Room),
    /// Its run has so many active instances as it may.
    Run {
        active: u32,
    },
    /// Its task has so many active instances in all runs as it may.
    Task {
        active: u32,
    },
    /// Its task has so many active instances in its run as it may.
    TaskInRun {
        active: u32,
    },
    /// No worker can take it now.
    Worker,
}

impl Engine {
    /// Grants slots until nothing more fits.
    pub(super) fn grant(&mut self) {
        while let Some(ticket) = self.ready.best() {
            if self.draft.is_full() {
                self.leave_rest();
                return;
            }
            match self.worker_for(&ticket) {
                Ok(worker) => self.grant_one(self.place_of_ticket(&ticket), worker),
                Err(Blocked::Pool(Room::Limited { until, .. })) => {
                    let pool = self.ready.demand(ticket.class).pool.clone();
                    self.timers.set(until, Timer::Pool(pool));
                    self.ready.block(ticket.class, BlockedBy::Pool);
                }
                Err(Blocked::Pool(_)) => self.ready.block(ticket.class, BlockedBy::Pool),
                Err(Blocked::Worker) => self.ready.block(ticket.class, BlockedBy::Workers),
                Err(Blocked::Run { .. } | Blocked::Task { .. } | Blocked::TaskInRun { .. }) => self.hold(ticket),
            }
        }
    }

    /// The worker that can take it now, or what is in the way.
    pub(crate) fn worker_for(&self, ticket: &Ticket) -> Result<WorkerId, Blocked> {
        let place = self.place_of_ticket(ticket);
        self.limits(self.known_run(place.run), place)?;
        self.workers.pick(self.ready.demand(ticket.class)).ok_or(Blocked::Worker)
    }

    /// Airflow's checks of the critical section, in its order.
    pub(crate) fn limits(&self, run: &Run, place: Place) -> Result<(), Blocked> {
        let task = run.def.task(place.task);
        match self.pools.room(&task.pool, task.pool_slots, self.now) {
            Room::Free => {}
            room @ (Room::Full { .. } | Room::TooSmall { .. } | Room::NoSuchPool | Room::Limited { .. }) => {
                return Err(Blocked::Pool(room));
            }
        }
        if !run.has_room() {
            return Err(Blocked::Run { active: run.at_work() });
        }
        if !self.task_has_room(run, place) {
            let active = self.dag_of(place.run).active(run.def.number(place.task));
            return Err(Blocked::Task { active });
        }
        let most = task.max_active_tis_per_dagrun;
        let active = run.active_of(place.task);
        if most.is_some_and(|most| active >= most) {
            return Err(Blocked::TaskInRun { active });
        }
        Ok(())
    }

    /// Puts a ticket aside under the first of its limits that is full.
    fn hold(&mut self, ticket: Ticket) {
        let place = self.place_of_ticket(&ticket);
        let (with_room, full): (Vec<Limit>, Vec<Limit>) =
            self.limits_of(place).into_iter().partition(|limit| self.has_room_under(limit));
        let by = full.into_iter().next().expect("a ticket is only held under a limit that is full");
        self.ready.hold(ticket, by, &with_room);
    }

    /// Whether a limit allows one more.
    pub(crate) fn has_room_under(&self, limit: &Limit) -> bool {
        match limit {
            Limit::Run(key) => self.run(*key).is_some_and(Run::has_room),
            Limit::TaskInRun(key, number) => self.run(*key).is_some_and(|run| {
                let Some(pos) = run.def.position(*number) else { return false };
                run.def.task(pos).max_active_tis_per_dagrun.is_none_or(|most| run.active_of(pos) < most)
            }),
            Limit::Task(limit) => self.dags.get(&limit.dag).is_some_and(|dag| dag.active(limit.task) < limit.most),
        }
    }

    /// Whether fewer instances of a task are active in all runs than its version allows.
    pub(crate) fn task_has_room(&self, run: &Run, place: Place) -> bool {
        let limit = run.def.task(place.task).max_active_tis_per_dag;
        limit.is_none_or(|limit| self.dag_of(place.run).active(run.def.number(place.task)) < limit)
    }

    /// Where the instance lies whose ticket waits: a run that goes on with another version takes its tickets back first.
    fn place_of_ticket(&self, ticket: &Ticket) -> Place {
        self.place_of(ticket.key).expect("what waits for a slot is in memory")
    }

    fn grant_one(&mut self, place: Place, worker: WorkerId) {
        let run = self.known_run(place.run);
        if run.def.task(place.task).operator.has_no_work() {
            self.succeed_without_work(place);
            return;
        }
        let key = run.key_of(place.at());
        if run.instance(place.at()).pokes_again() {
            self.go_on_with_try(place);
        } else {
            self.begin_try(place);
        }
        let attempt = self.draft.attempt_id();
        let now = self.now;
        self.note_pool_start(place);
        self.write(place, |core| {
            core.step(TaskEvent::SlotGranted);
            core.attempt = Some(attempt);
            core.worker = Some(worker);
            core.live = true;
            core.queued_at = Some(now);
        });
        self.draft.effect(Effect::Assign { worker, key, attempt });
    }

    /// An attempt starts: the rate limit of its pool counts it.
    fn note_pool_start(&mut self, place: Place) {
        let def = std::sync::Arc::clone(&self.known_run(place.run).def);
        let pool = &def.task(place.task).pool;
        if self.pools.note_start(pool, self.now) {
            self.draft.pools_started.insert(pool.clone());
        }
    }

    /// A task that does nothing is over as soon as it may run: no slot, no worker.
    pub(super) fn succeed_without_work(&mut self, place: Place) {
        self.begin_try(place);
        let now = self.now;
        self.write(place, |core| {
            core.step(TaskEvent::SlotGranted);
            core.step(TaskEvent::Succeeded);
            (core.queued_at, core.started_at, core.ended_at) = (Some(now), Some(now), Some(now));
        });
        self.owe_for_task(place, CallbackEvent::Execute, "");
        self.owe_for_task(place, CallbackEvent::Success, "");
        self.outlets_changed(place, &[]);
        self.skip_unless_latest(place);
    }

    /// The next look of a sensor: it counts from its first, and what it has left stays.
    fn go_on_with_try(&mut self, place: Place) {
        self.write(place, |core| core.ended_at = None);
        self.write_extra(place, |extra| {
            extra.wake_at = None;
            extra.reason = None;
        });
    }

    /// The next try: what the last one left becomes history.
    fn begin_try(&mut self, place: Place) {
        self.keep_try(place);
        self.write(place, |core| {
            core.forget_attempt();
            core.try_number = core.try_number.next();
        });
        let run = self.known_run(place.run);
        let instance = run.instance(place.at());
        if instance.core.try_number.get() > 1 {
            let key = run.key_of(place.at());
            self.draft.drop_xcoms(key);
        }
        if self.known_run(place.run).instance(place.at()).extra.is_some() {
            self.write_extra(place, |extra| {
                extra.wake_at = None;
                extra.reason = None;
                extra.exit_code = None;
                extra.map_length = None;
                extra.forget_pokes();
            });
        }
    }

    /// Writes the last try, when there was an attempt, into the history.
    pub(super) fn keep_try(&mut self, place: Place) {
        let run = self.known_run(place.run);
        let instance = run.instance(place.at());
        let core = instance.core;
        if core.attempt.is_none() {
            return;
        }
        let state = if core.state.is_finished() { core.state } else { TaskState::Failed };
        let extra = instance.extra();
        let row = TryRow {
            key: run.key_of(place.at()),
            try_number: core.try_number,
            state,
            attempt: core.attempt,
            worker: core.worker,
            queued_at: core.queued_at,
            started_at: core.started_at,
            ended_at: core.ended_at,
            reason: extra.reason,
            exit_code: extra.exit_code,
        };
        self.draft.plan.tries.push(row);
    }
}
