//! The attempts that run on this worker.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use executor::{
    Attempt, Masker, Stop, StopCause, WorkerContext,
    log::{self, Log, Overflow},
};
use link::{Assignment, FromWorker, ServiceStatus, query::LogName};
use model::{AttemptEnd, AttemptId, EndKind, Operator, operator::ServiceSpec};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::{WorkerSettings, containers::TakenUp, ends::Ends, event::Event, host::AttemptHost, shipping::Shipping};

/// An attempt that ends sooner reports its start with its end.
const STARTED_AFTER: Duration = Duration::from_millis(200);

/// The attempts that run, or wait for a slot.
pub(super) struct Attempts {
    log_dir: PathBuf,
    context: Arc<WorkerContext>,
    events: mpsc::Sender<Event>,
    slots: Arc<Semaphore>,
    shipping: Shipping,
    ends: Ends,
    held: BTreeMap<AttemptId, Held>,
}

/// What an attempt begins with.
struct Work {
    log: PathBuf,
    assignment: Assignment,
    masker: Masker,
    host: Arc<AttemptHost>,
    context: Arc<WorkerContext>,
    shipping: Shipping,
}

impl Work {
    /// Opens the log, which may take a while: it is no work for the worker's loop.
    fn begin(self) -> io::Result<Attempt> {
        let Self { log, assignment, masker, host, context: worker, shipping } = self;
        shipping.began(&assignment);
        let log = Log::open(&log, masker.clone(), Overflow::Fault)?;
        Ok(Attempt { assignment, log, masker, host, worker, elements: executor::Elements::default() })
    }
}

/// One attempt, as its worker sees it.
struct Held {
    stop: Stop,
    waits: bool,
    services: watch::Sender<Vec<ServiceStatus>>,
    declared: Option<(Vec<ServiceSpec>, Vec<String>)>,
    said: Option<String>,
}

impl Attempts {
    /// No attempts yet.
    pub(super) fn new(
        settings: &WorkerSettings,
        context: Arc<WorkerContext>,
        events: mpsc::Sender<Event>,
        (shipping, ends): (Shipping, Ends),
    ) -> Self {
        let slots = Arc::new(Semaphore::new(settings.slots as usize));
        Self { log_dir: settings.log_dir.clone(), context, events, slots, shipping, ends, held: BTreeMap::new() }
    }

    /// Starts an attempt. One that is held already goes on as it is.
    pub(super) fn start(&mut self, assignment: Assignment) {
        self.begin(assignment, Duration::ZERO);
    }

    /// Goes on with an attempt that an earlier worker began.
    pub(super) fn take_up(&mut self, taken_up: TakenUp) {
        self.begin(taken_up.assignment, taken_up.age);
    }

    fn begin(&mut self, assignment: Assignment, age: Duration) {
        let attempt = assignment.attempt;
        if self.held.contains_key(&attempt) {
            return;
        }
        let stop = Stop::default();
        let (services, news) = watch::channel(Vec::new());
        let waits = matches!(assignment.operator, Operator::Service(_));
        self.held.insert(attempt, Held { stop: stop.clone(), waits, services, declared: None, said: None });
        let host = AttemptHost::new(attempt, self.events.clone(), news);
        let masker = Masker::default();
        mask_lake(&masker, &self.context);
        let slot = self.slot(&assignment.operator);
        let work = Work {
            log: log::path(&self.log_dir, &LogName::Attempt(attempt)),
            assignment,
            masker,
            host: Arc::new(host),
            context: Arc::clone(&self.context),
            shipping: self.shipping.clone(),
        };
        tokio::spawn(carry_out(work, stop, slot, age, (self.ends.clone(), self.events.clone())));
    }

    /// A free slot is taken at once, so that attempts start in the order in which they came.
    fn slot(&self, operator: &Operator) -> Slot {
        match operator {
            // A wait for services holds no slot.
            Operator::Service(_) => Slot::NotNeeded,
            _ => match Arc::clone(&self.slots).try_acquire_owned() {
                Ok(slot) => Slot::Taken(slot),
                Err(_) => Slot::Awaited(Arc::clone(&self.slots)),
            },
        }
    }

    /// Asks an attempt to end. Whether it is held.
    pub(super) fn stop(&self, attempt: AttemptId, cause: StopCause) -> Holding {
        match self.held.get(&attempt) {
            Some(held) => {
                held.stop.request(cause);
                Holding::Held
            }
            None => Holding::Unknown,
        }
    }

    /// Asks every attempt to end that is not among `live`.
    pub(super) fn stop_others(&self, live: &BTreeSet<AttemptId>, cause: &StopCause) {
        let others = self.held.iter().filter(|(attempt, _)| !live.contains(attempt));
        others.for_each(|(_, held)| held.stop.request(cause.clone()));
    }

    /// Asks those to end that do nothing but wait for services.
    pub(super) fn stop_waits(&self, cause: &StopCause) {
        let waits = self.held.values().filter(|held| held.waits);
        waits.for_each(|held| held.stop.request(cause.clone()));
    }

    /// The attempt has ended.
    pub(super) fn forget(&mut self, attempt: AttemptId) {
        self.held.remove(&attempt);
        self.shipping.ended(attempt);
    }

    /// The ids of all that are held.
    pub(super) fn ids(&self) -> impl Iterator<Item = AttemptId> {
        self.held.keys().copied()
    }

    /// Whether the attempt is held.
    pub(super) fn holds(&self, attempt: AttemptId) -> bool {
        self.held.contains_key(&attempt)
    }

    /// Whether none is held.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Remembers what an attempt declares, and gives the message that says it.
    pub(super) fn declare(
        &mut self,
        attempt: AttemptId,
        services: Vec<ServiceSpec>,
        hashes: Vec<String>,
    ) -> Option<FromWorker> {
        self.held.get_mut(&attempt)?.declared = Some((services.clone(), hashes.clone()));
        Some(FromWorker::DeclareServices { attempt, services, hashes })
    }

    /// All that was declared, for a new connection.
    pub(super) fn declarations(&self) -> Vec<FromWorker> {
        let declared = self.held.iter().filter_map(|(attempt, held)| Some((*attempt, held.declared.clone()?)));
        let message = |(attempt, (services, hashes))| FromWorker::DeclareServices { attempt, services, hashes };
        declared.map(message).collect()
    }

    /// Remembers what an attempt waits for, and gives the message that says it.
    pub(super) fn said(&mut self, attempt: AttemptId, line: String) -> Option<FromWorker> {
        self.held.get_mut(&attempt)?.said = Some(line.clone());
        Some(FromWorker::Said { attempt, line })
    }

    /// All that is waited for, for a new connection.
    pub(super) fn lines(&self) -> impl Iterator<Item = FromWorker> {
        let said = self.held.iter().filter_map(|(attempt, held)| Some((*attempt, held.said.clone()?)));
        said.map(|(attempt, line)| FromWorker::Said { attempt, line })
    }

    /// Tells an attempt how the services that it declared stand.
    pub(super) fn tell(&self, attempt: AttemptId, status: Vec<ServiceStatus>) {
        if let Some(held) = self.held.get(&attempt) {
            held.services.send_replace(status);
        }
    }
}

/// An attempt's right to run.
enum Slot {
    NotNeeded,
    Taken(OwnedSemaphorePermit),
    Awaited(Arc<Semaphore>),
}

/// Whether an attempt is on this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holding {
    /// It is.
    Held,
    /// It is not.
    Unknown,
}

/// The lake's credentials show in no log, whatever a program prints.
pub(super) fn mask_lake(masker: &Masker, context: &WorkerContext) {
    let Some(lake) = &context.lake else { return };
    masker.add(&lake.database_url);
    let password = lake.database_url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
    if let Some((_, password)) = password.and_then(|(user, _)| user.split_once(':')) {
        masker.add(password);
    }
}

async fn carry_out(work: Work, stop: Stop, slot: Slot, age: Duration, (ends, events): (Ends, mpsc::Sender<Event>)) {
    let attempt = work.assignment.attempt;
    let _slot = match slot {
        Slot::NotNeeded => None,
        Slot::Taken(slot) => Some(slot),
        Slot::Awaited(slots) => tokio::select! {
            // Nobody closes the semaphore.
            slot = slots.acquire_owned() => slot.ok(),
            // Without a slot it still runs to its stop, which is at once.
            _ = stop.requested() => None,
        },
    };
    let running = tokio::spawn(async move {
        let work = match work.begin() {
            Ok(work) => work,
            Err(error) => return AttemptEnd::new(EndKind::Failed, format!("its log could not be opened: {error}")),
        };
        match age {
            Duration::ZERO => executor::run(&work, &stop).await,
            age => executor::resume(&work, &stop, age).await,
        }
    });
    let now = Instant::now();
    let started = announce(attempt, now.checked_sub(age).unwrap_or(now), events.clone());
    let end = tokio::select! {
        end = running => end,
        never = started => match never {},
    };
    let end = end.unwrap_or_else(|panic| AttemptEnd::new(EndKind::Failed, format!("its executor broke down: {panic}")));
    ends.add(attempt, &end);
    // The worker takes events until every attempt has ended.
    let _ = events.send(Event::AttemptEnded { attempt, end }).await;
}

async fn announce(attempt: AttemptId, at: Instant, events: mpsc::Sender<Event>) -> std::convert::Infallible {
    tokio::time::sleep(STARTED_AFTER).await;
    let _ = events.send(Event::AttemptStarted { attempt, at }).await;
    std::future::pending().await
}
