//! Workers: who can be given an attempt.

use std::collections::{BTreeMap, BTreeSet};

use model::{AttemptId, WorkerId};

use super::ready::{Demand, OnWorker};
use crate::event::WorkerJoined;

/// Every worker that is connected or may still run something.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    workers: BTreeMap<WorkerId, Worker>,
}

/// A worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub joined: WorkerJoined,
    pub presence: Presence,
    /// Live attempts that take a slot.
    pub used: u32,
    /// All its live attempts.
    pub live: BTreeSet<AttemptId>,
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
        match self.workers.get_mut(&joined.worker) {
            Some(known) => {
                known.joined = joined;
                known.presence = presence;
            }
            None => {
                let worker = Worker { joined, presence, used: 0, live: BTreeSet::new() };
                self.workers.insert(worker.joined.worker, worker);
            }
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
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.presence = Presence::Silent;
        }
    }

    /// A worker takes nothing new from now on.
    pub fn leaves(&mut self, worker: WorkerId) {
        self.set_leaving(worker, true);
    }

    pub fn set_leaving(&mut self, worker: WorkerId, leaving: bool) {
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.joined.leaving = leaving;
        }
    }

    pub fn forget(&mut self, worker: WorkerId) {
        self.workers.remove(&worker);
    }

    /// A worker's name for sentences.
    pub fn name(&self, worker: WorkerId) -> String {
        self.workers.get(&worker).map_or_else(|| format!("worker {worker}"), |known| known.joined.name.clone())
    }

    pub fn take(&mut self, worker: WorkerId, attempt: AttemptId, on: OnWorker) {
        let worker = self.known_or_silent(worker);
        worker.live.insert(attempt);
        worker.used += slots_of(on);
    }

    pub fn give_back(&mut self, worker: WorkerId, attempt: AttemptId, on: OnWorker) {
        let worker = self.known_or_silent(worker);
        if worker.live.remove(&attempt) {
            worker.used -= slots_of(on);
        }
    }

    /// The least loaded worker that can take an attempt with these demands.
    pub fn pick(&self, demand: &Demand) -> Result<WorkerId, NoWorker> {
        let mut reason = NoWorker::NoneConnected;
        let mut best: Option<&Worker> = None;
        for worker in self.workers.values().filter(|worker| worker.presence == Presence::Connected) {
            match worker.fits(demand) {
                Ok(()) if best.is_none_or(|best| worker.is_less_loaded_than(best)) => best = Some(worker),
                Ok(()) => {}
                Err(why) => reason = closer(reason, why),
            }
        }
        best.map(|worker| worker.joined.worker).ok_or(reason)
    }

    fn known_or_silent(&mut self, worker: WorkerId) -> &mut Worker {
        self.workers.entry(worker).or_insert_with(|| Worker {
            joined: WorkerJoined {
                worker,
                name: format!("worker {worker}"),
                slots: 0,
                queues: BTreeSet::new(),
                capabilities: BTreeSet::new(),
                operators: BTreeSet::new(),
                attempts: BTreeSet::new(),
                leaving: false,
            },
            presence: Presence::Silent,
            used: 0,
            live: BTreeSet::new(),
        })
    }
}

impl Worker {
    fn fits(&self, demand: &Demand) -> Result<(), NoWorker> {
        if self.joined.leaving {
            Err(NoWorker::Leaving)
        } else if !self.joined.queues.contains(&demand.queue) {
            Err(NoWorker::Queue)
        } else if !self.joined.capabilities.contains(&demand.capability) {
            Err(NoWorker::Capability)
        } else if !self.joined.operators.contains(demand.operator) {
            Err(NoWorker::Operator)
        } else if demand.on_worker == OnWorker::TakesSlot && self.used >= self.joined.slots {
            Err(NoWorker::Busy { used: self.used, slots: self.joined.slots })
        } else {
            Ok(())
        }
    }

    /// Compares used/slots without a division.
    fn is_less_loaded_than(&self, other: &Self) -> bool {
        let load = |used: u32, slots: u32| u64::from(used) * u64::from(slots.max(1));
        load(self.used, other.joined.slots) < load(other.used, self.joined.slots)
    }
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
