//! Which log is to be shipped when. Everything here is decided under one lock, from instants that are given.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use executor::log::remote::Shipment;
use link::LogPlace;
use model::AttemptId;
use rand::Rng as _;
use tokio::time::Instant;

/// Ended logs that wait in memory. More wait on disk only, and are taken up when these are done.
pub(super) const WAITING_MAX: usize = 1000;
/// The pause after a failure; it doubles up to the longest. A store that is back is noticed within that.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A file that can not be read so often is given up: it is this machine's disk, and waiting does not mend it.
const FILE_FAULTS_MAX: u32 = 10;

/// What is to be done for a log now.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) place: LogPlace,
    /// How far it was shipped, when that is known.
    pub(super) shipped: Option<u64>,
    pub(super) shipment: Shipment,
}

/// What has come of it.
#[derive(Debug)]
pub(super) enum Outcome {
    /// All of the log is there.
    Done,
    /// So many bytes are there.
    SoFar(u64),
    /// It failed.
    Failed(String, Fault),
}

/// Whose fault a failure was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The worker's own file could not be read.
    File,
    /// The store is away, or refuses.
    Store,
}

#[derive(Debug)]
struct Entry {
    job: Job,
    due: Instant,
    failures: u32,
    under_way: bool,
}

/// The logs that are written, and those that have ended and are not all shipped yet.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: BTreeMap<AttemptId, Entry>,
    /// Some wait on disk only.
    more_on_disk: bool,
    /// The worker shuts down: what has ended is shipped, and then nothing more.
    closing: bool,
    /// A failure was told, and no success since.
    away: bool,
}

impl Queue {
    /// A log is begun; it is due at `due` for the first time.
    pub(super) fn began(&mut self, place: LogPlace, due: Instant) {
        let attempt = place.attempt;
        // An earlier worker may have shipped some of it; else nothing is there yet.
        let shipped = if self.entries.contains_key(&attempt) { None } else { Some(0) };
        let job = Job { place, shipped, shipment: Shipment::SoFar };
        self.entries.insert(attempt, Entry { job, due, failures: 0, under_way: false });
    }

    /// A log has ended.
    pub(super) fn ended(&mut self, attempt: AttemptId, due: Instant) {
        let Some(entry) = self.entries.get_mut(&attempt) else { return };
        entry.job.shipment = Shipment::Whole;
        entry.due = due;
        if self.entries.len() > WAITING_MAX && !self.entries[&attempt].under_way {
            self.entries.remove(&attempt);
            self.more_on_disk = true;
        }
    }

    /// The logs that are here.
    pub(super) fn known(&self) -> BTreeSet<AttemptId> {
        self.entries.keys().copied().collect()
    }

    /// Takes up logs from disk, at most [`WAITING_MAX`] at a time. Those that are not here have ended: their attempts are not
    /// this worker's, or were let go.
    pub(super) fn take_up(&mut self, places: Vec<LogPlace>, now: Instant) {
        self.more_on_disk = places.len() >= WAITING_MAX;
        for place in places {
            let job = Job { place, shipped: None, shipment: Shipment::Whole };
            let entry = Entry { job, due: now, failures: 0, under_way: false };
            self.entries.entry(entry.job.place.attempt).or_insert(entry);
        }
    }

    /// Whether logs that wait on disk should be taken up.
    pub(super) fn wants_more(&self) -> bool {
        self.more_on_disk && !self.closing && self.entries.len() < WAITING_MAX / 2
    }

    /// The log that is due first, if one is.
    pub(super) fn next_due(&mut self, now: Instant) -> Option<(AttemptId, Job)> {
        let idle = self.entries.iter_mut().filter(|(_, entry)| !entry.under_way);
        let (attempt, entry) = idle.min_by_key(|(_, entry)| entry.due).filter(|(_, entry)| entry.due <= now)?;
        entry.under_way = true;
        Some((*attempt, entry.job.clone()))
    }

    /// When the next one is due.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.entries.values().filter(|entry| !entry.under_way).map(|entry| entry.due).min()
    }

    /// Nothing is begun any more.
    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    /// Whether the worker shuts down and no ended log waits.
    pub(super) fn is_done(&self) -> bool {
        self.closing && self.entries.values().all(|entry| entry.job.shipment == Shipment::SoFar && !entry.under_way)
    }

    /// Remembers what has come of a job, and when the log is due again.
    pub(super) fn settle(&mut self, attempt: AttemptId, outcome: Outcome, now: Instant, every: Duration) {
        let Some(entry) = self.entries.get_mut(&attempt) else { return };
        entry.under_way = false;
        match outcome {
            Outcome::Done => {
                self.entries.remove(&attempt);
                self.reached(now);
            }
            Outcome::SoFar(shipped) => {
                entry.job.shipped = Some(shipped);
                entry.failures = 0;
                // An end that came meanwhile has set its own time.
                if entry.job.shipment == Shipment::SoFar {
                    entry.due = now + every;
                }
                self.reached(now);
            }
            Outcome::Failed(reason, Fault::File) if entry.failures + 1 >= FILE_FAULTS_MAX => {
                tracing::error!(%reason, attempt.id = %attempt, "a log is not shipped");
                self.entries.remove(&attempt);
            }
            Outcome::Failed(reason, fault) => {
                entry.due = now + pause(entry.failures);
                entry.failures += 1;
                // What came of a put whose answer was lost is not known.
                entry.job.shipped = None;
                if fault == Fault::Store && !self.away {
                    self.away = true;
                    tracing::warn!(%reason, "logs can not be shipped; they are kept here and tried again");
                }
            }
        }
    }

    /// The store has taken something: what had failed needs to wait no longer.
    fn reached(&mut self, now: Instant) {
        if !std::mem::take(&mut self.away) {
            return;
        }
        tracing::info!("logs can be shipped again");
        for entry in self.entries.values_mut().filter(|entry| entry.failures > 0) {
            entry.due = entry.due.min(now);
        }
    }
}

/// The pause after so many failures, spread so that workers do not come all at once.
fn pause(failures: u32) -> Duration {
    let doubled = PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(failures));
    doubled.min(PAUSE_MAX).mul_f64(rand::rng().random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use model::{DagId, MapIndex, RunId, TaskId};
    use uuid::Uuid;

    use super::*;

    const EVERY: Duration = Duration::from_secs(10);

    fn place(number: u128) -> LogPlace {
        LogPlace {
            dag_id: DagId::new("d").unwrap(),
            run_id: RunId::new("r").unwrap(),
            task_id: TaskId::new("t").unwrap(),
            map_index: MapIndex::UNMAPPED,
            try_number: 1,
            attempt: AttemptId(Uuid::from_u128(number)),
        }
    }

    #[test]
    fn a_log_is_shipped_while_it_grows_and_whole_at_its_end() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.began(place(1), now + EVERY);
        assert!(queue.next_due(now).is_none());
        let (attempt, job) = queue.next_due(now + EVERY).unwrap();
        assert_eq!((job.shipped, job.shipment), (Some(0), Shipment::SoFar));
        queue.ended(attempt, now + EVERY);
        assert!(queue.next_due(now + EVERY).is_none(), "one shipment of a log at a time");
        queue.settle(attempt, Outcome::SoFar(7), now + EVERY, EVERY);
        let (_, job) = queue.next_due(now + EVERY).unwrap();
        assert_eq!((job.shipped, job.shipment), (Some(7), Shipment::Whole));
        queue.close();
        assert!(!queue.is_done());
        queue.settle(attempt, Outcome::Done, now, EVERY);
        assert!(queue.is_done());
    }

    #[test]
    fn a_store_that_is_away_is_tried_with_growing_pauses_and_its_return_ends_them_all() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.take_up(vec![place(1), place(2)], now);
        let fail = |queue: &mut Queue, at| {
            let (attempt, _) = queue.next_due(at).unwrap();
            queue.settle(attempt, Outcome::Failed("away".to_owned(), Fault::Store), at, EVERY);
            attempt
        };
        let mut at = now;
        for _ in 0..20 {
            fail(&mut queue, at);
            at = queue.due_at().unwrap().max(at);
        }
        fail(&mut queue, at);
        let waits = queue.entries.values().map(|entry| entry.due.saturating_duration_since(at)).max().unwrap();
        assert!(waits >= PAUSE_MAX / 4 && waits <= PAUSE_MAX, "{waits:?}");
        at = queue.due_at().unwrap();
        let (attempt, job) = queue.next_due(at).unwrap();
        assert_eq!(job.shipped, None, "how far it got is asked");
        queue.settle(attempt, Outcome::Done, at, EVERY);
        assert!(queue.next_due(at).is_some());
    }

    #[test]
    fn what_does_not_fit_into_memory_waits_on_disk() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.take_up((0..WAITING_MAX as u128).map(place).collect(), now);
        assert!(queue.more_on_disk && !queue.wants_more());
        while queue.entries.len() >= WAITING_MAX / 2 {
            let (attempt, _) = queue.next_due(now).unwrap();
            queue.settle(attempt, Outcome::Done, now, EVERY);
        }
        assert!(queue.wants_more());
    }

    #[test]
    fn an_attempt_that_is_gone_on_with_is_not_taken_for_ended() {
        let now = Instant::now();
        let mut queue = Queue::default();
        queue.take_up(vec![place(1)], now);
        queue.began(place(1), now);
        let (_, job) = queue.next_due(now).unwrap();
        assert_eq!((job.shipped, job.shipment), (None, Shipment::SoFar));
    }
}
