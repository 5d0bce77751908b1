//! Keeps the lease on a thread and a connection of its own: a long turn does not look like death.
//!
//! It tells the leadership when it was last confirmed, and what the database's clock said. A connection that is lost is
//! opened again. A leadership that can not be confirmed for [`UNCONFIRMED_MAX`], or that another one has replaced, is ended
//! from here, wherever it waits.

use std::time::Duration;

use model::Epoch;
use store::{Confirmed, Lease, StoreError};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    LeaderMetrics, News,
    clock::{Sample, since_boot},
    peers::DEAD_AFTER,
    reign::{BEAT, ReignEnd},
};

/// How often the lease is raised.
const BUMP_EVERY: Duration = Duration::from_secs(1);
/// For so long after its last confirmation a leader acknowledges its workers: another one may lead by then, and count.
pub const ACKNOWLEDGE_MAX: Duration = Duration::from_secs(10);
/// A leadership that was not confirmed for so long ends. Its connections are of no use any more.
const UNCONFIRMED_MAX: Duration = Duration::from_secs(20);
// The last acknowledgement, and then the guard's silence, are over before the next leader gives a task away.
const _: () = assert!(
    ACKNOWLEDGE_MAX.as_secs() + BEAT.as_secs() + crate::guard::SILENCE_MAX.as_secs() < DEAD_AFTER.as_secs(),
    "a worker's guard must have killed before the worker counts as dead"
);

/// How a leadership stands.
#[derive(Debug, Clone)]
struct State {
    /// Since boot, so that a machine that slept does not think that it was confirmed just now.
    confirmed_at: Duration,
    sample: Option<Sample>,
    end: Option<End>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Deposed,
    Unconfirmed(String),
}

/// Keeps the lease until it is dropped, however its leadership ends.
#[derive(Debug)]
pub struct Keeper {
    stop: CancellationToken,
    state: watch::Receiver<State>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Keeper {
    /// For the leadership that is kept.
    #[must_use]
    pub fn watch(&self) -> LeaseWatch {
        LeaseWatch { state: self.state.clone() }
    }

    /// Waits until the leadership is over.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] when it could not be confirmed for [`UNCONFIRMED_MAX`].
    pub async fn ended(&self) -> Result<ReignEnd, StoreError> {
        let mut state = self.state.clone();
        let reason = match state.wait_for(|state| state.end.is_some()).await.map(|state| state.end.clone()) {
            Ok(Some(End::Deposed)) => return Ok(ReignEnd::Deposed),
            Ok(Some(End::Unconfirmed(reason))) => reason,
            Ok(None) | Err(_) => "the thread that keeps it has ended".to_owned(),
        };
        let source = sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, reason));
        Err(StoreError::Unreachable { doing: "confirming the leadership", source })
    }
}

/// What a leadership sees of its lease.
#[derive(Debug, Clone)]
pub struct LeaseWatch {
    state: watch::Receiver<State>,
}

impl LeaseWatch {
    /// Whether workers may be told that this leader lives.
    #[must_use]
    pub fn may_acknowledge(&self) -> bool {
        since_boot().saturating_sub(self.state.borrow().confirmed_at) < ACKNOWLEDGE_MAX
    }

    /// What the database's clock said last.
    #[must_use]
    pub fn sample(&self) -> Option<Sample> {
        self.state.borrow().sample
    }

    /// Waits for the next confirmation. May be dropped at any time.
    pub async fn changed(&mut self) {
        if self.state.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Starts keeping the lease of a leadership that was taken just now.
#[must_use]
pub fn keep(lease: Lease, url: &str, epoch: Epoch, news: mpsc::Sender<News>, metrics: LeaderMetrics) -> Keeper {
    let (stop, (states, state)) =
        (CancellationToken::new(), watch::channel(State { confirmed_at: since_boot(), sample: None, end: None }));
    let keeping = Keeping { lease: Some(lease), url: url.to_owned(), epoch, news, metrics, states };
    let stopped = stop.clone();
    let thread = std::thread::Builder::new().name("leader-lease".to_owned());
    let spawned = thread.spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(keeping.until_stopped(&stopped)),
            Err(error) => tracing::error!(%error, "the lease has no runtime; the leadership ends"),
        }
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "the lease has no thread; the leadership ends");
    }
    Keeper { stop, state }
}

struct Keeping {
    lease: Option<Lease>,
    url: String,
    epoch: Epoch,
    news: mpsc::Sender<News>,
    metrics: LeaderMetrics,
    states: watch::Sender<State>,
}

impl Keeping {
    async fn until_stopped(mut self, stop: &CancellationToken) {
        // Whatever is waited for: a leadership that is over is not kept.
        let _ended = stop.run_until_cancelled(self.until_ended()).await;
        if let Some(lease) = self.lease.take() {
            lease.close().await;
        }
    }

    async fn until_ended(&mut self) {
        let mut ticks = tokio::time::interval(BUMP_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let asked = since_boot();
            match self.confirm().await {
                Ok(confirmed) => self.tell(asked, confirmed),
                Err(StoreError::Deposed) => {
                    self.states.send_modify(|state| state.end = Some(End::Deposed));
                    return;
                }
                Err(error) => {
                    let silence = since_boot().saturating_sub(self.states.borrow().confirmed_at);
                    tracing::warn!(%error, unconfirmed_secs = silence.as_secs(), "the lease could not be confirmed; trying again on a new connection");
                    if silence >= UNCONFIRMED_MAX {
                        let reason = format!(
                            "it was not confirmed for {} s, and the last reason was: {error}",
                            silence.as_secs()
                        );
                        self.states.send_modify(|state| state.end = Some(End::Unconfirmed(reason)));
                        return;
                    }
                }
            }
        }
    }

    /// Confirms the leadership; after a failure on a new connection.
    async fn confirm(&mut self) -> Result<Confirmed, StoreError> {
        let mut lease = match self.lease.take() {
            Some(lease) => lease,
            None => Lease::connect(&self.url).await?,
        };
        let confirmed = lease.bump(self.epoch).await?;
        self.lease = Some(lease);
        Ok(confirmed)
    }

    fn tell(&self, asked: Duration, confirmed: Confirmed) {
        let answered = since_boot();
        // The database read its clock somewhere between; confirmed is only what it was when it was asked.
        let sample =
            Sample { since_boot: asked + (answered - asked) / 2, slack: answered - asked, database: confirmed.now };
        self.states.send_modify(|state| {
            state.confirmed_at = asked;
            state.sample = Some(sample);
        });
        self.metrics.inbox_has(confirmed.waiting);
        // A hint of the inbox may have been lost; this one costs at most a second.
        if confirmed.waiting > 0 {
            drop(self.news.try_send(News::Inbox));
        }
    }
}
