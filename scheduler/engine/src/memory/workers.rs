//! Workers: who can be given an attempt.

use std::collections::{BTreeMap, BTreeSet};

use model::{AttemptId, Capability, Operator, WorkerId};

use super::ready::{Demand, OnWorker};
use crate::event::WorkerJoined;

/// Every worker that is connected or may still run something.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    workers: BTreeMap<WorkerId, Worker>,
    /// Those that can be given something, by what they serve.
    kinds: Vec<Kind>,
}

/// Workers that serve the same, the least loaded first. There are few kinds, however many workers there are.
#[derive(Debug)]
struct Kind {
    queues: BTreeSet<String>,
    capabilities: BTreeSet<Capability>,
    operators: BTreeSet<String>,
    by_load: ByLoad,
}

/// The part of its slots that each worker uses.
pub(crate) type ByLoad = BTreeSet<(u64, WorkerId)>;

/// The load of a worker without a free slot, and above.
const FULL: u64 = 1 << 32;

/// A worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub joined: WorkerJoined,
    kind: usize,
    pub presence: Presence,
    /// Live attempts that take a slot.
    pub used: u32,
    /// All its live attempts.
    pub live: BTreeSet<AttemptId>,
    /// Whether it is gone for good: it is forgotten with the last attempt that rows say it has.
    is_gone: bool,
}

/// Whether a worker can be given something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Connected,
    Silent,
}

/// Why no worker can be given an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoWorker {
    /// None is connected at all.
    NoneConnected,
    /// Those that are connected were asked to end.
    Leaving,
    /// None of those that are connected serves the queue.
    Queue,
    /// None of those that serve the queue can do it.
    Capability,
    /// None of those that could knows the operator: they are of an older version.
    Operator,
    /// All that could are busy: so many slots of so many.
    Busy { used: u32, slots: u32 },
}

impl Workers {
    /// A worker is there, with nothing said about what it runs.
    pub fn join(&mut self, joined: WorkerJoined, presence: Presence) {
        let id = joined.worker;
        // Until it is of its new kind it can be given nothing.
        self.change(id, |worker| worker.presence = Presence::Silent);
        let kind = self.kind_of(&joined);
        self.change_known(id, |worker| worker.kind = kind);
        self.change(id, |worker| {
            worker.joined = joined;
            worker.presence = presence;
            worker.is_gone = false;
        });
    }

    /// The workers that can be given something, by kind.
    pub fn by_load(&self) -> Vec<ByLoad> {
        self.kinds.iter().map(|kind| kind.by_load.clone()).collect()
    }

    /// The same, counted anew.
    pub fn count_by_load(&self) -> Vec<ByLoad> {
        let of_kind = |number: usize| {
            let members = self.workers.values().filter(move |worker| worker.kind == number && worker.takes_any());
            members.map(Worker::in_order).collect()
        };
        (0..self.kinds.len()).map(of_kind).collect()
    }

    /// Whether a worker can take an attempt with these demands now.
    pub fn takes(&self, worker: WorkerId, demand: &Demand) -> bool {
        let known = self.workers.get(&worker);
        known.is_some_and(|worker| worker.presence == Presence::Connected && worker.fits(demand).is_ok())
    }

    /// The least loaded worker that can take an attempt with these demands.
    pub fn pick(&self, demand: &Demand) -> Option<WorkerId> {
        let has_room = |load: u64| demand.on_worker == OnWorker::TakesNone || load < FULL;
        let kinds = self.kinds.iter().filter(|kind| !kind.by_load.is_empty() && kind.serves(demand));
        let least = kinds.filter_map(|kind| kind.by_load.first()).filter(|(load, _)| has_room(*load)).min();
        least.map(|(_, worker)| *worker)
    }

    /// The number of the kind that serves what this worker says.
    fn kind_of(&mut self, joined: &WorkerJoined) -> usize {
        let is_like = |kind: &Kind| {
            (&kind.queues, &kind.capabilities, &kind.operators)
                == (&joined.queues, &joined.capabilities, &joined.operators)
        };
        if let Some(number) = self.kinds.iter().position(is_like) {
            return number;
        }
        let kind = Kind {
            queues: joined.queues.clone(),
            capabilities: joined.capabilities.clone(),
            operators: joined.operators.clone(),
            by_load: ByLoad::new(),
        };
        // One that nobody is of any more gives its place.
        let is_used = |number: &usize| self.workers.values().any(|worker| worker.kind == *number);
        match (0..self.kinds.len()).find(|number| !is_used(number)) {
            Some(free) => {
                self.kinds[free] = kind;
                free
            }
            None => {
                self.kinds.push(kind);
                self.kinds.len() - 1
            }
        }
    }

    /// The one way to change a worker, which is known or silent: the order by load moves along.
    fn change(&mut self, id: WorkerId, change: impl FnOnce(&mut Worker)) {
        if !self.workers.contains_key(&id) {
            let silent = Worker::silent(id);
            let kind = self.kind_of(&silent.joined);
            self.workers.insert(id, Worker { kind, ..silent });
        }
        let worker = self.workers.get_mut(&id).expect("it was inserted above");
        self.kinds[worker.kind].by_load.remove(&worker.in_order());
        change(worker);
        if worker.takes_any() {
            self.kinds[worker.kind].by_load.insert(worker.in_order());
        }
    }

    /// Changes a worker if it is known.
    fn change_known(&mut self, id: WorkerId, change: impl FnOnce(&mut Worker)) {
        if self.workers.contains_key(&id) {
            self.change(id, change);
        }
    }

    pub fn connected(&self) -> impl Iterator<Item = &WorkerJoined> {
        let connected = self.workers.values().filter(|worker| worker.presence == Presence::Connected);
        connected.map(|worker| &worker.joined)
    }

    pub fn ids(&self) -> impl Iterator<Item = WorkerId> {
        self.workers.keys().copied()
    }

    pub fn get(&self, worker: WorkerId) -> Option<&Worker> {
        self.workers.get(&worker)
    }

    pub fn silence(&mut self, worker: WorkerId) {
        self.change_known(worker, |worker| worker.presence = Presence::Silent);
    }

    /// A worker takes nothing new from now on.
    pub fn leaves(&mut self, worker: WorkerId) {
        self.set_leaving(worker, true);
    }

    pub fn set_leaving(&mut self, worker: WorkerId, leaving: bool) {
        self.change_known(worker, |worker| worker.joined.leaving = leaving);
    }

    pub fn forget(&mut self, worker: WorkerId) {
        self.change_known(worker, |worker| {
            worker.presence = Presence::Silent;
            worker.is_gone = true;
        });
        self.remove_gone(worker);
    }

    fn remove_gone(&mut self, worker: WorkerId) {
        // One that is gone is silent, and in no order.
        if self.workers.get(&worker).is_some_and(|worker| worker.is_gone && worker.live.is_empty()) {
            self.workers.remove(&worker);
        }
    }

    /// The workers that can take a wait with these demands, by how many attempts they have.
    pub fn takers(&self, demand: &Demand) -> BTreeSet<(usize, WorkerId)> {
        let kinds = self.kinds.iter().filter(|kind| !kind.by_load.is_empty() && kind.serves(demand));
        let workers = kinds.flat_map(|kind| kind.by_load.iter().map(|(_, worker)| *worker));
        workers.map(|worker| (self.workers.get(&worker).map_or(0, |known| known.live.len()), worker)).collect()
    }

    /// A worker's name for sentences.
    pub fn name(&self, worker: WorkerId) -> String {
        self.workers.get(&worker).map_or_else(|| format!("worker {worker}"), |known| known.joined.name.clone())
    }

    pub fn take(&mut self, worker: WorkerId, attempt: AttemptId, on: OnWorker) {
        self.change(worker, |worker| {
            worker.live.insert(attempt);
            worker.used += slots_of(on);
        });
    }

    pub fn give_back(&mut self, worker: WorkerId, attempt: AttemptId, on: OnWorker) {
        self.change(worker, |worker| {
            if worker.live.remove(&attempt) {
                worker.used -= slots_of(on);
            }
        });
        self.remove_gone(worker);
    }

    /// Why no worker can take an attempt with these demands, for sentences: it looks at all of them.
    pub fn why_none(&self, demand: &Demand) -> NoWorker {
        let connected = self.workers.values().filter(|worker| worker.presence == Presence::Connected);
        connected.filter_map(|worker| worker.fits(demand).err()).fold(NoWorker::NoneConnected, closer)
    }
}

impl Kind {
    fn serves(&self, demand: &Demand) -> bool {
        self.queues.contains(&demand.queue)
            && self.capabilities.contains(&demand.capability)
            && knows(&self.operators, demand)
    }
}

impl Worker {
    /// One that has not introduced itself.
    fn silent(worker: WorkerId) -> Self {
        let joined = WorkerJoined {
            worker,
            name: format!("worker {worker}"),
            slots: 0,
            queues: BTreeSet::new(),
            capabilities: BTreeSet::new(),
            operators: BTreeSet::new(),
            attempts: BTreeSet::new(),
            leaving: false,
        };
        Self { joined, kind: 0, presence: Presence::Silent, used: 0, live: BTreeSet::new(), is_gone: false }
    }

    /// Whether it can be given anything.
    fn takes_any(&self) -> bool {
        self.presence == Presence::Connected && !self.joined.leaving
    }

    /// By which workers are ordered: the part of its slots that is used, then its number.
    fn in_order(&self) -> (u64, WorkerId) {
        let load = match u64::from(self.joined.slots) {
            0 => FULL,
            slots => u64::from(self.used) * FULL / slots,
        };
        (load, self.joined.worker)
    }

    fn fits(&self, demand: &Demand) -> Result<(), NoWorker> {
        if self.joined.leaving {
            Err(NoWorker::Leaving)
        } else if !self.joined.queues.contains(&demand.queue) {
            Err(NoWorker::Queue)
        } else if !self.joined.capabilities.contains(&demand.capability) {
            Err(NoWorker::Capability)
        } else if !knows(&self.joined.operators, demand) {
            Err(NoWorker::Operator)
        } else if demand.on_worker == OnWorker::TakesSlot && self.used >= self.joined.slots {
            Err(NoWorker::Busy { used: self.used, slots: self.joined.slots })
        } else {
            Ok(())
        }
    }
}

/// Whether who knows these operators knows what is demanded, expanded tasks among it.
fn knows(operators: &BTreeSet<String>, demand: &Demand) -> bool {
    operators.contains(demand.operator)
        && (!demand.expands || operators.contains(Operator::EXPANDED))
        && (!demand.reschedules || operators.contains(Operator::RESCHEDULES))
        && (!demand.defers || operators.contains(Operator::DEFERS))
}

fn slots_of(on: OnWorker) -> u32 {
    match on {
        OnWorker::TakesSlot => 1,
        OnWorker::TakesNone => 0,
    }
}

/// Of two reasons the one that is closer to a worker, busy ones added up.
fn closer(one: NoWorker, other: NoWorker) -> NoWorker {
    let rank = |reason: &NoWorker| match reason {
        NoWorker::NoneConnected => 0,
        NoWorker::Leaving => 1,
        NoWorker::Queue => 2,
        NoWorker::Capability => 3,
        NoWorker::Operator => 4,
        NoWorker::Busy { .. } => 5,
    };
    match (one, other) {
        (NoWorker::Busy { used, slots }, NoWorker::Busy { used: more_used, slots: more_slots }) => {
            NoWorker::Busy { used: used + more_used, slots: slots + more_slots }
        }
        (one, other) => {
            if rank(&one) >= rank(&other) {
                one
            } else {
                other
            }
        }
    }
}
