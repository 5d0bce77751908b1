//! One reign: memory loaded once, then turn after turn until something ends it.

use std::{
    collections::BTreeMap,
    ops::Range,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use engine::{Engine, Event, Rest};
use link::{FromWorker, ServiceExit, ToWorker, transport::Claim};
use model::{AttemptId, Command, CommandId, Epoch, Timestamp, TurnNumber, WorkerId};
use sqlx::PgPool;
use store::{
    Changes, Leadership, StoreError, Writer,
    hints::{Hint, Hints},
    inbox,
};
use tokio::sync::{
    broadcast::{self, error::RecvError},
    mpsc,
};

use super::{
    COMMANDS, EVENTS_MAX, Ear, LeaderMetrics, LeaderSettings, NEWS_MAX, News,
    announce::{Announcement, Announcer},
    batch::Batch,
    bundles::{Keeper, Means},
    clock::{Clock, Correction},
    deletions::Deletions,
    fetch::{Asker, Fetcher},
    folder_news::Folders,
    held::Held,
    housekeeping::Housekeeping,
    lease::LeaseWatch,
    notifications::Notifier,
    peers::{ConnectionId, Peer, Peers, Presence},
    queries::LogReads,
    said::Said,
    scope::ScopeHandle,
    trials::Trials,
};
use crate::services::{self, Declared, Replica, Supervisor};

/// Workers and waiting attempts hear of the leader at least so often; also how often silence is measured.
pub(super) const BEAT: Duration = Duration::from_secs(1);
/// How soon orders go on for which a worker had no room.
const ORDERS_EVERY: Duration = Duration::from_millis(5);
/// DAGs whose schedule is computed anew in one turn.
const RENEWALS_MAX: usize = 500;

/// The clocks of two leaders agree to within less than this: what was assigned closer to a worker's start may have been
/// assigned to the process before.
const CLOCK_DOUBT: TimeDelta = TimeDelta::seconds(5);

/// How a reign ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReignEnd {
    /// The process was asked to stop.
    Asked,
    /// Another process leads.
    Deposed,
}

/// A leader's memory and its ways to the world.
pub struct Reign {
    pub(super) name: String,
    pub(super) database_url: String,
    pub(super) epoch: Epoch,
    pub(super) turn: TurnNumber,
    pub(super) writer: Writer,
    pub(super) engine: Engine,
    /// What the installation decides for all of its DAGs.
    pub(super) engine_settings: engine::Settings,
    pub(super) supervisor: Supervisor,
    pub(super) peers: Peers,
    pub(super) clock: Clock,
    pub(super) run_keys: Range<i64>,
    pub(super) folders: Folders,
    pub(super) log_reads: LogReads,
    pub(super) trials: Trials,
    pub(super) notifier: Notifier,
    pub(super) fetcher: Fetcher,
    pub(super) said: Said,
    pub(super) announcer: Announcer,
    pub(super) metrics: LeaderMetrics,
    /// DAGs whose schedule is still to be computed anew, as at each takeover.
    renewals: Vec<Event>,
    /// How much is in quarantine, as it was last counted.
    pub(super) quarantined: u64,
    pub(super) held: Held,
    pub(super) lease: LeaseWatch,
    /// Whether the last turn has left something for the next.
    pub(super) rest: Rest,
    pub(super) deletions: Deletions,
    /// Whether the inbox may have more than was read of it.
    pub(super) has_more_commands: bool,
    pub(super) next_beat: Instant,
    pub(super) next_picture: Instant,
    pub(super) housekeeping: Housekeeping,
}

impl Reign {
    /// Loads what the store has and starts to watch the DAG folder. What it starts lives in the scope.
    pub(super) async fn begin(
        settings: &LeaderSettings,
        (mut writer, leadership, lease): (Writer, Leadership, LeaseWatch),
        news: mpsc::Sender<News>,
        (pool, scope): (PgPool, ScopeHandle),
    ) -> Result<Self, StoreError> {
        // At once: what is loaded takes its time.
        let mut clock = Clock::new(leadership.now);
        let store::Loaded { snapshot, unreadable } = store::load(writer.connection()).await?;
        for unreadable in &unreadable {
            unreadable.say();
        }
        store::hold_unreadable(&mut writer, leadership.epoch, &unreadable).await?;
        raise_format(&mut writer, leadership.epoch, &snapshot).await?;
        let mut peers = Peers::default();
        for worker in &snapshot.workers {
            peers.expect(worker.worker, &worker.name, worker.slots);
        }
        let supervisor = Supervisor::load(
            store::load_services(writer.connection()).await?.into_iter().map(Replica::from_row).collect(),
        );
        let hints = Hints::listen(&pool).await?;
        scope.spawn(pass_on(hints.subscribe(), news));
        let folders = Folders::watch(&settings.dags, writer.connection(), &scope, settings.metrics.clone()).await?;
        if let Some(news) = folders.bundle_news() {
            let (key, backends) = (settings.secret_key.clone(), Arc::clone(&settings.secrets));
            let metrics = settings.metrics.clone();
            let means = Means { pool: pool.clone(), epoch: leadership.epoch, key, backends, metrics };
            let keeper = Keeper::new(means, Arc::clone(&settings.bundles), news, folders.bundles());
            scope.spawn(keeper.keep(hints.subscribe()));
        }
        Ok(Self {
            name: settings.name.clone(),
            database_url: settings.database_url.clone(),
            epoch: leadership.epoch,
            turn: leadership.turn,
            run_keys: store::reserve_run_keys(writer.connection()).await?,
            renewals: renewals(&snapshot),
            quarantined: store::quarantine::held_count(writer.connection()).await?,
            held: Held::of(store::quarantine::held(writer.connection()).await?),
            engine: load(snapshot, clock.now(), settings.engine.clone())?,
            engine_settings: settings.engine.clone(),
            announcer: Announcer::start(pool.clone(), &scope),
            notifier: Notifier::start((pool.clone(), leadership.epoch), settings.metrics.clone(), &scope),
            fetcher: Fetcher::new(pool, (settings.secret_key.clone(), Arc::clone(&settings.secrets)), hints, scope),
            log_reads: LogReads::default(),
            trials: Trials::default(),
            said: Said::default(),
            metrics: settings.metrics.clone(),
            lease,
            rest: Rest::Nothing,
            deletions: Deletions::default(),
            has_more_commands: false,
            next_beat: Instant::now(),
            next_picture: Instant::now(),
            housekeeping: Housekeeping::new(settings.retention),
            writer,
            supervisor,
            peers,
            clock,
            folders,
        })
    }

    /// Turns, until the end.
    pub(super) async fn run(mut self, ear: &mut Ear) -> Result<ReignEnd, StoreError> {
        let mut batch = Batch { reads_inbox: true, ..Batch::default() };
        loop {
            self.follow_clock().await?;
            self.go_on_deleting(&mut batch).await?;
            if batch.reads_inbox {
                self.read_inbox(&mut batch).await?;
            }
            self.read_folder(&mut batch).await?;
            self.keep_time(&mut batch);
            self.turn(batch).await?;
            self.metrics.turns_on();
            self.keep_house().await?;
            self.show(ear);
            batch = Batch { reads_inbox: std::mem::take(&mut self.has_more_commands), ..Batch::default() };
            self.answer_some(ear);
            self.send_orders();
            let first = loop {
                let patience = if batch.reads_inbox { Duration::ZERO } else { self.patience() };
                tokio::select! {
                    news = ear.receiver.recv() => break news,
                    () = self.folders.hear() => break None,
                    () = self.lease.changed() => break None,
                    asked = ear.questions.next() => self.answer(asked),
                    Some(delivery) = self.notifier.next() => self.deliver(delivery),
                    () = tokio::time::sleep(patience) => break None,
                    () = ear.shutdown.cancelled() => return Ok(ReignEnd::Asked),
                }
            };
            // What waits is heard also when there is no time to wait for it.
            let mut next = first.or_else(|| ear.receiver.try_recv().ok());
            while let Some(news) = next.take() {
                self.take(news, &mut batch).await?;
                if batch.events.len() < NEWS_MAX {
                    next = ear.receiver.try_recv().ok();
                }
            }
        }
    }

    /// How long nothing needs to be done without news.
    fn patience(&mut self) -> Duration {
        /// The longest sleep: a timer that is farther away is looked at again.
        const LONGEST: Duration = Duration::from_secs(3600);
        let goes_on = self.rest == Rest::Continue || !self.deletions.is_empty();
        if goes_on || self.folders.has_work() || !self.renewals.is_empty() {
            return Duration::ZERO;
        }
        let timers = [self.engine.next_wakeup(), self.supervisor.next_wakeup()];
        let timer = timers.into_iter().flatten().min().map_or(LONGEST, |at| self.clock.until(at));
        let timer = if self.peers.has_orders_to_send() { timer.min(ORDERS_EVERY) } else { timer };
        let beat =
            if self.peers.is_watching() { self.next_beat.saturating_duration_since(Instant::now()) } else { LONGEST };
        timer.min(beat)
    }

    /// Follows the database's clock. When it must go far back, what was planned is planned anew, and this leadership ends.
    async fn follow_clock(&mut self) -> Result<(), StoreError> {
        let Some(sample) = self.lease.sample() else { return Ok(()) };
        match self.clock.follow(sample) {
            Correction::None => {}
            Correction::Forward(by) => {
                tracing::warn!(
                    by_secs = by.as_seconds_f64(),
                    "the clock is set forward: this machine slept, or the database's clock was set"
                );
            }
            Correction::Slower(ahead) => {
                tracing::warn!(
                    ahead_secs = ahead.as_seconds_f64(),
                    "the database's clock is behind that of the leadership: it was set back, or is wrong; check its machine's time"
                );
            }
            Correction::GoesBack(by) => {
                store::set_clock_back(&mut self.writer, self.epoch, self.clock.newest()).await?;
                let what = format!(
                    "the database's clock has stood {} s behind for ten minutes; what was planned by a wrong clock is planned anew",
                    by.num_seconds()
                );
                return Err(StoreError::Diverged { what });
            }
        }
        Ok(())
    }

    /// Once a beat: acknowledges, measures silence, lets the supervisor look.
    fn keep_time(&mut self, batch: &mut Batch) {
        let now = self.clock.now();
        if Instant::now() >= self.next_beat {
            let late = self.next_beat.elapsed();
            if late > BEAT {
                self.peers.heard_nobody_for(late);
            }
            self.next_beat = Instant::now() + BEAT;
            self.acknowledge_all();
            self.log_reads.give_up();
            self.trials.give_up();
            self.notifier.give_up();
            for (worker, presence) in self.peers.changed_presence() {
                self.presence_changed(now, worker, presence, batch);
            }
            self.supervisor.retire(now, |dag| self.engine.declares(dag));
            self.supervisor.tick(now);
        } else if self.supervisor.next_wakeup().is_some_and(|at| at <= now) {
            self.supervisor.tick(now);
        }
    }

    fn presence_changed(&mut self, now: Timestamp, worker: WorkerId, presence: Presence, batch: &mut Batch) {
        match presence {
            Presence::Alive => {}
            Presence::Silent if self.has_left(worker) => {
                tracing::info!(worker.id = worker.get(), "a worker that was asked to end has ended");
                self.worker_gone(now, worker, batch);
            }
            Presence::Silent => {
                tracing::warn!(worker.id = worker.get(), "a worker is silent: it gets nothing new");
                self.supervisor.worker_silent(worker);
                batch.events.push(Event::WorkerSilent(worker));
            }
            Presence::Dead => {
                tracing::error!(worker.id = worker.get(), "a worker is dead: what it ran is tried again elsewhere");
                self.worker_gone(now, worker, batch);
            }
        }
    }

    /// Whether a silent worker has said that it leaves, and has given back all that it ran.
    fn has_left(&self, worker: WorkerId) -> bool {
        self.peers.get(worker).is_some_and(Peer::is_leaving) && self.engine.attempt_count_on(worker) == 0
    }

    fn worker_gone(&mut self, now: Timestamp, worker: WorkerId, batch: &mut Batch) {
        self.peers.remove(worker);
        self.notifier.worker_lost(worker);
        self.supervisor.worker_lost(now, worker);
        batch.events.push(Event::WorkerLost(worker));
        batch.lost.push(worker);
    }

    /// Takes one piece of news into a batch.
    async fn take(&mut self, news: News, batch: &mut Batch) -> Result<(), StoreError> {
        match news {
            News::Hello { connection, hello, claim, sender } => {
                if self.may_speak(&hello, claim).await? {
                    self.welcome(connection, &hello, sender, batch).await?;
                }
            }
            News::FromWorker { connection, message } => {
                if let Some(worker) = self.peers.heard(connection) {
                    self.heard((worker, connection), *message, batch);
                }
            }
            News::Disconnected(connection) => self.peers.disconnected(connection),
            News::Inbox => batch.reads_inbox = true,
        }
        Ok(())
    }

    /// A worker of a version without certificates may join, but not under the name of one that has a certificate.
    async fn may_speak(&mut self, hello: &link::Hello, claim: Claim) -> Result<bool, StoreError> {
        if claim != Claim::Unproven {
            return Ok(true);
        }
        let taken = store::certificates::is_certified(self.writer.connection(), hello.worker).await?;
        if taken {
            tracing::error!(worker.name = %hello.name, claimed = %hello.worker, "a worker is turned away: it speaks in the name of one that has a certificate");
        }
        Ok(!taken)
    }

    async fn welcome(
        &mut self,
        connection: ConnectionId,
        hello: &link::Hello,
        sender: mpsc::Sender<ToWorker>,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        if !link::speaks(hello.protocol, hello.protocol_oldest) {
            tracing::error!(worker.name = %hello.name, protocol = hello.protocol, "a worker speaks another protocol: update the older one of worker and scheduler");
            return Ok(());
        }
        let now = self.clock.now();
        let worker = match store::register_worker(&mut self.writer, self.epoch, &record(hello)).await {
            Ok(worker) => worker,
            Err(error) if error.refuses_value() => {
                tracing::error!(worker.name = ?hello.name, claimed = %hello.worker, %error, "a worker is turned away: what it says of itself can not be stored");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if self.held.has_worker(worker) {
            tracing::error!(worker.name = %hello.name, "a worker is in quarantine: `windlass quarantine list` says why");
            return Ok(());
        }
        self.peers.joined(worker, hello, connection, sender);
        let live = self.engine.attempts_on(worker);
        let started = hello.up_micros.map(|up| ago(now, up) + CLOCK_DOUBT);
        let since_start = |attempt| started.zip(self.engine.assigned_at(attempt)).is_some_and(|(start, at)| at > start);
        let unsent = self.peers.undelivered(worker, &live, hello, since_start);
        let presence = if hello.leaving { services::Presence::Leaving } else { services::Presence::Accepting };
        self.supervisor.worker_joined(now, worker, &hello.capabilities, &hello.services, presence);
        batch.events.push(Event::WorkerJoined(engine::WorkerJoined {
            worker,
            name: hello.name.clone(),
            slots: hello.slots,
            queues: hello.queues.clone(),
            capabilities: hello.capabilities.clone(),
            operators: hello.operators.clone(),
            attempts: hello.attempts.iter().chain(&unsent).copied().collect(),
            leaving: hello.leaving,
        }));
        tracing::info!(worker.id = worker.get(), worker.name = %hello.name, "a worker has joined");
        batch.welcomes.insert(worker, unsent);
        Ok(())
    }

    fn heard(&mut self, from: (WorkerId, ConnectionId), message: FromWorker, batch: &mut Batch) {
        let (worker, connection) = from;
        let now = self.clock.now();
        match message {
            FromWorker::Hello(_) => {}
            FromWorker::Started { seq, attempt, ago_micros } => {
                batch.reported(connection, seq);
                let at = ago(now, ago_micros);
                batch.events.push(Event::AttemptStarted { worker, attempt, at });
            }
            FromWorker::Deferred { seq, attempt, ago_micros, end } => {
                batch.reported(connection, seq);
                let at = ago(now, ago_micros);
                batch.events.push(Event::AttemptDeferred { worker, attempt, at, end: end.into() });
            }
            FromWorker::Ended { seq, attempt, end } => {
                batch.reported(connection, seq);
                batch.ended.insert((worker, attempt));
                self.supervisor.forget(attempt);
                self.said.forget(attempt);
                batch.events.push(Event::AttemptEnded { worker, attempt, end: end.into() });
            }
            FromWorker::Unreadable { kind, why } => {
                tracing::error!(
                    worker.id = worker.get(),
                    kind,
                    why,
                    "a worker says what this version does not know: update the scheduler"
                );
            }
            FromWorker::Beat { services, started, leaving } => {
                if leaving && self.peers.leaves(worker) {
                    tracing::info!(worker.id = worker.get(), "a worker was asked to end: it gets nothing new");
                    self.supervisor.worker_leaving(worker);
                    batch.events.push(Event::WorkerLeaving(worker));
                }
                for instance in started {
                    self.supervisor.started(now, instance);
                }
                for report in &services {
                    self.supervisor.report(now, report);
                }
            }
            FromWorker::Said { attempt, line } => self.said.hear(attempt, &line, &self.engine),
            FromWorker::ServiceExited(exit) => self.service_exited(now, &exit),
            FromWorker::DeclareServices { attempt, services, hashes } => {
                if let Some(dag) = self.engine.dag_of_attempt(attempt) {
                    let services = services.into_iter().zip(hashes).collect();
                    self.supervisor.declare(now, Declared { attempt, worker, dag, services });
                }
            }
            FromWorker::Fetch { id, attempt, key } => self.fetch(worker, id, attempt, key),
            FromWorker::Log { id, bytes, length, ended } => self.log_reads.arrived(id, bytes, length, ended),
            FromWorker::Tried { id, works, message } => self.trials.arrived(id, works, message),
            FromWorker::Notified { id, told, message } => self.notifier.arrived(id, told, message),
        }
    }

    fn service_exited(&mut self, now: Timestamp, exit: &ServiceExit) {
        tracing::info!(instance = %exit.instance, exit_code = exit.exit_code, reason = %exit.reason, "a service has ended");
        self.supervisor.exited(now, exit);
    }

    fn fetch(&mut self, worker: WorkerId, id: u64, attempt: Option<AttemptId>, key: link::FetchKey) {
        let asker = attempt.and_then(|attempt| {
            let of_instance = self.engine.instance_of_attempt(attempt).map(|instance| instance.run);
            let run = of_instance.or_else(|| self.notifier.run_of(attempt))?;
            Some(Asker { attempt, run })
        });
        if let Some(sender) = self.peers.sender(worker) {
            self.fetcher.fetch(id, asker, key, sender);
        }
    }

    /// Reads what a turn has room for; what is left waits for the next one, which follows at once.
    async fn read_inbox(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        batch.reads_inbox = false;
        self.take_released(batch).await?;
        let read = inbox::read_inbox(&mut self.writer, self.epoch, COMMANDS).await?;
        self.has_more_commands = read.len() >= COMMANDS.few.min(COMMANDS.bulk) as usize;
        for waiting in read {
            match waiting.command {
                Err(why) => self.bury(waiting.id, &why).await?,
                Ok(_) if waiting.deliveries > inbox::DELIVERIES_MAX => {
                    self.bury(waiting.id, "the command was tried three times, and the leader failed each time").await?;
                }
                Ok(Command::ControlService { dag_id, name, action }) => {
                    let now = self.clock.now();
                    let known = self.supervisor.control(now, &dag_id, name.as_str(), action);
                    batch.answers.push((waiting.id, service_answer(known, &dag_id, name.as_str())));
                }
                Ok(Command::DeleteDag { dag_id }) => self.deletions.add(waiting.id, waiting.sent_by, dag_id),
                Ok(command) => batch.events.push(Event::Command { id: waiting.id, by: waiting.sent_by, command }),
            }
        }
        Ok(())
    }

    /// Stores some of what the DAG folder has. The rest waits for the next turn: workers are heard in between.
    async fn read_folder(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        let room = RENEWALS_MAX.min(EVENTS_MAX.saturating_sub(batch.events.len()));
        let left = self.renewals.len().saturating_sub(room);
        let renewed: Vec<Event> = self.renewals.drain(left..).filter(|event| !self.held.has(event)).collect();
        batch.events.extend(renewed);
        if self.folders.has_work() {
            let taken = self.folders.take(&mut self.writer, self.epoch).await?;
            batch.events.extend(taken.events.into_iter().filter(|event| !self.held.has(event)));
            if taken.has_changed {
                self.announcer.send(Announcement::Changes(Changes::anything()));
            }
        }
        Ok(())
    }

    pub(super) async fn bury(&mut self, id: CommandId, why: &str) -> Result<(), StoreError> {
        tracing::error!(command.id = id.get(), why, "a command is given up");
        inbox::mark_dead(&mut self.writer, self.epoch, id, why).await?;
        self.announcer.send(Announcement::Answers(vec![id]));
        // It stands among the import errors now.
        self.announcer.send(Announcement::Changes(Changes::anything()));
        self.quarantined += 1;
        Ok(())
    }
}

/// A state that has operators, or expanded tasks, which older binaries do not know says so to them.
async fn raise_format(writer: &mut Writer, epoch: Epoch, snapshot: &engine::Snapshot) -> Result<(), StoreError> {
    match snapshot.versions.iter().map(|version| store::leader::format_of_dag(&version.dag)).max() {
        Some(needed) => store::leader::raise_format(writer, epoch, needed).await,
        None => Ok(()),
    }
}

/// So many microseconds before now, as a worker says; what can not be is taken as now.
fn ago(now: Timestamp, micros: i64) -> Timestamp {
    now.checked_sub_signed(TimeDelta::microseconds(micros.max(0))).unwrap_or(now)
}

fn record(hello: &link::Hello) -> store::WorkerRecord {
    store::WorkerRecord {
        identity: hello.worker,
        name: hello.name.clone(),
        slots: hello.slots,
        queues: hello.queues.clone(),
        capabilities: hello.capabilities.clone(),
    }
}

/// Loads the engine. A panic is a defect of it: the error of this load, and not the end of the process.
pub(super) fn load(
    snapshot: engine::Snapshot,
    now: Timestamp,
    settings: engine::Settings,
) -> Result<Engine, StoreError> {
    let load = || Engine::load(snapshot, now).with_settings(settings);
    let loaded = std::panic::catch_unwind(AssertUnwindSafe(load));
    loaded.map_err(|_| StoreError::Corrupt { what: "the engine gave up on what is stored".to_owned() })
}

/// Every DAG that a file defines, as if it had been stored just now: a leader that died after it had stored a version, and
/// before the turn about it, left a DAG without a schedule.
fn renewals(snapshot: &engine::Snapshot) -> Vec<Event> {
    let versions: BTreeMap<_, _> = snapshot.versions.iter().map(|version| (version.id, version)).collect();
    let defined = snapshot.dags.iter().filter(|dag| !dag.is_stale);
    let current = defined.filter_map(|dag| versions.get(&dag.current));
    current.map(|version| Event::DagVersionStored { version: (*version).clone() }).collect()
}

/// Passes the store's hints of the inbox on.
async fn pass_on(mut heard: broadcast::Receiver<Hint>, news: mpsc::Sender<News>) {
    loop {
        match heard.recv().await {
            Ok(Hint::Inbox | Hint::Everything) | Err(RecvError::Lagged(_)) => {
                // A full queue means that the leader is about to look anyway.
                drop(news.try_send(News::Inbox));
            }
            Ok(Hint::Answers(_) | Hint::Changes(_)) => {}
            Err(RecvError::Closed) => break,
        }
    }
}

fn service_answer(known: bool, dag: &model::DagId, name: &str) -> model::Answer {
    use model::{Answer, AnswerStatus};
    if known {
        return Answer { status: AnswerStatus::Done, body: serde_json::json!({}) };
    }
    let detail = format!("DAG {dag} has no service {name}; `windlass services list` shows those that were declared");
    Answer { status: AnswerStatus::NotFound, body: serde_json::json!({ "detail": detail }) }
}
