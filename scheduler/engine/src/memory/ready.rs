//! Scheduled instances that wait for a slot, in the order in which they get one.
//!
//! **What is here.** An instance that waits for nothing but a slot has one *ticket*. Tickets with equal demands (pool, slots,
//! queue, what a worker has to be able to do) are one *class*, which has a queue in the order of who goes first. A full pool or
//! a missing worker blocks a whole class, so it is found out once, at the queue's head, and not once an instance. Two limits
//! are not of a class but of a part of it: how many attempts a run may have, and how many a task may have in all runs
//! together. A ticket at the head whose run, or whose task, is at its limit is *held* under that limit, out of the queue, so
//! that it blocks nobody behind it.
//!
//! **What always holds.** (1) Each instance that wants a slot has one ticket, in the queue of its class or under one limit.
//! (2) A limit that has room, and holds tickets of a class, has a ticket of it in that class's queue too. So whatever the
//! heads are blocked by, granting from the heads alone leaves no instance waiting whose slot is free.
//!
//! (3) The head of a class is offered to a pass unless its pool, or every worker, is known to have nothing for it. So a turn
//! in which no slot became free costs nothing, and one in which one became free looks at the best heads only, however many
//! classes wait.
//!
//! **Why.** (3): a head that its pool has no room for blocks its class, and one that finds no worker blocks its *group*, the
//! classes that demand the same of a worker; whatever gives room to the pool unblocks its classes, and a worker that has room
//! unblocks the groups that it could serve. Within a pass both only fill up.
//! (2) can only break when a limit gets room, when a ticket leaves a queue, or when one is held. In each case the
//! best ticket that is held under the limit moves up: [`Ready::run_has_slot`] and [`Ready::task_has_slot`], [`Ready::withdraw`],
//! and in [`Ready::hold`] for the *other* limit that the ticket stood for, when that has room. One that moved up may be held
//! again under its other limit. Within one pass over the heads room only shrinks, so each ticket moves at most twice, and
//! across passes a ticket that moves is paid for by the event that gave room. A run that is not running, or whose DAG is
//! paused, has no tickets: they are given back, and its tasks are decided again when it goes on.
//!
//! **After a crash** nothing of this is stored: instances are decided again as they are loaded, and their tickets with them.
//! `Engine::verify` recounts both.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use dag::Task;
use model::{Capability, DagId, Operator, RunKey, TaskIdx, TiKey, Timestamp};

/// What an instance needs to get a slot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Demand {
    pub pool: String,
    pub pool_slots: u32,
    pub queue: String,
    pub capability: Capability,
    pub operator: &'static str,
    /// Whether its worker has to know expanded tasks.
    pub expands: bool,
    /// Whether its worker has to know sensors that look again later.
    pub reschedules: bool,
    /// Whether its worker has to hold waits without a slot.
    pub defers: bool,
    pub on_worker: OnWorker,
}

/// Whether an attempt takes one of its worker's slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum OnWorker {
    TakesSlot,
    TakesNone,
}

impl Demand {
    /// What holding its wait demands: no slot.
    pub fn of_wait(&self) -> Self {
        Self { on_worker: OnWorker::TakesNone, ..self.clone() }
    }

    fn of(task: &Task) -> Self {
        Self {
            pool: task.pool.clone(),
            pool_slots: task.pool_slots,
            queue: task.queue.clone(),
            capability: task.operator.capability(),
            operator: task.operator.name(),
            expands: task.expand.is_some(),
            reschedules: task.operator.reschedules(),
            defers: task.operator.defers(),
            on_worker: match &task.operator {
                Operator::Service(_) => OnWorker::TakesNone,
                Operator::Empty
                | Operator::Bash(_)
                | Operator::Docker(_)
                | Operator::Python(_)
                | Operator::PythonCallable(_)
                | Operator::Sql(_)
                | Operator::SqlCheck(_)
                | Operator::Branch(_)
                | Operator::ShortCircuit(_)
                | Operator::Http(_)
                | Operator::TriggerDagRun(_)
                | Operator::FileSensor(_)
                | Operator::HttpSensor(_)
                | Operator::SqlSensor(_)
                | Operator::ExternalTaskSensor(_)
                | Operator::KafkaProduce(_)
                | Operator::KafkaConsume(_)
                | Operator::KafkaSensor(_)
                | Operator::KafkaTopic(_)
                | Operator::KafkaLag(_)
                | Operator::DateTimeSensor(_)
                | Operator::TimeDeltaSensor(_)
                | Operator::LatestOnly
                | Operator::Approval(_)
                | Operator::Choice(_) => OnWorker::TakesSlot,
            },
        }
    }
}

/// The number of those classes that are served by the same workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct GroupId(usize);

/// What a worker has to have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct WorkerDemand {
    queue: String,
    capability: Capability,
    operator: &'static str,
    expands: bool,
    reschedules: bool,
    defers: bool,
    on_worker: OnWorker,
}

/// By what all of a class is blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BlockedBy {
    Pool,
    Workers,
}

/// The number of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClassId(usize);

/// An instance that waits, ordered by who goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    pub rank: Rank,
    pub date: Timestamp,
    pub key: TiKey,
    pub class: ClassId,
}

/// How early an instance goes, before its date is looked at; the lowest goes first.
///
/// With weights alone it is the weight, the largest first. With priority aging, an instance gains one point of weight for each
/// interval that its run has been running, without limit, so that nothing waits for ever behind what is heavier and newer. All
/// gain at the same pace, so that who goes first among them never changes: it is when the run began, minus an interval for each
/// point. Nothing of a queue is looked at again as time goes on, and a new leader has the same order, since the begin of a run is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank(i128);

impl Rank {
    pub fn of(weight: i32, began: Timestamp, aging: Option<Duration>) -> Self {
        let weight = i128::from(weight);
        match aging.and_then(|interval| i128::try_from(interval.as_micros()).ok()) {
            None => Self(-weight),
            Some(interval) => Self(i128::from(began.timestamp_micros()) - weight * interval),
        }
    }
}

/// How many attempts a task may have in all runs together. The number is part of the limit, because versions of a DAG may say
/// different ones, and each run keeps to its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskLimit {
    pub dag: DagId,
    pub task: TaskIdx,
    pub most: u32,
}

/// A limit that a ticket stands under beside its class, and may be held under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Limit {
    /// How many attempts a run may have.
    Run(RunKey),
    /// How many instances of a task may be active in a run.
    TaskInRun(RunKey, TaskIdx),
    /// How many instances of a task may be active in all runs together.
    Task(TaskLimit),
}

/// Who waits for a slot.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    classes: Vec<Class>,
    by_demand: BTreeMap<Demand, ClassId>,
    pools: BTreeMap<String, OfPool>,
    groups: Vec<Group>,
    by_workers: BTreeMap<WorkerDemand, GroupId>,
    /// Tickets that are put aside, by the limit that is full.
    held: BTreeMap<(Limit, ClassId), BTreeSet<Ticket>>,
}

#[derive(Debug)]
struct Class {
    demand: Demand,
    queue: BTreeSet<Ticket>,
    group: GroupId,
    /// Whether its pool has no room for it.
    is_blocked: bool,
    /// The first of its queue, while it is not blocked.
    head: Option<Ticket>,
}

/// What waits for a pool.
#[derive(Debug, Default)]
struct OfPool {
    classes: Vec<ClassId>,
    /// Those of them that it blocks.
    blocked: BTreeSet<ClassId>,
    /// Every ticket, in a queue or held.
    waiting: BTreeSet<Ticket>,
}

/// Classes that the same workers can serve.
#[derive(Debug)]
struct Group {
    /// What they demand of a worker, as one of them says it.
    demand: Demand,
    /// The heads of those that their pools have room for.
    heads: BTreeSet<Ticket>,
    /// Whether no worker has room for them.
    is_blocked: bool,
}

impl Ready {
    /// The queue for a task's demands.
    pub fn class_of(&mut self, task: &Task) -> ClassId {
        let demand = Demand::of(task);
        if let Some(class) = self.by_demand.get(&demand) {
            return *class;
        }
        let class = ClassId(self.classes.len());
        let group = self.group_of_demand(&demand);
        self.classes.push(Class {
            demand: demand.clone(),
            queue: BTreeSet::new(),
            group,
            is_blocked: false,
            head: None,
        });
        self.pools.entry(demand.pool.clone()).or_default().classes.push(class);
        self.by_demand.insert(demand, class);
        class
    }

    fn group_of_demand(&mut self, demand: &Demand) -> GroupId {
        let key = WorkerDemand {
            queue: demand.queue.clone(),
            capability: demand.capability,
            operator: demand.operator,
            expands: demand.expands,
            reschedules: demand.reschedules,
            defers: demand.defers,
            on_worker: demand.on_worker,
        };
        let next = GroupId(self.groups.len());
        let group = *self.by_workers.entry(key).or_insert(next);
        if group == next {
            self.groups.push(Group { demand: demand.clone(), heads: BTreeSet::new(), is_blocked: false });
        }
        group
    }

    /// Nothing of a class can get a slot until that changes.
    pub fn block(&mut self, class: ClassId, by: BlockedBy) {
        let blocked = &mut self.classes[class.0];
        match by {
            BlockedBy::Pool => {
                blocked.is_blocked = true;
                self.pools.entry(blocked.demand.pool.clone()).or_default().blocked.insert(class);
                self.refresh(class);
            }
            BlockedBy::Workers => self.groups[blocked.group.0].is_blocked = true,
        }
    }

    /// A pool has room, or is another one.
    pub fn pool_has_room(&mut self, pool: &str) {
        let Some(pool) = self.pools.get_mut(pool).filter(|pool| !pool.blocked.is_empty()) else { return };
        for class in std::mem::take(&mut pool.blocked) {
            self.classes[class.0].is_blocked = false;
            self.refresh(class);
        }
    }

    /// A worker has room: what it could serve is not blocked.
    pub fn worker_has_room(&mut self, serves: impl Fn(&Demand) -> bool) {
        for group in self.groups.iter_mut().filter(|group| group.is_blocked) {
            group.is_blocked = !serves(&group.demand);
        }
    }

    /// The queue of a class has changed, or whether it is blocked.
    fn refresh(&mut self, class: ClassId) {
        let class = &mut self.classes[class.0];
        let head = class.queue.first().copied().filter(|_| !class.is_blocked);
        if head != class.head {
            let heads = &mut self.groups[class.group.0].heads;
            if let Some(old) = &class.head {
                heads.remove(old);
            }
            heads.extend(head);
            class.head = head;
        }
    }

    pub fn demand(&self, class: ClassId) -> &Demand {
        &self.classes[class.0].demand
    }

    /// The best of the heads that may get a slot.
    pub fn best(&self) -> Option<Ticket> {
        self.groups.iter().filter(|group| !group.is_blocked).filter_map(|group| group.heads.first().copied()).min()
    }

    pub fn offer(&mut self, ticket: Ticket) {
        let class = &self.classes[ticket.class.0];
        if let Some(pool) = self.pools.get_mut(&class.demand.pool) {
            pool.waiting.insert(ticket);
        }
        self.enqueue(ticket);
    }

    fn enqueue(&mut self, ticket: Ticket) {
        self.classes[ticket.class.0].queue.insert(ticket);
        self.refresh(ticket.class);
    }

    /// Takes a ticket out of its queue. Whether it was there.
    fn dequeue(&mut self, ticket: &Ticket) -> bool {
        let was_there = self.classes[ticket.class.0].queue.remove(ticket);
        self.refresh(ticket.class);
        was_there
    }

    /// Takes a ticket out, wherever it waits. When it leaves its queue, others under its limits move up.
    pub fn withdraw(&mut self, ticket: Ticket, limits: &[Limit]) {
        if let Some(pool) = self.pools.get_mut(&self.classes[ticket.class.0].demand.pool) {
            pool.waiting.remove(&ticket);
        }
        if self.dequeue(&ticket) {
            limits.iter().for_each(|limit| self.move_up(limit, ticket.class));
        } else {
            limits.iter().for_each(|limit| take(&mut self.held, &(limit.clone(), ticket.class), &ticket));
        }
    }

    /// Puts a ticket aside under a limit. Under those of its other limits that have room, the next one moves up.
    pub fn hold(&mut self, ticket: Ticket, by: Limit, others_with_room: &[Limit]) {
        self.dequeue(&ticket);
        self.held.entry((by, ticket.class)).or_default().insert(ticket);
        others_with_room.iter().for_each(|limit| self.move_up(limit, ticket.class));
    }

    /// A limit has room for one more: the best held ticket of each class moves up.
    pub fn limit_has_room(&mut self, limit: &Limit) {
        if self.held.is_empty() {
            return;
        }
        let whole = (limit.clone(), ClassId(0))..=(limit.clone(), ClassId(usize::MAX));
        let classes: Vec<ClassId> = self.held.range(whole).map(|((_, class), _)| *class).collect();
        classes.into_iter().for_each(|class| self.move_up(limit, class));
    }

    /// A task has a slot more: under each of its limits the best held ticket of each class moves up.
    pub fn task_has_slot(&mut self, dag: &DagId, task: TaskIdx) {
        if self.held.is_empty() {
            return;
        }
        let limit = |most| Limit::Task(TaskLimit { dag: dag.clone(), task, most });
        let whole = (limit(0), ClassId(0))..=(limit(u32::MAX), ClassId(usize::MAX));
        let held: Vec<_> = self.held.range(whole).map(|(key, _)| key.clone()).collect();
        held.into_iter().for_each(|(limit, class)| self.move_up(&limit, class));
    }

    /// Whether every ticket is in a queue.
    pub fn holds_none(&self) -> bool {
        self.held.is_empty()
    }

    /// Every ticket in a queue.
    pub fn queued(&self) -> impl Iterator<Item = Ticket> {
        self.classes.iter().flat_map(|class| class.queue.iter().copied())
    }

    /// Every ticket that is held, with the limit that it is held under.
    pub fn held(&self) -> impl Iterator<Item = (&Limit, Ticket)> {
        self.held.iter().flat_map(|((limit, _), held)| held.iter().map(move |ticket| (limit, *ticket)))
    }

    /// The first instances that wait for a pool, in the order in which they get its slots.
    pub fn next_in(&self, pool: &str, most: usize) -> Vec<TiKey> {
        let classes = self.pools.get(pool).into_iter().flat_map(|pool| &pool.classes);
        let queues = classes.map(|class| &self.classes[class.0].queue);
        let first: BTreeSet<Ticket> = queues.flat_map(|queue| queue.iter().take(most).copied()).collect();
        first.into_iter().take(most).map(|ticket| ticket.key).collect()
    }

    /// How many wait for the same pool before a ticket, in a queue or held; counted up to `most`.
    pub fn ahead(&self, ticket: &Ticket, pool: &str, most: usize) -> usize {
        self.pools.get(pool).map_or(0, |pool| pool.waiting.range(..*ticket).take(most).count())
    }

    /// Heads that are not what their queues say, and tickets that are missing where all of a pool's are.
    pub fn misplaced(&self, tickets: &BTreeSet<Ticket>) -> Vec<String> {
        let expected = |class: &Class| class.queue.first().copied().filter(|_| !class.is_blocked);
        let wrong = self.classes.iter().filter(|class| class.head != expected(class));
        let wrong = wrong.map(|class| format!("the head of {:?} is {:?}", class.demand, class.head));
        let heads: BTreeSet<Ticket> = self.classes.iter().filter_map(|class| class.head).collect();
        let offered: BTreeSet<Ticket> = self.groups.iter().flat_map(|group| group.heads.iter().copied()).collect();
        let waiting: BTreeSet<Ticket> = self.pools.values().flat_map(|pool| pool.waiting.iter().copied()).collect();
        let lost = heads.symmetric_difference(&offered).chain(waiting.symmetric_difference(tickets));
        wrong.chain(lost.map(|ticket| format!("{ticket:?} is not where it counts"))).collect()
    }

    fn move_up(&mut self, limit: &Limit, class: ClassId) {
        if !self.held.is_empty()
            && let Some(best) = pop(&mut self.held, &(limit.clone(), class))
        {
            self.enqueue(best);
        }
    }
}

/// Removes the best ticket under a key, and the set with its last ticket.
fn pop<K: Ord>(held: &mut BTreeMap<K, BTreeSet<Ticket>>, key: &K) -> Option<Ticket> {
    let tickets = held.get_mut(key)?;
    let best = tickets.pop_first();
    if tickets.is_empty() {
        held.remove(key);
    }
    best
}

/// Removes a ticket from a map of sets, and the set with its last ticket.
fn take<K: Ord>(held: &mut BTreeMap<K, BTreeSet<Ticket>>, key: &K, ticket: &Ticket) {
    if let Some(tickets) = held.get_mut(key) {
        tickets.remove(ticket);
        if tickets.is_empty() {
            held.remove(key);
        }
    }
}
