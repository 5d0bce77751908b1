//! Whether the scheduler lives and works: by its lease, the number that it raises each second in PostgreSQL, and by its answers.
//!
//! What always holds here: a heartbeat is a change of that number that this process has seen itself, of a leader whose turns go
//! on: the lease has a thread of its own, which knows nothing of a turn that takes long. Nothing is healthy because somebody
//! asked. While nobody asks nothing is looked at, and what was seen before that proves nothing afterwards.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chrono::Utc;
use link::Query;
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
    /// Whether the scheduler's lease moves, and its turns go on.
    pub scheduler: bool,
    /// When both were seen last.
    pub heartbeat: Option<Timestamp>,
}

/// What one look has shown.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// Epoch and number.
    lease: (i64, i64),
    /// Whether the leader has shown lately how the cluster stands, which it does between its turns.
    turns: bool,
}

/// What has been seen of the scheduler.
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

    /// Takes in what was seen; nothing when the database does not answer.
    fn look(&mut self, seen: Option<Look>, now: Instant, at: Timestamp) {
        self.looked = true;
        self.database = seen.is_some();
        let Some(seen) = seen else { return };
        if self.lease.is_some_and(|before| before != seen.lease) && seen.turns {
            self.moved = Some((now, at));
        }
        self.lease = Some(seen.lease);
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
    let (pool, leader) = (&app.pool, &app.leader);
    let look = move || async move {
        // Who asks for the cluster takes no time from a turn: it is answered from what was shown last.
        let shown = timeout(SILENT_AFTER, leader.ask(Query::Cluster));
        let (seen, shown) = tokio::join!(timeout(SILENT_AFTER, read::leader(pool)), shown);
        let leader = seen.ok().and_then(Result::ok)?;
        Some(Look { lease: (leader.epoch, leader.lease), turns: matches!(shown, Ok(Ok(_))) })
    };
    look_on(&app.heartbeat, &app.shutdown, look).await;
}

async fn look_on<F: Future<Output = Option<Look>>>(
    heartbeat: &Heartbeat,
    stop: &CancellationToken,
    look: impl Fn() -> F,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = heartbeat.wake.notified() => {}
        }
        heartbeat.sight.send_modify(|sight| sight.again(Instant::now()));
        while heartbeat.is_asked() {
            let seen = look().await;
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
        let look = |number, turns| Some(Look { lease: (1, number), turns });
        sight.look(look(7, true), start, at(0));
        assert!(!sight.is_sure(after(1)), "one look proves nothing");
        assert!(sight.is_sure(after(3)) && !sight.health(after(3)).scheduler, "it does not move");
        sight.look(look(8, true), after(4), at(4));
        let well = sight.health(after(5));
        assert!(well.scheduler && well.database && well.heartbeat.is_some());
        let silent = sight.health(after(15));
        assert!(!silent.scheduler && silent.heartbeat == well.heartbeat, "the last heartbeat is told");
        for second in 5..20_u32 {
            sight.look(look(8 + i64::from(second), false), after(u64::from(second)), at(i64::from(second)));
        }
        let stuck = sight.health(after(20));
        assert!(!stuck.scheduler && stuck.heartbeat == well.heartbeat, "its lease moves, and its turn does not end");
        sight.look(None, after(16), at(16));
        assert!(!sight.health(after(16)).database && sight.is_sure(after(16)));
        sight.again(after(100));
        assert!(!sight.is_sure(after(100)), "what was seen before nobody asked proves nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_after_a_pause_is_not_told_of_what_was_seen_before_it() {
        let heartbeat = Heartbeat::default();
        let (stop, raised) = (CancellationToken::new(), AtomicI64::new(0));
        let looking = look_on(&heartbeat, &stop, || {
            let lease = (1, raised.fetch_add(1, Ordering::Relaxed));
            std::future::ready(Some(Look { lease, turns: true }))
        });
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
