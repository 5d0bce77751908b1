//! The service supervisor: keeps declared services running, whatever dies.
//!
//! It decides in memory and without I/O: the leader tells it what happened, stores the rows it changed, and only then
//! carries out its actions. Each replica's states change through [`model::ServiceState::after`] alone. A start is
//! fenced by a random instance id: what an older instance says changes nothing.

mod declare;
mod replica;
mod report;
mod retire;
mod roll;

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use link::{ServiceExit, ServiceReport, ServiceStart, ServiceStatus};
use model::{
    AttemptId, Capability, DagId, ServiceEvent, ServiceKey, ServiceState, Timestamp, WorkerId, command::ServiceAction,
    operator::ServiceSpec,
};
use uuid::Uuid;

use self::roll::Rolls;

pub use declare::Declared;
pub use replica::Replica;

/// What the leader does for the supervisor once the rows are stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Start an instance.
    Start(WorkerId, Box<ServiceStart>),
    /// Stop an instance.
    Stop(WorkerId, Uuid),
    /// Tell a declaring attempt how its services stand.
    Tell(WorkerId, AttemptId, Vec<ServiceStatus>),
}

/// A worker that can run services.
#[derive(Debug, Clone)]
struct Host {
    capabilities: BTreeSet<Capability>,
    instances: BTreeSet<Uuid>,
    presence: Presence,
}

/// Whether a worker can be given a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It can.
    Accepting,
    /// It has not been heard of for a while.
    Silent,
    /// It was asked to end, and ends its services by itself.
    Leaving,
}

/// An attempt of operator `service` that waits for what it declared.
#[derive(Debug, Clone)]
struct Declaration {
    worker: WorkerId,
    keys: Vec<ServiceKey>,
}

/// Every service, every worker that can run one, and every attempt that waits for one.
#[derive(Debug, Default)]
pub struct Supervisor {
    replicas: BTreeMap<ServiceKey, Replica>,
    hosts: BTreeMap<WorkerId, Host>,
    waiting: BTreeMap<AttemptId, Declaration>,
    dirty: BTreeSet<ServiceKey>,
    actions: Vec<Action>,
    rolls: Rolls,
    /// Since when nothing declares a replica.
    undeclared: BTreeMap<ServiceKey, Timestamp>,
    gone: Vec<ServiceKey>,
}

/// What changed since the last call: rows to store, then actions to carry out, in order.
#[derive(Debug, Default)]
pub struct Output {
    /// Replicas whose rows changed.
    pub rows: Vec<Replica>,
    /// Replicas whose rows go.
    pub gone: Vec<ServiceKey>,
    /// What is done after the rows are stored.
    pub actions: Vec<Action>,
}

impl Supervisor {
    /// Goes on from stored rows. Instances are believed to live until their worker says otherwise.
    #[must_use]
    pub fn load(rows: Vec<Replica>) -> Self {
        let replicas = rows.into_iter().map(|replica| (replica.key().clone(), replica)).collect();
        Self { replicas, ..Self::default() }
    }

    /// Every replica, for pages and sentences.
    pub fn replicas(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.values()
    }

    /// The instances that a worker should be running; it ends every other one.
    #[must_use]
    pub fn instances_on(&self, worker: WorkerId) -> BTreeSet<Uuid> {
        self.replicas
            .values()
            .filter(|replica| replica.row.worker == Some(worker))
            .filter_map(Replica::living)
            .collect()
    }

    /// A worker has come, with the instances that it holds. Those it should hold and does not are dead. One that is leaving
    /// is known as such before anything is decided, so that it is given nothing.
    pub fn worker_joined(
        &mut self,
        now: Timestamp,
        worker: WorkerId,
        capabilities: &BTreeSet<Capability>,
        held: &BTreeSet<Uuid>,
        presence: Presence,
    ) {
        if !capabilities.contains(&Capability::Process) && !capabilities.contains(&Capability::Docker) {
            return;
        }
        let host = Host { capabilities: capabilities.clone(), instances: held.clone(), presence };
        self.hosts.insert(worker, host);
        self.bury(now, worker, |instance| !held.contains(&instance));
        self.reconcile(now);
    }

    /// A worker is silent: nothing new is started on it.
    pub fn worker_silent(&mut self, worker: WorkerId) {
        self.set_presence(worker, Presence::Silent);
    }

    /// A worker was asked to end: nothing new is started on it, and the end of what it runs is no fault of a service.
    pub fn worker_leaving(&mut self, worker: WorkerId) {
        self.set_presence(worker, Presence::Leaving);
    }

    fn set_presence(&mut self, worker: WorkerId, presence: Presence) {
        if let Some(host) = self.hosts.get_mut(&worker)
            && host.presence != Presence::Leaving
        {
            host.presence = presence;
        }
    }

    /// A worker is proven dead, and so is what ran on it.
    pub fn worker_lost(&mut self, now: Timestamp, worker: WorkerId) {
        self.hosts.remove(&worker);
        self.bury(now, worker, |_| true);
        self.waiting.retain(|_, declaration| declaration.worker != worker);
        self.reconcile(now);
    }

    /// An instance's process has started.
    pub fn started(&mut self, now: Timestamp, instance: Uuid) {
        self.update(instance, |replica| replica.started(now));
    }

    /// An instance has written a line.
    pub fn report(&mut self, now: Timestamp, report: &ServiceReport) {
        self.update(report.instance, |replica| replica.report(now, &report.line));
    }

    /// An instance has ended.
    pub fn exited(&mut self, now: Timestamp, exit: &ServiceExit) {
        for host in self.hosts.values_mut() {
            host.instances.remove(&exit.instance);
        }
        let hosts = &self.hosts;
        let leaves = |replica: &Replica| {
            let host = replica.row.worker.and_then(|worker| hosts.get(&worker));
            host.is_some_and(|host| host.presence == Presence::Leaving)
        };
        let key = self.key_of(exit.instance);
        let key = key.map(|key| (self.replicas.get(&key).is_some_and(leaves), key));
        match key {
            Some((true, key)) => self.change(&key, |replica| replica.lost(now, &exit.reason)),
            Some((false, key)) => self.change(&key, |replica| replica.exited(now, exit)),
            None => {}
        }
        self.reconcile(now);
    }

    /// Someone wants a service started, restarted or stopped. Answers whether the service exists.
    pub fn control(&mut self, now: Timestamp, dag: &DagId, name: &str, action: ServiceAction) -> bool {
        let keys: Vec<_> = self.replicas.keys().filter(|key| key.dag == *dag && key.name == name).cloned().collect();
        for key in &keys {
            self.change(key, |replica| replica.control(now, action));
        }
        self.reconcile(now);
        !keys.is_empty()
    }

    /// Time has passed: back-offs end, waiting attempts hear how things stand.
    pub fn tick(&mut self, now: Timestamp) {
        self.reconcile(now);
        self.tell_all();
    }

    /// When [`Supervisor::tick`] has something to do by itself: the end of the next back-off.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.replicas.values().filter_map(Replica::back_at).chain(self.rolls.next_wakeup()).min()
    }

    /// Whether an attempt waits for services, so that it has to be told how they stand.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// An attempt has ended: nobody waits there any more.
    pub fn forget(&mut self, attempt: AttemptId) {
        self.waiting.remove(&attempt);
    }

    /// What changed since the last call.
    pub fn take_output(&mut self) -> Output {
        let dirty = std::mem::take(&mut self.dirty);
        Output {
            rows: dirty.iter().filter_map(|key| self.replicas.get(key).cloned()).collect(),
            gone: std::mem::take(&mut self.gone),
            actions: std::mem::take(&mut self.actions),
        }
    }

    fn bury(&mut self, now: Timestamp, worker: WorkerId, is_dead: impl Fn(Uuid) -> bool) {
        for (key, replica) in &mut self.replicas {
            if replica.row.worker == Some(worker) && replica.living().is_some_and(&is_dead) {
                replica.lost(now, "its worker was lost");
                self.dirty.insert(key.clone());
            }
        }
    }

    fn update(&mut self, instance: Uuid, step: impl FnOnce(&mut Replica) -> replica::Touched) {
        if let Some(key) = self.key_of(instance) {
            self.change(&key, step);
        }
    }

    fn key_of(&self, instance: Uuid) -> Option<ServiceKey> {
        self.replicas.values().find(|replica| replica.row.instance == Some(instance)).map(|r| r.row.key.clone())
    }

    fn change(&mut self, key: &ServiceKey, step: impl FnOnce(&mut Replica) -> replica::Touched) {
        let Some(replica) = self.replicas.get_mut(key) else { return };
        let touched = step(replica);
        if touched.store {
            self.dirty.insert(key.clone());
        }
        if let (Some(worker), Some(instance)) =
            (touched.stop.then_some(replica.row.worker).flatten(), replica.row.instance)
        {
            self.actions.push(Action::Stop(worker, instance));
        }
        if touched.tell {
            self.tell_waiting_for(key);
        }
    }

    /// Starts whatever is wanted, due, and not there, on the worker with the fewest instances.
    fn reconcile(&mut self, now: Timestamp) {
        self.roll(now);
        let due: Vec<_> = self.replicas.values().filter(|r| r.is_due(now)).map(|r| r.row.key.clone()).collect();
        for key in due {
            let needs = self.replicas.get(&key).map(|replica| replica.row.spec.capability());
            let Some(worker) = needs.and_then(|needs| self.least_loaded(needs)) else { continue };
            let instance = Uuid::new_v4();
            if let Some(replica) = self.replicas.get_mut(&key)
                && let Some(start) = replica.start(now, worker, instance)
            {
                self.actions.push(Action::Start(worker, Box::new(start)));
                self.dirty.insert(key.clone());
                if let Some(host) = self.hosts.get_mut(&worker) {
                    host.instances.insert(instance);
                }
            }
        }
    }

    fn least_loaded(&self, needs: Capability) -> Option<WorkerId> {
        let open = self
            .hosts
            .iter()
            .filter(|(_, host)| host.presence == Presence::Accepting && host.capabilities.contains(&needs));
        open.min_by_key(|(worker, host)| (host.instances.len(), **worker)).map(|(worker, _)| *worker)
    }

    fn tell_waiting_for(&mut self, key: &ServiceKey) {
        let attempts: Vec<_> = self.waiting.iter().filter(|(_, d)| d.keys.contains(key)).map(|(a, _)| *a).collect();
        for attempt in attempts {
            self.tell(attempt);
        }
    }

    fn tell_all(&mut self) {
        for attempt in self.waiting.keys().copied().collect::<Vec<_>>() {
            self.tell(attempt);
        }
    }

    fn tell(&mut self, attempt: AttemptId) {
        let Some(declaration) = self.waiting.get(&attempt) else { return };
        let replicas = declaration.keys.iter().filter_map(|key| self.replicas.get(key));
        let status = replicas.map(|replica| self.status_of(replica)).collect();
        self.actions.push(Action::Tell(declaration.worker, attempt, status));
    }
}

impl Supervisor {
    /// How a replica stands for whoever declared it: an old one that waits to be replaced is not what it wants.
    fn status_of(&self, replica: &Replica) -> ServiceStatus {
        let status = replica.status();
        if self.rolls.awaits(replica.key()) {
            let sentence = "runs as declared before, and is replaced when those before it are ready".to_owned();
            return ServiceStatus { state: ServiceState::Running, sentence, ..status };
        }
        status
    }
}

/// The pause before a service is started again: 1 s, doubled with each death in a row, at most a minute.
fn back_off(deaths: u32) -> TimeDelta {
    const SECS_MAX: i64 = 60;
    TimeDelta::seconds((1_i64 << deaths.saturating_sub(1).min(6)).min(SECS_MAX))
}

#[cfg(test)]
mod tests;
