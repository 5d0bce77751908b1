//! Ships logs of attempts to where they are kept remotely: while they are written, and at their end.
//!
//! Nothing here holds an attempt back. What has to be shipped is noted on disk before the attempt writes a line and until
//! all of its log is there, so that a worker that was killed ships the rest when it is started again. A store that is away
//! is tried again with growing pauses.

mod due;
mod queue;

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use executor::log::{
    self,
    remote::{RemoteLogs, ShipError, Shipment},
};
use link::{Assignment, LogPlace, query::LogName};
use model::AttemptId;
use tokio::{
    sync::Notify,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until, timeout},
};

pub(super) use self::due::note;
use self::{
    due::DueList,
    queue::{Fault, Job, Outcome, Queue, WAITING_MAX},
};
use super::WorkerSettings;

/// Logs that are shipped at once; each holds at most one part in memory.
const SHIPMENTS_MAX: usize = 4;
/// How long the end of an attempt waits, so that the last lines of what it started are in its file.
const END_WAIT: Duration = Duration::from_millis(500);
/// How long a worker that shuts down goes on shipping. What is left is on disk, and the next one's.
const LAST_SHIPMENTS_MAX: Duration = Duration::from_secs(5);
/// How long to sleep when nothing is due; every change wakes the sleeper.
const IDLE: Duration = Duration::from_secs(3600);

/// The shipping of a worker's logs; nothing at all when they stay where they are.
#[derive(Clone)]
pub(super) struct Shipping(Option<Arc<Shared>>);

struct Shared {
    remote: RemoteLogs,
    log_dir: PathBuf,
    due: DueList,
    /// How often a log that grows is shipped.
    every: Duration,
    queue: Mutex<Queue>,
    /// Tells the loop that something may be due.
    changed: Notify,
}

/// The loop at work.
pub(super) struct Shipper {
    at_work: Option<(Arc<Shared>, JoinHandle<()>)>,
}

impl Shipping {
    /// Takes up what an earlier worker of this directory had still to ship.
    pub(super) fn open(settings: &WorkerSettings) -> io::Result<Self> {
        let Some(remote) = settings.logs_remote.clone() else { return Ok(Self(None)) };
        let due = DueList::open(&settings.log_dir)?;
        let mut queue = Queue::default();
        queue.take_up(due.read(WAITING_MAX, &BTreeSet::new())?, Instant::now());
        let shared = Shared {
            remote,
            log_dir: settings.log_dir.clone(),
            due,
            every: settings.ship_logs_every,
            queue: Mutex::new(queue),
            changed: Notify::new(),
        };
        Ok(Self(Some(Arc::new(shared))))
    }

    /// An attempt begins to write its log.
    pub(super) fn began(&self, assignment: &Assignment) {
        let Some(shared) = &self.0 else { return };
        let place = LogPlace::of(assignment);
        if let Err(error) = shared.due.add(&place) {
            // It is shipped all the same, unless this worker is killed before that.
            tracing::warn!(%error, attempt.id = %place.attempt, "that a log is to be shipped could not be written to disk");
        }
        shared.queue().began(place, Instant::now() + shared.every);
        shared.changed.notify_one();
    }

    /// An attempt has ended: its log is shipped whole.
    pub(super) fn ended(&self, attempt: AttemptId) {
        let Some(shared) = &self.0 else { return };
        shared.queue().ended(attempt, Instant::now() + END_WAIT);
        shared.changed.notify_one();
    }

    /// Begins to ship.
    pub(super) fn start(self) -> Shipper {
        Shipper { at_work: self.0.map(|shared| (Arc::clone(&shared), tokio::spawn(shared.run()))) }
    }
}

impl Shipper {
    /// Ships what has ended, for a while.
    pub(super) async fn finish(self) {
        let Some((shared, task)) = self.at_work else { return };
        shared.queue().close();
        shared.changed.notify_one();
        let stop = task.abort_handle();
        if timeout(LAST_SHIPMENTS_MAX, task).await.is_err() {
            stop.abort();
            tracing::warn!("logs are left to be shipped; the next worker on this directory does it");
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Each change of the queue is whole before anything in it can panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>) {
        let mut under_way = JoinSet::new();
        loop {
            self.take_more();
            while under_way.len() < SHIPMENTS_MAX
                && let Some((attempt, job)) = self.queue().next_due(Instant::now())
            {
                under_way.spawn(Arc::clone(&self).ship(attempt, job));
            }
            if self.queue().is_done() {
                return;
            }
            let next = self.queue().due_at().unwrap_or_else(|| Instant::now() + IDLE);
            let has_room = under_way.len() < SHIPMENTS_MAX;
            tokio::select! {
                Some(done) = under_way.join_next() => if let Err(panic) = done {
                    tracing::error!(%panic, "shipping a log broke down");
                },
                () = self.changed.notified() => {}
                () = sleep_until(next), if has_room => {}
            }
        }
    }

    /// Fills the queue with what it had no room for.
    fn take_more(&self) {
        if !self.queue().wants_more() {
            return;
        }
        let known = self.queue().known();
        match self.due.read(WAITING_MAX, &known) {
            Ok(places) => self.queue().take_up(places, Instant::now()),
            Err(error) => tracing::warn!(%error, "the list of logs to be shipped can not be read"),
        }
    }

    async fn ship(self: Arc<Self>, attempt: AttemptId, job: Job) {
        let path = log::path(&self.log_dir, &LogName::Attempt(attempt));
        let outcome = match self.remote.ship(&job.place, &path, job.shipped, job.shipment).await {
            Ok(shipped) if job.shipment == Shipment::Whole && is_all(&path, shipped) => Outcome::Done,
            Ok(shipped) => Outcome::SoFar(shipped),
            Err(error) => Outcome::Failed(error.to_string(), fault_of(&error)),
        };
        if matches!(outcome, Outcome::Done) {
            self.due.remove(attempt);
        }
        self.queue().settle(attempt, outcome, Instant::now(), self.every);
        self.changed.notify_one();
    }
}

/// Whether nothing was written behind the end that was shipped.
fn is_all(path: &Path, shipped: u64) -> bool {
    path.metadata().map_or(true, |file| file.len() <= shipped)
}

fn fault_of(error: &ShipError) -> Fault {
    match error {
        ShipError::File { .. } => Fault::File,
        ShipError::Store { .. } => Fault::Store,
    }
}
