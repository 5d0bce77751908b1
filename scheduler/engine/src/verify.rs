//! Memory counted anew: whether every counter, queue and index is what the instances say, and whether nothing waits that
//! could go on.
//!
//! Everything that [`Engine::turn`] keeps beside rows follows from them, moved along by the difference of each change. A
//! difference that was forgotten strands a task or lets one too many run, and shows nowhere. So it is counted from the
//! beginning: by tests after every turn, by builds with debug assertions too, and by a leader every ten minutes, which says
//! what it finds and loads its memory again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use model::{
    AttemptId, BackfillId, DagId, DagRunState, DagVersionId, MapIndex, RunId, RunKey, TaskIdx, TaskState, TiKey,
    Timestamp, WorkerId,
};

use crate::{
    Engine, Rest,
    assets::{Assets, Queue},
    memory::{
        census::Census,
        dags::DagState,
        expansion::Expansion,
        instance::{Place, TiPos},
        pools::{Pools, Room, TakenBy},
        ready::{ClassId, Limit, OnWorker, Ticket},
        run::{Previous, Run, TaskCounts, is_pending},
        timers::Timer,
    },
    rules::Upstream,
};

/// How many differences are told: what one defect has brought about is alike.
const TOLD_MAX: usize = 20;

/// What was found, in sentences.
#[derive(Debug, Default)]
struct Found(Vec<String>);

impl Found {
    fn tell(&mut self, what: fmt::Arguments<'_>) {
        if self.0.len() < TOLD_MAX {
            self.0.push(what.to_string());
        }
    }

    fn compare<T: PartialEq + fmt::Debug>(&mut self, what: fmt::Arguments<'_>, kept: &T, counted: &T) {
        if kept != counted {
            self.tell(format_args!("{what}: memory has {kept:?}, the instances say {counted:?}"));
        }
    }

    fn expect(&mut self, holds: bool, what: fmt::Arguments<'_>) {
        if !holds {
            self.tell(what);
        }
    }
}

/// Everything that follows from instances and runs.
#[derive(Debug, Default)]
struct Counted {
    census: Census,
    pools: Pools,
    attempts: BTreeMap<AttemptId, TiKey>,
    workers: BTreeMap<WorkerId, (u32, BTreeSet<AttemptId>)>,
    active: BTreeMap<DagId, BTreeMap<TaskIdx, u32>>,
    tickets: BTreeSet<Ticket>,
    adrift: BTreeSet<TiKey>,
    pinned: BTreeMap<DagVersionId, usize>,
    followers: BTreeMap<RunKey, BTreeSet<RunKey>>,
    dags: BTreeMap<DagId, Indices>,
}

/// The runs of a DAG that are in memory.
#[derive(Debug, Default, PartialEq)]
struct Indices {
    runs: BTreeMap<RunId, RunKey>,
    dates: BTreeMap<Timestamp, RunKey>,
    queued: BTreeSet<(Timestamp, RunKey)>,
    running: BTreeSet<RunKey>,
    /// Of backfills: those that wait, with their place, and those that run.
    filling: BTreeSet<(BackfillId, i32, RunKey)>,
    filled: BTreeSet<(BackfillId, RunKey)>,
    stragglers: BTreeSet<RunKey>,
}

impl Engine {
    /// What memory has wrong, in sentences, the first few of them; nothing when all of it is as it should be. To be asked
    /// between turns.
    #[must_use]
    pub fn verify(&self) -> Vec<String> {
        let mut found = Found::default();
        let mut counted = Counted::default();
        for (key, run) in &self.runs {
            found.compare(format_args!("the key of run {key}"), &run.row.key, key);
            self.verify_run(run, &mut found);
            self.count(run, &mut counted);
        }
        self.verify_counters(&counted, &mut found);
        self.verify_dags(&counted, &mut found);
        self.verify_assets(&mut found);
        self.verify_tickets(&counted, &mut found);
        self.verify_waits(&counted, &mut found);
        self.verify_timers(&mut found);
        if self.rest == Rest::Nothing {
            self.verify_rest(&mut found);
        }
        found.0
    }

    /// Who waits for which asset, and whose condition holds.
    fn verify_assets(&self, found: &mut Found) {
        let mut counted = Assets::after(self.assets.last_event);
        for (dag_id, dag) in &self.dags {
            let condition = self.versions.get(&dag.row.current).and_then(|def| def.dag.assets.as_ref());
            let mut queue = Queue::of(dag.assets.changed.clone());
            counted.follow(dag_id, &mut queue, condition);
            found.compare(format_args!("the assets of {dag_id}"), &dag.assets, &queue);
        }
        found.compare(format_args!("who waits for assets"), &self.assets, &counted);
    }

    fn count(&self, run: &Run, counted: &mut Counted) {
        let key = run.row.key;
        *counted.pinned.entry(run.def.id).or_default() += 1;
        if let Previous::Run { key: before, .. } = run.previous {
            counted.followers.entry(before).or_default().insert(key);
        }
        let indices = counted.dags.entry(run.row.dag_id.clone()).or_default();
        indices.runs.insert(run.row.run_id.clone(), key);
        indices.dates.extend(run.row.logical_date.map(|date| (date, key)));
        let active = self.dags.get(&run.row.dag_id).and_then(DagState::active_backfill);
        match (run.row.state, run.row.backfill) {
            (DagRunState::Queued, None) => drop(indices.queued.insert((run.starts_at(), key))),
            (DagRunState::Running, None) => drop(indices.running.insert(key)),
            (DagRunState::Queued, Some(place)) => drop(indices.filling.insert((place.id, place.ordinal, key))),
            (DagRunState::Running, Some(place)) if active == Some(place.id) => {
                indices.filled.insert((place.id, key));
            }
            (DagRunState::Running, Some(_)) => drop(indices.stragglers.insert(key)),
            (DagRunState::Success | DagRunState::Failed, _) => {}
        }
        for at in run.all() {
            self.count_instance(run, run.place(at), counted);
        }
    }

    fn count_instance(&self, run: &Run, place: Place, counted: &mut Counted) {
        let (core, task) = (run.instance(place.at()).core, run.def.task(place.task));
        counted.census.add(core.state);
        for by in TakenBy::ALL.into_iter().filter(|by| core.takes(*by)) {
            counted.pools.take(&task.pool, task.pool_slots, by);
        }
        if core.is_active() {
            let active = counted.active.entry(run.row.dag_id.clone()).or_default();
            *active.entry(run.def.number(place.task)).or_default() += 1;
        }
        if core.wants_slot() {
            counted.tickets.insert(self.ticket(place));
        }
        if core.is_adrift() {
            counted.adrift.insert(run.key_of(place.at()));
        }
        if let Some(grip) = core.grip() {
            counted.attempts.insert(grip.attempt, run.key_of(place.at()));
            let (used, live) = counted.workers.entry(grip.worker).or_default();
            live.insert(grip.attempt);
            *used += match self.on_worker(place, grip) {
                OnWorker::TakesSlot => 1,
                OnWorker::TakesNone => 0,
            };
        }
    }

    fn verify_run(&self, run: &Run, found: &mut Found) {
        let name = &run.row.run_id;
        let count = |holds: &dyn Fn(TiPos) -> bool| run.all().filter(|at| holds(*at)).count();
        let is_leaf = |at: TiPos| run.def.is_leaf(at.task);
        let counted = (
            count(&|at| !run.state(at).is_finished()),
            count(&|at| is_pending(run.state(at))),
            count(&|at| run.instance(at).core.live),
            count(&|at| run.instance(at).core.live && run.state(at) == TaskState::Deferred),
            count(&|at| is_leaf(at) && run.state(at).is_failed_like()),
        );
        let number = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let kept = (run.unfinished, run.pending, number(run.live), number(run.aside), run.leaves_failed);
        found.compare(format_args!("run {name}: unfinished, pending, live, deferred, failed leaves"), &kept, &counted);
        found.compare(format_args!("run {name}: stored"), &run.stored, &Some(run.row.state));
        let of_memory = self.versions.get(&run.def.id).is_some_and(|def| std::sync::Arc::ptr_eq(def, &run.def));
        found.expect(of_memory, format_args!("run {name}: its version {} is not in memory", run.def.id));
        let ends = !run.row.state.is_finished() || run.live > 0;
        found.expect(ends, format_args!("run {name} has ended, and is still in memory"));
        self.verify_tasks(run, found);
        for at in run.all() {
            let instance = run.instance(at);
            let id = format_args!("{name}, {} {}", run.def.task(at.task).task_id, at.map);
            let stored = instance.stored.unwrap_or(TaskState::NoStatus);
            found.compare(format_args!("{id}: its row"), &stored, &instance.state_to_store());
            let state = instance.core.state;
            let at_work = matches!(state, TaskState::Queued | TaskState::Running | TaskState::Restarting);
            found.expect(instance.core.live || !at_work, format_args!("{id}: it is {state} without a live attempt"));
            let may_wait = run.row.state == DagRunState::Running && !self.is_held_back(run);
            let waits = state == TaskState::Scheduled;
            found
                .expect(may_wait || !waits, format_args!("{id}: it is scheduled, and its run or its DAG is held back"));
        }
    }

    /// What the instances of a task share is what they and those before them say.
    fn verify_tasks(&self, run: &Run, found: &mut Found) {
        let name = &run.row.run_id;
        let mut skipped = vec![0_u32; run.tasks.len()];
        for at in run.all() {
            run.skips_of(at).iter().for_each(|pos| skipped[pos.0] += 1);
        }
        for pos in run.def.dag.positions() {
            let id = &run.def.task(pos).task_id;
            let states = run.def.outside(pos).flat_map(|before| run.all_of(before));
            let upstream = Upstream::of(states.map(|at| run.state(at)));
            let counted = TaskCounts { upstream, skipped_by: skipped[pos.0] };
            found.compare(format_args!("{name}, {id}: what is before it"), &run.tasks[pos.0], &counted);
        }
        found.compare(format_args!("{name}: what setups and teardowns say"), &run.heeded, &run.count_heeds());
        for (pos, expansion) in &run.expansions {
            let id = &run.def.task(*pos).task_id;
            let again = Expansion::of(expansion.instances.clone());
            let of = |one: &Expansion| (one.census.clone(), one.active, one.left, one.scheduled.clone());
            found.compare(format_args!("{name}, {id}: its instances"), &of(expansion), &of(&again));
            let is_open = |map: &MapIndex| {
                let instance = run.instance(TiPos { task: *pos, map: *map });
                let wake_at = instance.extra.as_deref().and_then(|extra| extra.wake_at);
                let pauses = matches!(instance.core.state, TaskState::UpForRetry | TaskState::UpForReschedule);
                instance.core.state == TaskState::NoStatus || (pauses && wake_at.is_some_and(|at| at <= self.now))
            };
            let is_marked = |map: &MapIndex| run.dirty.contains(&TiPos { task: *pos, map: *map });
            let missed =
                expansion.indexes().filter(is_open).find(|map| !expansion.open.contains(map) && !is_marked(map));
            let looked_at = run.row.state != DagRunState::Running || missed.is_none();
            found.expect(looked_at, format_args!("{name}, {id} {missed:?} waits, and is not looked at"));
        }
    }

    fn verify_counters(&self, counted: &Counted, found: &mut Found) {
        found.compare(format_args!("instances by state"), &self.census, &counted.census);
        found.compare(format_args!("live attempts"), &self.attempts, &counted.attempts);
        found.compare(format_args!("queued attempts"), &self.queued, &self.count_queued());
        found.compare(format_args!("runs of versions"), &self.pinned, &counted.pinned);
        found.compare(format_args!("followers"), &self.followers, &counted.followers);
        let names: BTreeSet<&str> = self.pools.names().into_iter().chain(counted.pools.names()).collect();
        for name in names {
            let (kept, is) = (self.pools.taken(name), counted.pools.taken(name));
            found.compare(format_args!("pool {name}"), &kept, &is);
        }
        let known: BTreeSet<WorkerId> = self.workers.ids().chain(counted.workers.keys().copied()).collect();
        for worker in known {
            let kept = self.workers.get(worker).map(|known| (known.used, known.live.clone())).unwrap_or_default();
            let is = counted.workers.get(&worker).cloned().unwrap_or_default();
            found.compare(format_args!("worker {worker}: slots and attempts"), &kept, &is);
        }
    }

    fn verify_dags(&self, counted: &Counted, found: &mut Found) {
        for (id, dag) in &self.dags {
            let none = Indices::default();
            let is = counted.dags.get(id).unwrap_or(&none);
            let DagState { runs, dates, queued, running, active_tasks, stragglers, .. } = dag;
            let mut kept = Indices {
                runs: runs.clone(),
                dates: dates.clone(),
                queued: queued.clone(),
                running: running.clone(),
                stragglers: stragglers.clone(),
                ..Indices::default()
            };
            if let Some(backfill) = &dag.backfill {
                let of = backfill.row.id;
                kept.filling = backfill.queued.iter().map(|(ordinal, key)| (of, *ordinal, *key)).collect();
                kept.filled = backfill.running.iter().map(|key| (of, *key)).collect();
                let made = usize::try_from(backfill.row.runs_made).unwrap_or(0);
                let (waiting, at_work) = (backfill.queued.len(), backfill.running.len());
                let were_made = waiting + at_work <= made;
                found.expect(
                    were_made,
                    format_args!("backfill {of} made {made} runs, and {waiting} wait and {at_work} run"),
                );
                found.expect(backfill.row.completed_at.is_none(), format_args!("backfill {of} is over, and in memory"));
            }
            found.compare(format_args!("runs of DAG {id}"), &kept, is);
            let active = counted.active.get(id).cloned().unwrap_or_default();
            found.compare(format_args!("active tasks of DAG {id}"), active_tasks, &active);
        }
        for version in self.versions.values() {
            let is_current = self.dags.get(&version.dag.dag_id).is_some_and(|dag| dag.row.current == version.id);
            let is_needed = is_current || self.pinned.contains_key(&version.id) || self.doubtful.contains(&version.id);
            found.expect(
                is_needed,
                format_args!("version {} of {} is kept for nothing", version.id, version.dag.dag_id),
            );
        }
    }

    /// Each instance that wants a slot has one ticket, and a limit with room that holds some of a class has one in its queue.
    fn verify_tickets(&self, counted: &Counted, found: &mut Found) {
        let held = self.ready.held().map(|(_, ticket)| ticket);
        let mut tickets = BTreeSet::new();
        for ticket in self.ready.queued().chain(held) {
            found.expect(tickets.insert(ticket), format_args!("{ticket:?} waits twice"));
        }
        for missing in counted.tickets.difference(&tickets) {
            found.tell(format_args!("{missing:?} waits nowhere"));
        }
        for idle in tickets.difference(&counted.tickets) {
            found.tell(format_args!("{idle:?} waits for nobody"));
        }
        for what in self.ready.misplaced(&tickets) {
            found.tell(format_args!("{what}"));
        }
        found.compare(format_args!("workers by load"), &self.workers.by_load(), &self.workers.count_by_load());
        if self.ready.holds_none() {
            return;
        }
        let mut queued: BTreeSet<(Limit, ClassId)> = BTreeSet::new();
        for ticket in self.ready.queued() {
            let Some(place) = self.place_of(ticket.key) else { continue };
            queued.extend(self.limits_of(place).into_iter().map(|limit| (limit, ticket.class)));
        }
        for (limit, ticket) in self.ready.held() {
            let has_one = !self.has_room_under(limit) || queued.contains(&(limit.clone(), ticket.class));
            found.expect(has_one, format_args!("{ticket:?} is held under {limit:?}, which has room"));
        }
    }

    /// Each deferred instance without a worker waits for one, and at rest no worker could take any of them.
    fn verify_waits(&self, counted: &Counted, found: &mut Found) {
        found.compare(format_args!("waits without a worker"), &self.adrift.all_waiting(), &counted.adrift);
        for key in self.adrift.all_lost() {
            let core = self.place_of(key).map(|place| self.core(place));
            let is_held = core.is_some_and(|core| core.live && core.state == TaskState::Deferred);
            found.expect(is_held, format_args!("{key:?} is lost, and was not deferred"));
            found.expect(self.rest == Rest::Continue, format_args!("{key:?} is lost, and nothing becomes of it"));
        }
        if self.rest == Rest::Nothing {
            for class in self.adrift.classes() {
                let takers = self.workers.takers(&self.ready.demand(class).of_wait());
                found.expect(takers.is_empty(), format_args!("waits are given to nobody that {takers:?} could hold"));
            }
        }
    }

    /// Whatever has to be looked at at an instant is in the timers.
    fn verify_timers(&self, found: &mut Found) {
        for row in self.deadlines.pending.values().filter(|row| row.at > self.now) {
            let is_set = self.timers.has(row.at, &Timer::Deadline(row.run, row.position));
            found.expect(is_set, format_args!("run {} has no timer for its deadline at {}", row.run_id, row.at));
            let run = self.run(row.run);
            let is_met = run.is_some_and(|run| run.row.state == DagRunState::Success);
            found.expect(!is_met, format_args!("run {} has succeeded, and a deadline of it is pending", row.run_id));
        }
        for run in self.runs.values().filter(|run| run.row.state == DagRunState::Running) {
            let ends = self.times_out_at(run).filter(|at| *at > self.now);
            let is_set = ends.is_none_or(|at| self.timers.has(at, &Timer::RunTimeout(run.row.key)));
            found.expect(is_set, format_args!("run {} has no timer for its end at {ends:?}", run.row.run_id));
            for (at, instance) in run.wakes().filter(|(at, _)| *at > self.now) {
                let is_set = self.timers.has(at, &Timer::Wake(instance));
                found.expect(is_set, format_args!("{instance:?} has no timer for its pause until {at}"));
            }
        }
    }

    /// Nothing waits that could go on: no task, no ticket, no run, no schedule.
    fn verify_rest(&self, found: &mut Found) {
        for run in self.runs.values().filter(|run| run.row.state == DagRunState::Running) {
            let key = run.row.key;
            if self.unsettled.contains(&key) {
                continue;
            }
            for at in run.all().filter(|at| !self.is_decided(key, *at)) {
                let (run_id, task, state) = (&run.row.run_id, &run.def.task(at.task).task_id, run.state(at));
                let parked = if run.parked.contains(&at) { " and parked" } else { "" };
                found.tell(format_args!("{run_id}, {task} is {state}{parked}, which is not what would be decided"));
            }
            found.expect(self.end_of(key).is_none(), format_args!("run {} has not ended", run.row.run_id));
        }
        // What a class's pool or workers say holds for all of it, however many wait.
        let mut is_open: BTreeMap<ClassId, bool> = BTreeMap::new();
        for ticket in self.ready.queued().chain(self.ready.held().map(|(_, ticket)| ticket)) {
            let demand = self.ready.demand(ticket.class);
            let has_room = || {
                let room = self.pools.room(&demand.pool, demand.pool_slots, self.now);
                room == Room::Free && self.workers.pick(demand).is_some()
            };
            if !*is_open.entry(ticket.class).or_insert_with(has_room) {
                continue;
            }
            let Some(place) = self.place_of(ticket.key) else { continue };
            let run = self.known_run(place.run);
            if self.limits(run, place).is_ok() {
                let task = &run.def.task(place.task).task_id;
                found.tell(format_args!("{}, {task} waits although its slot is free", run.row.run_id));
            }
        }
        for dag in self.dags.keys().filter(|dag| !self.unserved.contains(*dag)) {
            for what in self.unserved_of(dag) {
                found.tell(format_args!("DAG {dag}: {what}"));
            }
        }
    }
}
