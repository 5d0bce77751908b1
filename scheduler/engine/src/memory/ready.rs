//! Scheduled instances that wait for a slot, in the order in which they get one.
//!
//! Instances with equal demands wait in one queue, so that a full pool or a missing worker is found out once a turn
//! and not once an instance. An instance whose run, or whose task, is at its limit is *held*: out of the queue until a
//! slot of that limit is free. Always: when a run has held instances of a class, its queue has at least as many of them
//! as the run has free slots; the same for a task.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use dag::Task;
use model::{Capability, DagId, Operator, RunKey, TaskIdx, Timestamp};

use super::instance::Place;

/// What an instance needs to get a slot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Demand {
    pub pool: String,
    pub pool_slots: u32,
    pub queue: String,
    pub capability: Capability,
    pub operator: &'static str,
    pub on_worker: OnWorker,
}

/// Whether an attempt takes one of its worker's slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum OnWorker {
    TakesSlot,
    TakesNone,
}

impl Demand {
    fn of(task: &Task) -> Self {
        Self {
            pool: task.pool.clone(),
            pool_slots: task.pool_slots,
            queue: task.queue.clone(),
            capability: task.operator.capability(),
            operator: task.operator.name(),
            on_worker: match &task.operator {
                Operator::Service(_) => OnWorker::TakesNone,
                Operator::Empty
                | Operator::Bash(_)
                | Operator::Docker(_)
                | Operator::Python(_)
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
                | Operator::KafkaLag(_) => OnWorker::TakesSlot,
            },
        }
    }
}

/// The number of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClassId(usize);

/// An instance that waits, ordered by who goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    pub weight: Reverse<i32>,
    pub date: Timestamp,
    pub place: Place,
    pub class: ClassId,
}

/// Why a ticket is out of its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeldBy {
    Run,
    Task,
}

/// Who waits for a slot.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    classes: Vec<Class>,
    by_demand: BTreeMap<Demand, ClassId>,
    by_run: BTreeMap<(RunKey, ClassId), BTreeSet<Ticket>>,
    by_task: BTreeMap<(DagId, TaskIdx), BTreeSet<Ticket>>,
}

#[derive(Debug)]
struct Class {
    demand: Demand,
    queue: BTreeSet<Ticket>,
}

impl Ready {
    /// The queue for a task's demands.
    pub fn class_of(&mut self, task: &Task) -> ClassId {
        let demand = Demand::of(task);
        if let Some(class) = self.by_demand.get(&demand) {
            return *class;
        }
        let class = ClassId(self.classes.len());
        self.classes.push(Class { demand: demand.clone(), queue: BTreeSet::new() });
        self.by_demand.insert(demand, class);
        class
    }

    pub fn demand(&self, class: ClassId) -> &Demand {
        &self.classes[class.0].demand
    }

    /// The first ticket of every queue.
    pub fn heads(&self) -> impl Iterator<Item = Ticket> {
        self.classes.iter().filter_map(|class| class.queue.first().copied())
    }

    pub fn first(&self, class: ClassId) -> Option<Ticket> {
        self.classes[class.0].queue.first().copied()
    }

    pub fn offer(&mut self, ticket: Ticket) {
        self.classes[ticket.class.0].queue.insert(ticket);
    }

    /// Takes a ticket out, wherever it waits; another of its run and of its task moves up.
    pub fn withdraw(&mut self, ticket: Ticket, task: (&DagId, TaskIdx)) {
        let run = ticket.place.run;
        if self.classes[ticket.class.0].queue.remove(&ticket) {
            self.move_up_of(run, ticket.class);
            self.task_has_slot(task);
        } else {
            take(&mut self.by_run, &(run, ticket.class), &ticket);
            take(&mut self.by_task, &(task.0.clone(), task.1), &ticket);
        }
    }

    /// Puts a ticket aside until its run, or its task, has a slot.
    pub fn hold(&mut self, ticket: Ticket, by: HeldBy, task: (&DagId, TaskIdx)) {
        self.classes[ticket.class.0].queue.remove(&ticket);
        match by {
            HeldBy::Run => self.by_run.entry((ticket.place.run, ticket.class)).or_default().insert(ticket),
            HeldBy::Task => self.by_task.entry((task.0.clone(), task.1)).or_default().insert(ticket),
        };
    }

    /// A run has a slot more: the best held ticket of each of its classes moves up.
    pub fn run_has_slot(&mut self, run: RunKey) {
        for class in self.held_classes(run) {
            self.move_up_of(run, class);
        }
    }

    /// Nothing holds this run's tickets any more.
    pub fn release_run(&mut self, run: RunKey) {
        for class in self.held_classes(run) {
            let held = self.by_run.remove(&(run, class)).unwrap_or_default();
            self.classes[class.0].queue.extend(held);
        }
    }

    /// A task has a slot more: its best held ticket moves up.
    pub fn task_has_slot(&mut self, task: (&DagId, TaskIdx)) {
        if self.by_task.is_empty() {
            return;
        }
        let key = (task.0.clone(), task.1);
        if let Some(ticket) = self.by_task.get(&key).and_then(BTreeSet::first).copied() {
            take(&mut self.by_task, &key, &ticket);
            self.offer(ticket);
        }
    }

    /// Nothing holds the tickets of this DAG's tasks any more: their limits have changed.
    pub fn release_tasks(&mut self, dag: &DagId) {
        let keys: Vec<_> = self.by_task.keys().filter(|(of, _)| of == dag).cloned().collect();
        for ticket in keys.iter().filter_map(|key| self.by_task.remove(key)).flatten().collect::<Vec<_>>() {
            self.offer(ticket);
        }
    }

    /// The first instances that wait for a pool, in the order in which they get its slots.
    pub fn next_in(&self, pool: &str, most: usize) -> Vec<Place> {
        let queues = self.classes.iter().filter(|class| class.demand.pool == pool);
        let first: BTreeSet<Ticket> = queues.flat_map(|class| class.queue.iter().take(most).copied()).collect();
        first.into_iter().take(most).map(|ticket| ticket.place).collect()
    }

    /// How many wait for the same pool before a ticket.
    pub fn ahead(&self, ticket: &Ticket, pool: &str) -> usize {
        let queues = self.classes.iter().filter(|class| class.demand.pool == pool);
        queues.map(|class| class.queue.range(..*ticket).count()).sum()
    }

    fn held_classes(&self, run: RunKey) -> Vec<ClassId> {
        let whole = (run, ClassId(0))..=(run, ClassId(usize::MAX));
        self.by_run.range(whole).map(|((_, class), _)| *class).collect()
    }

    fn move_up_of(&mut self, run: RunKey, class: ClassId) {
        let Some(held) = self.by_run.get_mut(&(run, class)) else { return };
        let best = held.pop_first();
        if held.is_empty() {
            self.by_run.remove(&(run, class));
        }
        self.classes[class.0].queue.extend(best);
    }
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
