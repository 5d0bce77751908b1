//! The worker's one loop: everything that happens passes through here, one thing at a time.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use executor::{
    GivenOperators, StopCause, WorkerContext, Workspaces, log,
    notify::Done,
    process::{GroupRegister, Launchers},
    trial::Tried,
};
use link::{
    Assignment, Connector, FetchItem, FetchKey, Fetched, FromWorker, Hello, LogChunk, PROTOCOL_OLDEST,
    PROTOCOL_VERSION, ToWorker, known_operators, query::LogName,
};
use model::{AttemptEnd, AttemptId, EndKind, Epoch};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Interval, MissedTickBehavior, interval},
};
use uuid::Uuid;

use super::{
    WorkerSettings,
    attempts::{Attempts, Holding},
    containers::{Containers, TakenUp},
    engine_watch::Engine,
    event::Event,
    identity::Identity,
    log_reads::{Growth, LogReads, Question},
    log_retention::LogRetention,
    metrics::Standing,
    notices::Notices,
    reports::Reports,
    services::Services,
    session::{News, Session},
    shipping::Shipping,
    shutdown::Shutdown,
    trials::Trials,
    waits::Age,
};

/// The worker says that it lives, and looks around, once a second.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// A leader acknowledges each beat; one that is silent for so long may have been replaced without closing the connection.
const LEADER_SILENCE_MAX: Duration = Duration::from_secs(5);
/// How long attempts and services may take to end when the worker shuts down: a service's stop_timeout and a margin.
const CLOSE_MAX: Duration = Duration::from_secs(45);
/// How long the last reports may take to be acknowledged when the worker shuts down; they are on disk.
const LAST_REPORTS_MAX: Duration = Duration::from_secs(5);
/// With more waits than that nobody is told what each of them has seen last: a leader keeps as many lines.
const SAID_MAX: usize = 10_000;
/// Events that may wait; a producer waits when there are more.
const EVENTS_WAITING_MAX: usize = 1024;

/// A question that waits for its answer.
struct Asked {
    attempt: AttemptId,
    key: FetchKey,
    answer: oneshot::Sender<FetchItem>,
}

/// Why a worker that was asked to end hands an attempt back.
const SHUTTING_DOWN: &str = "its worker is shutting down";

/// How far a shutdown is.
#[derive(Clone, Copy)]
enum Closing {
    No,
    /// Nothing new is taken; what runs goes on.
    Leaving {
        since: Instant,
    },
    /// Everything was asked to end.
    Ending {
        since: Instant,
        idle_since: Option<Instant>,
    },
}

/// Where a worker works, what starts its processes and whom it tells of them, and the way that its logs go.
pub(super) struct Places {
    pub(super) temp_dir: PathBuf,
    pub(super) groups: Arc<GroupRegister>,
    pub(super) launchers: Launchers,
    pub(super) shipping: Shipping,
}

/// The worker.
pub(super) struct Core {
    settings: WorkerSettings,
    id: Uuid,
    incarnation: Uuid,
    context: Arc<WorkerContext>,
    sender: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    session: Session,
    attempts: Attempts,
    services: Services,
    reports: Reports,
    containers: Containers,
    asked: BTreeMap<u64, Asked>,
    next_question: u64,
    log_reads: LogReads,
    trials: Trials,
    notices: Notices,
    log_retention: LogRetention,
    /// The highest leadership that was heard of; a lower one is not heeded.
    epoch: Option<Epoch>,
    /// Whether the leader of this connection has said Welcome.
    welcome: bool,
    heard_at: Instant,
    began_at: Instant,
    closing: Closing,
}

impl Core {
    /// A worker that runs nothing yet.
    pub(super) fn new(
        settings: WorkerSettings,
        identity: &Identity,
        places: Places,
        (reports, containers): (Reports, Containers),
        connector: Arc<dyn Connector>,
    ) -> Self {
        let context = Arc::new(WorkerContext {
            worker: identity.id(),
            program_dir: settings.program_dir.clone(),
            workspaces: Workspaces::below(places.temp_dir),
            state_dir: settings.log_dir.join("state"),
            lake: settings.lake.clone(),
            groups: places.groups,
            launchers: places.launchers,
            kill_grace: settings.kill_grace,
            docker: settings.docker.clone(),
            operators: GivenOperators {
                is_key: dag::Expand::is_key,
                is_template: dag::Expand::is_template,
                with: dag::Expand::operator_with,
            },
        });
        settings.metrics.has_slots(settings.slots);
        let (sender, events) = mpsc::channel(EVENTS_WAITING_MAX);
        let log_dir = &settings.log_dir;
        Self {
            id: identity.id(),
            incarnation: Uuid::new_v4(),
            session: Session::new(connector),
            attempts: Attempts::new(&settings, Arc::clone(&context), sender.clone(), (places.shipping, reports.ends())),
            services: Services::new(log_dir.clone(), Arc::clone(&context), sender.clone()),
            reports,
            containers,
            asked: BTreeMap::new(),
            next_question: 1,
            log_reads: LogReads::new(log_dir.clone(), sender.clone()),
            trials: Trials::new(Arc::clone(&context), sender.clone()),
            notices: Notices::new(Arc::clone(&context), sender.clone()),
            log_retention: LogRetention::new(log_dir.clone(), settings.keep_logs),
            epoch: None,
            welcome: false,
            heard_at: Instant::now(),
            began_at: Instant::now(),
            closing: Closing::No,
            settings,
            context,
            sender,
            events,
        }
    }

    /// Goes on with attempts of an earlier worker; Hello names them, and the leader says whether they still count.
    pub(super) fn take_up(&mut self, attempts: Vec<TakenUp>) {
        attempts.into_iter().for_each(|taken_up| self.attempts.take_up(taken_up));
    }

    /// What attempts share.
    pub(super) fn context(&self) -> Arc<WorkerContext> {
        Arc::clone(&self.context)
    }

    /// The way into the loop.
    pub(super) fn events(&self) -> mpsc::Sender<Event> {
        self.sender.clone()
    }

    /// Runs until `shutdown`, and then until everything has ended.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        let mut beat = beats();
        while !self.is_closed() {
            tokio::select! {
                news = self.session.next() => self.take_news(news).await,
                Some(event) = self.events.recv() => self.take_event(event).await,
                _ = beat.tick() => self.beat().await,
                () = self.attempts.until_due(), if self.welcome => self.look().await,
                () = shutdown.leaving(), if matches!(self.closing, Closing::No) => self.leave().await,
                () = shutdown.stopping(), if !matches!(self.closing, Closing::Ending { .. }) => self.close().await,
            }
        }
        self.reports.tidy_when_due();
    }

    async fn take_news(&mut self, news: News) {
        match news {
            News::Connected => {
                self.welcome = false;
                self.heard_at = Instant::now();
                let hello = self.hello();
                self.session.send(FromWorker::Hello(hello)).await;
            }
            News::Lost(reason) => {
                tracing::info!(%reason, "the connection to the leader is lost; looking for the next");
                self.welcome = false;
            }
            News::Message(message) => self.take_message(message).await,
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            protocol_oldest: Some(PROTOCOL_OLDEST),
            worker: self.id,
            incarnation: self.incarnation,
            name: self.settings.name.clone(),
            slots: self.settings.slots,
            queues: self.settings.queues.clone(),
            capabilities: self.settings.capabilities.clone(),
            attempts: self.attempts.ids().chain(self.reports.ended_attempts()).collect(),
            services: self.services.ids(),
            operators: known_operators(),
            leaving: self.is_leaving(),
            up_micros: i64::try_from(self.began_at.elapsed().as_micros()).ok(),
            tries_connections: true,
            notifies: true,
        }
    }

    async fn take_message(&mut self, message: ToWorker) {
        if let ToWorker::Welcome { epoch, live, services } = message {
            if self.epoch.is_some_and(|highest| epoch < highest) {
                tracing::info!(%epoch, "a leader that was deposed is not heeded");
                self.session.reconnect();
                return;
            }
            self.epoch = Some(epoch);
            let cause = stop_cause(EndKind::Lost, "the leader does not count this attempt as live");
            self.attempts.stop_others(&live, &cause);
            self.services.stop_others(&services, "the supervisor does not count this instance as its own");
            self.welcomed().await;
        } else if self.welcome {
            self.obey(message).await;
        } else {
            tracing::warn!("the leader spoke before it said Welcome; looking for it anew");
            self.session.reconnect();
        }
    }

    /// Says again what an earlier connection may have lost.
    async fn welcomed(&mut self) {
        self.welcome = true;
        self.settings.metrics.welcomed();
        self.heard();
        self.services.tell_again();
        // Whether it leaves comes first: what it hands back goes to another worker then.
        let mut messages = vec![self.services.beat()];
        messages.extend(self.reports.messages());
        messages.extend(self.attempts.declarations());
        messages.extend(self.attempts.lines());
        let questions = self.asked.iter();
        messages.extend(questions.map(|(id, asked)| FromWorker::Fetch {
            id: *id,
            attempt: Some(asked.attempt),
            key: asked.key.clone(),
        }));
        messages.extend(self.services.take_exits());
        for message in messages {
            self.session.send(message).await;
        }
    }

    async fn obey(&mut self, message: ToWorker) {
        self.heard_at = Instant::now();
        match message {
            ToWorker::Welcome { .. } => unreachable!("take_message has taken it"),
            ToWorker::Unreadable { kind, attempt, why } => self.not_understood(&kind, attempt, &why).await,
            ToWorker::Assign(assignment) => self.assign(*assignment).await,
            ToWorker::Kill { attempt, reason } => {
                if self.attempts.stop(attempt, stop_cause(EndKind::Killed, &reason)) == Holding::Unknown
                    && !self.reports.ended_attempts().contains(&attempt)
                {
                    let end = AttemptEnd::new(EndKind::Lost, "this worker does not have the attempt");
                    self.report_end(attempt, end).await;
                }
            }
            ToWorker::Ack { seq } => {
                self.reports.acknowledged(seq);
                self.heard();
            }
            ToWorker::StartService(start) if matches!(self.closing, Closing::No) => self.services.start(*start),
            ToWorker::StartService(start) => {
                self.services.refuse(start.instance, SHUTTING_DOWN);
                self.tell_exits().await;
            }
            ToWorker::StopService { instance } => {
                self.services.stop(instance, "stopped by the supervisor");
                self.tell_exits().await;
            }
            ToWorker::Services { attempt, status } => self.attempts.tell(attempt, status),
            ToWorker::Fetched(Fetched { id, item }) => {
                if let Some(asked) = self.asked.remove(&id) {
                    // Whoever asked may have been stopped.
                    let _ = asked.answer.send(item);
                }
            }
            ToWorker::TryConnection { id, connection } => {
                if let Some(refusal) = self.trials.begin(id, *connection) {
                    self.session.send(refusal).await;
                }
            }
            ToWorker::Notify { id, notification } => {
                if let Some(refusal) = self.notices.begin(id, *notification, self.is_leaving()) {
                    self.session.send(refusal).await;
                }
            }
            ToWorker::ReadLog { id, log, offset, bytes_max } => {
                let growth = self.growth(&log);
                let question = Question { id, log, offset, bytes_max, growth };
                if let Some(refusal) = self.log_reads.read(question) {
                    self.session.send(refusal).await;
                }
            }
        }
    }

    async fn assign(&mut self, assignment: Assignment) {
        let attempt = assignment.attempt;
        match self.closing {
            Closing::No if self.reports.ended_attempts().contains(&attempt) => {}
            Closing::No => {
                // A wait that another worker had began there.
                if !self.attempts.holds(attempt) && (assignment.poked.is_none() || !assignment.operator.defers()) {
                    self.settings.metrics.attempt_started();
                    self.containers.remember(&assignment);
                }
                if let Some(end) = self.attempts.start(assignment) {
                    self.report_end(attempt, end).await;
                }
            }
            Closing::Leaving { .. } | Closing::Ending { .. } => {
                if !self.attempts.holds(attempt) && !self.reports.ended_attempts().contains(&attempt) {
                    self.report_end(attempt, AttemptEnd::handed_back(SHUTTING_DOWN)).await;
                }
            }
        }
    }

    /// A leader of a newer version asked for what this one does not know. Only the attempt that it is about suffers.
    async fn not_understood(&mut self, kind: &str, attempt: Option<AttemptId>, why: &str) {
        tracing::error!(kind, why, "the leader asks for something that this version of windlass does not know");
        if let (Some(attempt), "assign") = (attempt, kind) {
            let version = env!("CARGO_PKG_VERSION");
            let reason =
                format!("its worker (windlass {version}) can not read the assignment: {why}; update the worker");
            self.report_end(attempt, AttemptEnd::new(EndKind::Failed, reason)).await;
        }
    }

    async fn take_event(&mut self, event: Event) {
        match event {
            Event::AttemptStarted { attempt, at } => {
                let message = self.reports.started(attempt, at);
                self.tell(message).await;
            }
            Event::AttemptEnded { attempt, end } => {
                self.attempts.forget(attempt);
                self.settings.metrics.attempt_ended(&end);
                self.report_end(attempt, end).await;
            }
            Event::AttemptRests { assignment, age, end } => self.rests(*assignment, age, end).await,
            Event::Fetch { attempt, key, answer } => {
                let id = self.next_question;
                self.next_question += 1;
                self.asked.insert(id, Asked { attempt, key: key.clone(), answer });
                self.tell(FromWorker::Fetch { id, attempt: Some(attempt), key }).await;
            }
            Event::Declare { attempt, services, hashes } => {
                if let Some(message) = self.attempts.declare(attempt, services, hashes) {
                    self.tell(message).await;
                }
            }
            Event::Said { attempt, line } => {
                if let Some(message) = self.attempts.said(attempt, line) {
                    self.tell(message).await;
                }
            }
            Event::ServiceStarted { instance } => self.services.started(instance),
            Event::ServiceLine { instance, line } => self.services.report(instance, line),
            Event::ServiceExited(exit) => {
                if let Some(last_words) = self.services.exited(exit) {
                    self.tell(last_words).await;
                }
                self.tell_exits().await;
            }
            Event::LogRead { id, chunk } => {
                self.log_reads.done();
                let LogChunk { bytes, length, ended } = chunk;
                self.tell(FromWorker::Log { id, bytes, length, ended }).await;
            }
            Event::Tried { id, tried: Tried { works, message } } => {
                self.tell(FromWorker::Tried { id, works, message }).await;
            }
            Event::Notified { id, done: Done { told, message } } => {
                self.tell(FromWorker::Notified { id, told, message }).await;
            }
            Event::Engine(engine) => self.engine_is(engine),
            Event::LeaderSilent => {
                let reason = "nothing was heard from the leader for too long, and another worker may have the task";
                self.attempts.stop_others(&Default::default(), &stop_cause(EndKind::Lost, reason));
            }
        }
    }

    /// An attempt has looked. The first time the leader has to know that it holds no slot any more; whoever leaves holds no waits.
    async fn rests(&mut self, assignment: Assignment, age: Age, end: AttemptEnd) {
        let (attempt, is_first) = (assignment.attempt, assignment.poked.is_none());
        if self.is_leaving() {
            self.attempts.forget(attempt);
            return self.report_end(attempt, AttemptEnd::handed_back(SHUTTING_DOWN)).await;
        }
        if let Some(end) = self.attempts.rest(assignment, age, &end) {
            self.attempts.forget(attempt);
            return self.report_end(attempt, end).await;
        }
        let line = (self.attempts.wait_count() <= SAID_MAX).then(|| next_look(&end)).flatten();
        if is_first {
            let began = Instant::now().checked_sub(age.get()).unwrap_or_else(Instant::now);
            let message = self.reports.deferred(attempt, began, end);
            self.tell(message).await;
        }
        if let Some(line) = line {
            self.tell(FromWorker::Said { attempt, line }).await;
        }
    }

    /// Begins the looks that are due.
    async fn look(&mut self) {
        for (attempt, end) in self.attempts.look() {
            self.report_end(attempt, end).await;
        }
    }

    /// A leader learns by a new Hello what a worker can do.
    fn engine_is(&mut self, engine: Engine) {
        if engine.change(&mut self.settings.capabilities) {
            tracing::info!(?engine, "what this worker can do has changed");
            self.welcome = false;
            self.session.reconnect();
        }
    }

    async fn beat(&mut self) {
        self.asked.retain(|_, asked| !asked.answer.is_closed());
        if self.session.is_connected() && self.heard_at.elapsed() > LEADER_SILENCE_MAX {
            tracing::info!("the leader is silent; looking for the next");
            self.welcome = false;
            self.session.reconnect();
        }
        if self.welcome {
            let beat = self.services.beat();
            self.session.send(beat).await;
            self.tell_exits().await;
        }
        self.settings.metrics.stands(Standing {
            connected: self.welcome,
            attempts: self.attempts.count(),
            waits: self.attempts.wait_count(),
            services: self.services.ids().len(),
            reports: self.reports.waiting(),
            streams: self.services.streams(),
            leaving: self.is_leaving(),
        });
        self.reports.tidy_when_due();
        self.log_retention.look_when_due(|| {
            let attempts = self.attempts.ids().chain(self.reports.ended_attempts()).map(LogName::Attempt);
            let names = attempts.chain(self.services.keys().cloned().map(LogName::Service));
            names.map(|name| log::path(&self.settings.log_dir, &name)).collect()
        });
        if let Closing::Leaving { since } = self.closing
            && (self.attempts.is_empty() || since.elapsed() >= self.settings.drain_max)
        {
            self.close().await;
        }
        if let Closing::Ending { since, idle_since: None } = self.closing
            && self.attempts.is_empty()
            && self.services.is_empty()
        {
            self.closing = Closing::Ending { since, idle_since: Some(Instant::now()) };
        }
    }

    /// What is lost because this worker was asked to end was to be expected, and is no loss.
    async fn report_end(&mut self, attempt: AttemptId, mut end: AttemptEnd) {
        end.handed_back |= end.kind == EndKind::Lost && self.is_leaving();
        let message = self.reports.ended(attempt, end);
        self.containers.forget(attempt);
        self.tell(message).await;
    }

    async fn tell_exits(&mut self) {
        if self.welcome {
            for message in self.services.take_exits() {
                self.session.send(message).await;
            }
        }
    }

    /// Sends a message when there is a leader. What matters is kept and said again on the next connection.
    async fn tell(&mut self, message: FromWorker) {
        if self.welcome {
            self.session.send(message).await;
        }
    }

    fn heard(&mut self) {
        self.heard_at = Instant::now();
        self.context.groups.heard_leader();
    }

    fn growth(&self, log: &LogName) -> Growth {
        let grows = match log {
            LogName::Attempt(attempt) => self.attempts.holds(*attempt),
            LogName::Service(key) => self.services.runs(key),
        };
        if grows { Growth::Open } else { Growth::Closed }
    }

    fn is_leaving(&self) -> bool {
        !matches!(self.closing, Closing::No)
    }

    /// Takes nothing new from now on. A wait for services is as good elsewhere, and goes at once.
    async fn leave(&mut self) {
        let drain_max = self.settings.drain_max;
        if drain_max.is_zero() {
            return self.close().await;
        }
        self.closing = Closing::Leaving { since: Instant::now() };
        self.services.leave();
        self.attempts.stop_waits(&stop_cause(EndKind::Lost, SHUTTING_DOWN));
        tracing::info!(
            attempts = self.attempts.count(),
            "leaving: nothing new is taken, what runs may go on for {drain_max:?}; a second signal ends it now"
        );
        let beat = self.services.beat();
        self.tell(beat).await;
    }

    async fn close(&mut self) {
        self.closing = Closing::Ending { since: Instant::now(), idle_since: None };
        self.services.leave();
        let beat = self.services.beat();
        self.tell(beat).await;
        self.attempts.stop_others(&Default::default(), &stop_cause(EndKind::Lost, SHUTTING_DOWN));
        self.services.stop_others(&Default::default(), SHUTTING_DOWN);
    }

    fn is_closed(&self) -> bool {
        match self.closing {
            Closing::No | Closing::Leaving { .. } => false,
            Closing::Ending { since, idle_since } => {
                let idle = self.attempts.is_empty() && self.services.is_empty();
                let told = self.reports.is_empty() || idle_since.is_some_and(|at| at.elapsed() > LAST_REPORTS_MAX);
                idle && told || since.elapsed() > CLOSE_MAX
            }
        }
    }
}

fn stop_cause(kind: EndKind, reason: &str) -> StopCause {
    StopCause { kind, reason: reason.to_owned() }
}

/// What people are told of a wait between two looks; nothing without a next one.
fn next_look(end: &AttemptEnd) -> Option<String> {
    let pause = chrono::TimeDelta::from_std(Duration::try_from_secs_f64(end.again_after_secs?).ok()?).ok()?;
    let at = chrono::Utc::now().checked_add_signed(pause)?;
    Some(format!("{}; the next look is at {}", end.reason, at.format("%Y-%m-%d %H:%M:%S UTC")))
}

fn beats() -> Interval {
    let mut beats = interval(BEAT_EVERY);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}
