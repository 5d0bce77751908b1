//! The instances of services that run on this worker, and what they have reported.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use executor::{Stop, StopCause, WorkerContext};
use link::{FromWorker, ServiceExit, ServiceReport, ServiceStart};
use model::{EndKind, ServiceKey};
use serde_json::Value;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{event::Event, metrics::Stream, service::Instance};

/// Exits that wait for a leader. Older ones are dropped: Hello says what runs.
const EXITS_WAITING_MAX: usize = 1000;
/// The kinds of reports that the supervisor knows; others are dropped, so that a service can not fill the memory.
const KINDS: &[&str] = &["progress", "ready", "completed", "error"];

/// The instances that run.
pub(super) struct Services {
    log_dir: PathBuf,
    context: Arc<WorkerContext>,
    events: mpsc::Sender<Event>,
    held: BTreeMap<Uuid, Held>,
    exits: Vec<ServiceExit>,
    /// Whether the worker was asked to end.
    leaving: bool,
}

struct Held {
    key: ServiceKey,
    stop: Stop,
    started: News<()>,
    /// The newest line of each kind.
    lines: BTreeMap<&'static str, News<Value>>,
}

/// Something that the leader is to know, and whether it was told on this connection.
struct News<T> {
    what: Option<T>,
    told: bool,
}

impl<T: Clone> News<T> {
    fn set(&mut self, what: T) {
        *self = Self { what: Some(what), told: false };
    }

    fn take_untold(&mut self) -> Option<T> {
        if std::mem::replace(&mut self.told, true) { None } else { self.what.clone() }
    }
}

impl<T> Default for News<T> {
    fn default() -> Self {
        Self { what: None, told: false }
    }
}

impl Services {
    /// No instances yet.
    pub(super) const fn new(log_dir: PathBuf, context: Arc<WorkerContext>, events: mpsc::Sender<Event>) -> Self {
        Self { log_dir, context, events, held: BTreeMap::new(), exits: Vec::new(), leaving: false }
    }

    /// Starts an instance. One that runs already goes on as it is.
    pub(super) fn start(&mut self, start: ServiceStart) {
        if self.held.contains_key(&start.instance) {
            return;
        }
        let stop = Stop::default();
        let held =
            Held { key: start.key.clone(), stop: stop.clone(), started: News::default(), lines: BTreeMap::new() };
        self.held.insert(start.instance, held);
        let (log_dir, context, events) = (self.log_dir.clone(), Arc::clone(&self.context), self.events.clone());
        tokio::spawn(Instance { start, log_dir, context, events, stop }.run());
    }

    /// Asks an instance to end. One that is not here has ended, and the leader is told so.
    pub(super) fn stop(&mut self, instance: Uuid, reason: &str) {
        match self.held.get(&instance) {
            Some(held) => held.stop.request(cause(reason)),
            None => {
                let reason = "it does not run on this worker".to_owned();
                self.keep_exit(ServiceExit { instance, exit_code: None, reason });
            }
        }
    }

    /// The worker was asked to end: each beat says so.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
    }

    /// An instance is not started here, and the leader is told so.
    pub(super) fn refuse(&mut self, instance: Uuid, reason: &str) {
        self.keep_exit(ServiceExit { instance, exit_code: None, reason: reason.to_owned() });
    }

    /// Asks every instance to end that is not among `wanted`.
    pub(super) fn stop_others(&self, wanted: &BTreeSet<Uuid>, reason: &str) {
        let others = self.held.iter().filter(|(instance, _)| !wanted.contains(instance));
        others.for_each(|(_, held)| held.stop.request(cause(reason)));
    }

    /// An instance's process has started.
    pub(super) fn started(&mut self, instance: Uuid) {
        if let Some(held) = self.held.get_mut(&instance) {
            held.started.set(());
        }
    }

    /// An instance has reported.
    pub(super) fn report(&mut self, instance: Uuid, line: Value) {
        let kind = line.get("type").and_then(Value::as_str).and_then(|kind| KINDS.iter().find(|known| **known == kind));
        if let (Some(held), Some(kind)) = (self.held.get_mut(&instance), kind) {
            held.lines.entry(kind).or_default().set(line);
        }
    }

    /// An instance has ended: what it reported last, and the end itself, wait to be told.
    pub(super) fn exited(&mut self, exit: ServiceExit) -> Option<FromWorker> {
        let last_words = self.beat_of(exit.instance);
        self.held.remove(&exit.instance);
        self.keep_exit(exit);
        last_words
    }

    /// The news since the last beat.
    pub(super) fn beat(&mut self) -> FromWorker {
        let mut reports = Vec::new();
        let mut started = Vec::new();
        for (instance, held) in &mut self.held {
            started.extend(held.started.take_untold().map(|()| *instance));
            reports.extend(held.untold_lines(*instance));
        }
        FromWorker::Beat { services: reports, started, leaving: self.leaving }
    }

    /// The ends that wait to be told.
    pub(super) fn take_exits(&mut self) -> Vec<FromWorker> {
        std::mem::take(&mut self.exits).into_iter().map(FromWorker::ServiceExited).collect()
    }

    /// A new leader knows nothing: everything is news again, except errors, which were for their moment.
    pub(super) fn tell_again(&mut self) {
        for held in self.held.values_mut() {
            held.started.told = false;
            held.lines.iter_mut().filter(|(kind, _)| **kind != "error").for_each(|(_, news)| news.told = false);
        }
    }

    /// The ids of all that run.
    pub(super) fn ids(&self) -> BTreeSet<Uuid> {
        self.held.keys().copied().collect()
    }

    /// What they are instances of.
    pub(super) fn keys(&self) -> impl Iterator<Item = &ServiceKey> {
        self.held.values().map(|held| &held.key)
    }

    /// The newest report of each, for those who watch.
    pub(super) fn streams(&self) -> Vec<Stream> {
        self.held.values().filter_map(Held::stream).collect()
    }

    /// Whether none runs.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether an instance of the replica runs.
    pub(super) fn runs(&self, key: &ServiceKey) -> bool {
        self.keys().any(|held| held == key)
    }

    fn beat_of(&mut self, instance: Uuid) -> Option<FromWorker> {
        let held = self.held.get_mut(&instance)?;
        let started: Vec<Uuid> = held.started.take_untold().map(|()| instance).into_iter().collect();
        let services: Vec<ServiceReport> = held.untold_lines(instance).collect();
        let leaving = self.leaving;
        (!started.is_empty() || !services.is_empty()).then_some(FromWorker::Beat { services, started, leaving })
    }

    fn keep_exit(&mut self, exit: ServiceExit) {
        if self.exits.len() >= EXITS_WAITING_MAX {
            self.exits.remove(0);
        }
        self.exits.push(exit);
    }
}

impl Held {
    /// None before the first report.
    fn stream(&self) -> Option<Stream> {
        let newest = |kind| self.lines.get(kind).and_then(|line| line.what.as_ref());
        Some(Stream::new(&self.key, newest("ready").is_some(), newest("progress")?))
    }

    fn untold_lines(&mut self, instance: Uuid) -> impl Iterator<Item = ServiceReport> {
        let lines = self.lines.values_mut().filter_map(News::take_untold);
        lines.map(move |line| ServiceReport { instance, line })
    }
}

fn cause(reason: &str) -> StopCause {
    StopCause { kind: EndKind::Killed, reason: reason.to_owned() }
}
