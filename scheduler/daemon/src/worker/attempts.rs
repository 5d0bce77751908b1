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
use futures::FutureExt as _;
use link::{Assignment, FromWorker, ServiceStatus, query::LogName};
use model::{AttemptEnd, AttemptId, EndKind, Operator, operator::ServiceSpec};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::{
    WorkerSettings,
    containers::TakenUp,
    ends::Ends,
    event::Event,
    host::AttemptHost,
    shipping::Shipping,
    waits::{Age, LOOKS_MAX, Look, Waits},
};

/// An attempt that ends sooner reports its start with its end.
const STARTED_AFTER: Duration = Duration::from_millis(200);

/// A look that found no leader to ask is made again after so long.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The attempts that run, or wait: for a slot of this worker, or without one.
pub(super) struct Attempts {
    log_dir: PathBuf,
    context: Arc<WorkerContext>,
    events: mpsc::Sender<Event>,
    slots: Arc<Semaphore>,
    shipping: Shipping,
    ends: Ends,
    held: BTreeMap<AttemptId, Held>,
    waits: Waits,
    /// How many of those that are held are looks of waits.
    looking: usize,
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
    looks: bool,
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
        Self {
            log_dir: settings.log_dir.clone(),
            context,
            events,
            slots,
            shipping,
            ends,
            held: BTreeMap::new(),
            waits: Waits::default(),
            looking: 0,
        }
    }

    /// Starts an attempt, or takes a wait that another worker had. One that is held already goes on as it is. How it ends at once, when
    /// it can not be kept.
    pub(super) fn start(&mut self, assignment: Assignment) -> Option<AttemptEnd> {
        if assignment.poked.is_none() || !assignment.operator.defers() {
            self.begin(assignment, Start::New, Stop::default());
            return None;
        }
        if self.holds(assignment.attempt) {
            return None;
        }
        self.waits.take_over(assignment).err().map(|error| not_kept(&error.to_string()))
    }

    /// Goes on with an attempt that an earlier worker began.
    pub(super) fn take_up(&mut self, taken_up: TakenUp) {
        self.begin(taken_up.assignment, Start::TakenUp(taken_up.age), Stop::default());
    }

    fn begin(&mut self, assignment: Assignment, start: Start, stop: Stop) {
        let attempt = assignment.attempt;
        if self.holds(attempt) {
            return;
        }
        let (services, news) = watch::channel(Vec::new());
        let waits = matches!(assignment.operator, Operator::Service(_));
        let looks = matches!(start, Start::Look(_));
        self.looking += usize::from(looks);
        self.held.insert(attempt, Held { stop: stop.clone(), waits, looks, services, declared: None, said: None });
        let host = AttemptHost::new(attempt, self.events.clone(), news);
        let masker = Masker::default();
        mask_lake(&masker, &self.context);
        let slot = if looks { Slot::NotNeeded } else { self.slot(&assignment.operator) };
        let work = Work {
            log: log::path(&self.log_dir, &LogName::Attempt(attempt)),
            assignment,
            masker,
            host: Arc::new(host),
            context: Arc::clone(&self.context),
            shipping: self.shipping.clone(),
        };
        tokio::spawn(carry_out(work, stop, slot, start, (self.ends.clone(), self.events.clone())));
    }

    /// Waits until a wait is to look, and may.
    pub(super) async fn until_due(&self) {
        if self.looking >= LOOKS_MAX {
            std::future::pending::<()>().await;
        }
        self.waits.until_due().await;
    }

    /// Begins the looks that are due, as many as may be under way. The ends of those that are lost.
    pub(super) fn look(&mut self) -> Vec<(AttemptId, AttemptEnd)> {
        let mut lost = Vec::new();
        for look in self.waits.take_due(LOOKS_MAX.saturating_sub(self.looking)) {
            match look {
                Ok(Look { assignment, age, stop: cause }) => {
                    let stop = Stop::default();
                    cause.into_iter().for_each(|cause| stop.request(cause));
                    self.begin(assignment, Start::Look(age), stop);
                }
                Err((attempt, why)) => lost.push((attempt, not_kept(&why))),
            }
        }
        lost
    }

    /// An attempt has looked, and rests until its next look. How it ends instead, when it can not be kept.
    pub(super) fn rest(&mut self, assignment: Assignment, age: Age, end: &AttemptEnd) -> Option<AttemptEnd> {
        let attempt = assignment.attempt;
        let stop = self.let_go(attempt).map(|held| held.stop);
        let pause = end.again_after_secs.and_then(|secs| Duration::try_from_secs_f64(secs).ok());
        if let Err(error) = self.waits.rest(assignment, age, pause.unwrap_or(LOOK_AGAIN_AFTER)) {
            return Some(not_kept(&error.to_string()));
        }
        // It was asked to end just as its look was over.
        if let Some(cause) = stop.filter(Stop::is_requested).and_then(|stop| stop.requested().now_or_never()) {
            self.waits.stop(attempt, &cause);
        }
        None
    }

    /// How many waits rest here, or look.
    pub(super) fn wait_count(&self) -> usize {
        self.waits.len() + self.looking
    }

    fn let_go(&mut self, attempt: AttemptId) -> Option<Held> {
        let held = self.held.remove(&attempt)?;
        self.looking -= usize::from(held.looks);
        Some(held)
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
    pub(super) fn stop(&mut self, attempt: AttemptId, cause: StopCause) -> Holding {
        if self.waits.stop(attempt, &cause) {
            return Holding::Held;
        }
        match self.held.get(&attempt) {
            Some(held) => {
                held.stop.request(cause);
                Holding::Held
            }
            None => Holding::Unknown,
        }
    }

    /// Asks every attempt to end that is not among `live`. A wait that rests is no process, and is forgotten.
    pub(super) fn stop_others(&mut self, live: &BTreeSet<AttemptId>, cause: &StopCause) {
        self.forget_waits(live);
        let others = self.held.iter().filter(|(attempt, _)| !live.contains(attempt));
        others.for_each(|(_, held)| held.stop.request(cause.clone()));
    }

    fn forget_waits(&mut self, live: &BTreeSet<AttemptId>) {
        for attempt in self.waits.keep(live) {
            self.shipping.ended(attempt);
        }
    }

    /// Asks those to end that do nothing but wait: they are as good elsewhere.
    pub(super) fn stop_waits(&mut self, cause: &StopCause) {
        self.forget_waits(&BTreeSet::new());
        let waits = self.held.values().filter(|held| held.waits || held.looks);
        waits.for_each(|held| held.stop.request(cause.clone()));
    }

    /// The attempt has ended.
    pub(super) fn forget(&mut self, attempt: AttemptId) {
        self.let_go(attempt);
        self.shipping.ended(attempt);
    }

    /// The ids of all that are held.
    pub(super) fn ids(&self) -> impl Iterator<Item = AttemptId> {
        self.held.keys().copied().chain(self.waits.ids())
    }

    /// How many run, or wait for a slot here.
    pub(super) fn count(&self) -> usize {
        self.held.len() - self.looking
    }

    /// Whether the attempt is held.
    pub(super) fn holds(&self, attempt: AttemptId) -> bool {
        self.held.contains_key(&attempt) || self.waits.holds(attempt)
    }

    /// Whether none is at work: waits that rest hold nobody up.
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

/// How an attempt begins here.
enum Start {
    /// For the first time.
    New,
    /// An earlier worker began it so long ago.
    TakenUp(Duration),
    /// It waits without a slot, and looks again.
    Look(Age),
}

/// A wait that can not be kept has failed as any attempt that can not be carried out.
fn not_kept(why: &str) -> AttemptEnd {
    AttemptEnd::new(EndKind::Failed, format!("its worker could not keep its wait: {why}"))
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

async fn carry_out(work: Work, stop: Stop, slot: Slot, start: Start, (ends, events): (Ends, mpsc::Sender<Event>)) {
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
    let began = match &start {
        Start::New => Some(Instant::now()),
        Start::TakenUp(age) => Some(Instant::now().checked_sub(*age).unwrap_or_else(Instant::now)),
        // It was announced long ago.
        Start::Look(_) => None,
    };
    let running = tokio::spawn(run(work, stop, start));
    let started = announce(attempt, began, events.clone());
    let ran = tokio::select! {
        ran = running => ran,
        never = started => match never {},
    };
    let event = match ran {
        Ok(Ran::Rests(assignment, age, end)) => Event::AttemptRests { assignment, age, end },
        Ok(Ran::Ended(end)) => Event::AttemptEnded { attempt, end },
        Err(panic) => {
            let reason = format!("its executor broke down: {panic}");
            Event::AttemptEnded { attempt, end: AttemptEnd::new(EndKind::Failed, reason) }
        }
    };
    if let Event::AttemptEnded { end, .. } = &event {
        ends.add(attempt, end);
    }
    // The worker takes events until every attempt has ended.
    let _ = events.send(event).await;
}

/// What has come of an attempt.
enum Ran {
    /// It is over.
    Ended(AttemptEnd),
    /// It waits without a slot.
    Rests(Box<Assignment>, Age, AttemptEnd),
}

async fn run(work: Work, stop: Stop, start: Start) -> Ran {
    let age = match start {
        Start::Look(age) => age,
        Start::New | Start::TakenUp(_) => Age::of(&work.assignment),
    };
    let host = Arc::clone(&work.host);
    let attempt = match work.begin() {
        Ok(attempt) => attempt,
        Err(error) => {
            return Ran::Ended(AttemptEnd::new(EndKind::Failed, format!("its log could not be opened: {error}")));
        }
    };
    let end = match &start {
        Start::New => executor::run(&attempt, &stop).await,
        Start::TakenUp(age) => executor::resume(&attempt, &stop, *age).await,
        Start::Look(age) => executor::look_again(&attempt, &stop, age.get()).await,
    };
    // A look that failed while there was no leader to ask says nothing of what it looked for.
    let is_void = matches!(start, Start::Look(_)) && end.kind == EndKind::Failed && host.was_unanswered();
    let defers = attempt.assignment.operator.defers();
    if is_void || (defers && end.kind == EndKind::Rescheduled) {
        return Ran::Rests(Box::new(attempt.assignment), age, end);
    }
    Ran::Ended(end)
}

async fn announce(attempt: AttemptId, at: Option<Instant>, events: mpsc::Sender<Event>) -> std::convert::Infallible {
    let Some(at) = at else { return std::future::pending().await };
    tokio::time::sleep(STARTED_AFTER).await;
    let _ = events.send(Event::AttemptStarted { attempt, at }).await;
    std::future::pending().await
}
