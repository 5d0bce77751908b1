//! Whether the scheduler lives, by its lease: the number that it raises each second in PostgreSQL.
//!
//! What always holds here: a heartbeat is a change of that number that this process has seen itself; nothing is healthy because
//! somebody asked. While nobody asks nothing is looked at, and what was seen before that proves nothing afterwards.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chrono::Utc;
use model::Timestamp;
use store::read;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::app::App;

/// The lease is looked at so often while somebody asks: it is raised each second.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A scheduler that has not raised its lease for so long is not well; a standby takes over within 5 s.
const SILENT_AFTER: Duration = Duration::from_secs(10);
/// Looking goes on for so long after a question: probes come back within a minute.
const ASKED_FOR: Duration = Duration::from_secs(60);
/// The first question waits for so long to see the lease move.
const FIRST_LOOK: Duration = Duration::from_millis(2_500);

/// How scheduler and database are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Whether PostgreSQL answers.
    pub database: bool,
    /// Whether the scheduler's lease moves.
    pub scheduler: bool,
    /// When the lease was seen to move last.
    pub heartbeat: Option<Timestamp>,
}

/// What has been seen of the lease.
#[derive(Debug, Clone, Copy)]
struct Sight {
    began: Instant,
    looked: bool,
    database: bool,
    lease: Option<(i64, i64)>,
    moved: Option<(Instant, Timestamp)>,
}

impl Sight {
    fn new(now: Instant) -> Self {
        Self { began: now, looked: false, database: false, lease: None, moved: None }
    }

    /// Looks anew after a pause; when the lease moved last is still told.
    fn again(&mut self, now: Instant) {
        *self = Self { moved: self.moved, ..Self::new(now) };
    }

    /// Takes in what the database says: epoch and number, or nothing.
    fn look(&mut self, lease: Option<(i64, i64)>, now: Instant, at: Timestamp) {
        self.looked = true;
        self.database = lease.is_some();
        if let (Some(before), Some(seen)) = (self.lease, lease)
            && before != seen
        {
            self.moved = Some((now, at));
        }
        self.lease = lease.or(self.lease);
    }

    fn has_moved(&self, now: Instant) -> bool {
        self.moved.is_some_and(|(moved, _)| moved >= self.began && now.saturating_duration_since(moved) < SILENT_AFTER)
    }

    /// Whether looking longer would tell nothing else.
    fn is_sure(&self, now: Instant) -> bool {
        self.looked
            && (!self.database || self.has_moved(now) || now.saturating_duration_since(self.began) >= FIRST_LOOK)
    }

    fn health(&self, now: Instant) -> Health {
        Health {
            database: self.database,
            scheduler: self.database && self.has_moved(now),
            heartbeat: self.moved.map(|(_, at)| at),
        }
    }
}

/// The looking itself.
pub struct Heartbeat {
    sight: watch::Sender<Sight>,
    asked: Mutex<Option<Instant>>,
    wake: Notify,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { sight: watch::Sender::new(Sight::new(Instant::now())), asked: Mutex::default(), wake: Notify::new() }
    }
}

impl Heartbeat {
    /// How the scheduler is: at once while others ask, too, else after the lease was given the time to move.
    pub async fn health(&self) -> Health {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.wake.notify_one();
        let mut seen = self.sight.subscribe();
        // Whoever looks may have stopped: then nothing is known, and nothing is well.
        drop(timeout(FIRST_LOOK * 2, seen.wait_for(|sight| sight.is_sure(Instant::now()))).await);
        let sight = *seen.borrow();
        sight.health(Instant::now())
    }

    fn is_asked(&self) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.is_some_and(|asked| asked.elapsed() < ASKED_FOR)
    }
}

/// Looks at the lease while somebody asks, until the server stops.
pub async fn keep(app: App) {
    let pool = &app.pool;
    let lease = move || async move {
        let seen = timeout(SILENT_AFTER, read::leader(pool)).await.ok().and_then(Result::ok);
        seen.map(|leader| (leader.epoch, leader.lease))
    };
    look_on(&app.heartbeat, &app.shutdown, lease).await;
}

async fn look_on<F: Future<Output = Option<(i64, i64)>>>(
    heartbeat: &Heartbeat,
    stop: &CancellationToken,
    lease: impl Fn() -> F,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = heartbeat.wake.notified() => {}
        }
        heartbeat.sight.send_modify(|sight| sight.again(Instant::now()));
        while heartbeat.is_asked() {
            let seen = lease().await;
            heartbeat.sight.send_modify(|sight| sight.look(seen, Instant::now(), Utc::now()));
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(LOOK_EVERY) => {}
            }
        }
        // What has been seen proves nothing to who asks next, and that may be before this task comes to look again.
        heartbeat.sight.send_modify(|sight| sight.again(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[test]
    fn only_a_lease_that_moves_is_a_heartbeat() {
        let start = Instant::now();
        let after = |secs| start + Duration::from_secs(secs);
        let at = |secs: i64| Utc::now() + chrono::TimeDelta::seconds(secs);
        let mut sight = Sight::new(start);
        assert!(!sight.is_sure(start));
        sight.look(Some((1, 7)), start, at(0));
        assert!(!sight.is_sure(after(1)), "one look proves nothing");
        assert!(sight.is_sure(after(3)) && !sight.health(after(3)).scheduler, "it does not move");
        sight.look(Some((1, 8)), after(4), at(4));
        let well = sight.health(after(5));
        assert!(well.scheduler && well.database && well.heartbeat.is_some());
        let silent = sight.health(after(15));
        assert!(!silent.scheduler && silent.heartbeat == well.heartbeat, "the last heartbeat is told");
        sight.look(None, after(16), at(16));
        assert!(!sight.health(after(16)).database && sight.is_sure(after(16)));
        sight.again(after(100));
        assert!(!sight.is_sure(after(100)), "what was seen before nobody asked proves nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_after_a_pause_is_not_told_of_what_was_seen_before_it() {
        let heartbeat = Heartbeat::default();
        let (stop, raised) = (CancellationToken::new(), AtomicI64::new(0));
        let looking =
            look_on(&heartbeat, &stop, || std::future::ready(Some((1, raised.fetch_add(1, Ordering::Relaxed)))));
        let asking = async {
            for pause in [0, 1, 300] {
                sleep(Duration::from_secs(pause)).await;
                let health = heartbeat.health().await;
                assert!(health.scheduler && health.database, "after {pause} s: {health:?}");
            }
            stop.cancel();
        };
        tokio::join!(looking, asking);
    }
}
