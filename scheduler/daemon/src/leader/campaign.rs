//! From standby to leader and back: waits until the leadership is free, takes it, reigns, and starts over.

use std::time::{Duration, Instant};

use link::transport::{Acceptor, tls::Standing};
use sqlx::PgPool;
use store::{Candidate, Leadership, Lease, Sight, StoreError, Writer};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Ear, LeaderSettings, News,
    lease::{self, LeaseWatch},
    peers::{ConnectionId, carry},
    reign::{Reign, ReignEnd},
    scope::Scope,
};

/// A standby looks so often whether it is needed.
const WATCH_EVERY: Duration = Duration::from_millis(250);
/// The pause after PostgreSQL could not be reached; work resumes within 5 s of its coming back.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// The longest pause before the leadership is taken again after it has ended in the same way many times.
const RETRY_AT_LATEST: Duration = Duration::from_secs(30);
/// A leadership that has lasted for so long was well: what ends it then is no repetition.
const LIVED: Duration = Duration::from_secs(60);
/// How long the connections of a leadership may take to close.
const CLOSES_WITHIN: Duration = Duration::from_secs(5);

/// Why a leader ended for good.
#[derive(Debug, thiserror::Error)]
pub enum LeaderError {
    /// PostgreSQL or what it holds can not be used, and waiting does not help.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Leads, or stands by, until it is told to stop. Workers come in through `acceptor`.
///
/// # Errors
/// [`LeaderError`] when it can never lead here.
pub async fn run(settings: LeaderSettings, acceptor: Box<dyn Acceptor>, mut ear: Ear) -> Result<(), LeaderError> {
    let _accepting = AbortOnDropHandle::new(tokio::spawn(accept(acceptor, ear.sender.clone())));
    campaign(&settings, &mut ear).await
}

async fn campaign(settings: &LeaderSettings, ear: &mut Ear) -> Result<(), LeaderError> {
    let mut backoff = Backoff::default();
    while !ear.shutdown.is_cancelled() {
        let began = Instant::now();
        let ended = one_reign(settings, ear).await;
        settings.metrics.stands_by();
        ear.stands(Standing::StandsBy { leader: None });
        match ended {
            Ok(ReignEnd::Asked) => break,
            Ok(ReignEnd::Deposed) | Err(StoreError::Deposed) => {
                ear.forget_news();
                tracing::warn!("another process leads now; this one stands by");
            }
            Err(error @ (StoreError::NewerFormat { .. } | StoreError::Unsuitable { .. })) => return Err(error.into()),
            Err(error) => {
                let wait = backoff.after(&error, began.elapsed());
                tracing::warn!(%error, pause_secs = wait.as_secs_f64(), "the leadership is interrupted; memory is discarded and loaded again");
                pause(ear, wait).await;
            }
        }
    }
    Ok(())
}

async fn one_reign(settings: &LeaderSettings, ear: &mut Ear) -> Result<ReignEnd, StoreError> {
    let mut lease = Lease::connect(&settings.database_url).await?;
    let (writer, leadership) = loop {
        if ear.shutdown.is_cancelled() {
            lease.close().await;
            return Ok(ReignEnd::Asked);
        }
        if lease.watch(Instant::now()).await? == Sight::Vacant
            && let Some(taken) = take_over(settings).await?
        {
            break taken;
        }
        settings.metrics.looked();
        ear.stands(Standing::StandsBy { leader: lease.seen().map(|seen| seen.endpoint.clone()) });
        pause(ear, WATCH_EVERY).await;
    };
    tracing::info!(epoch = leadership.epoch.get(), leader = %settings.name, "this process leads");
    ear.stands(Standing::Leads);
    settings.metrics.took_over(leadership.epoch);
    let keeper =
        lease::keep(lease, &settings.database_url, leadership.epoch, ear.sender.clone(), settings.metrics.clone());
    let pool = store::open(&settings.database_url).await?;
    let scope = Scope::default();
    // A leadership that is lost ends wherever it waits: for a statement that nobody answers, too.
    let ended = tokio::select! {
        ended = reign(settings, (writer, leadership, keeper.watch()), (&pool, &scope), ear) => ended,
        ended = keeper.ended() => ended,
    };
    // What the leadership has started ends before anything of the next one begins.
    scope.end().await;
    if tokio::time::timeout(CLOSES_WITHIN, pool.close()).await.is_err() {
        tracing::warn!("connections of an ended leadership do not close: PostgreSQL does not answer");
    }
    ended
}

async fn reign(
    settings: &LeaderSettings,
    taken: (Writer, Leadership, LeaseWatch),
    (pool, scope): (&PgPool, &Scope),
    ear: &mut Ear,
) -> Result<ReignEnd, StoreError> {
    let reign = Reign::begin(settings, taken, ear.sender.clone(), (pool.clone(), scope.handle())).await?;
    reign.run(ear).await
}

/// How long to wait after a leadership that failed: twice as long each time it fails in the same way at once.
#[derive(Debug, Default)]
struct Backoff {
    last: Option<std::mem::Discriminant<StoreError>>,
    times: u32,
}

impl Backoff {
    fn after(&mut self, error: &StoreError, lived: Duration) -> Duration {
        let kind = Some(std::mem::discriminant(error));
        // A lost connection says nothing about what is stored: as soon as PostgreSQL is back, work goes on.
        let repeats = self.last == kind && lived < LIVED && !matches!(error, StoreError::Unreachable { .. });
        self.times = if repeats { self.times.saturating_add(1) } else { 0 };
        self.last = kind;
        let factor = 2_u32.saturating_pow(self.times.min(16));
        RETRY_AFTER.saturating_mul(factor).min(RETRY_AT_LATEST)
    }
}

/// Takes the leadership; none when the old leader's locks are still there. The lease is watched on then: how long the
/// old leader has been silent is not forgotten. Whoever was too slow begins anew, without the lock that hints.
async fn take_over(settings: &LeaderSettings) -> Result<Option<(Writer, Leadership)>, StoreError> {
    let mut writer = Writer::connect(&settings.database_url).await?;
    let candidate = Candidate { holder: settings.name.clone(), endpoint: settings.endpoint.clone() };
    match store::lead(&mut writer, &candidate).await {
        Ok(leadership) => Ok(Some((writer, leadership))),
        Err(error @ StoreError::Database { .. }) => {
            tracing::warn!(%error, "the leadership can not be had yet");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Waits, and lets news of workers wait with it: they are read by the next reign.
async fn pause(ear: &Ear, time: Duration) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = ear.shutdown.cancelled() => {}
    }
}

async fn accept(mut acceptor: Box<dyn Acceptor>, news: mpsc::Sender<News>) {
    let mut next = 0;
    // The connections end with this task; those that have ended are forgotten.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match acceptor.accept().await {
            Ok(link) => {
                next += 1;
                drop(connections.spawn(carry(ConnectionId(next), link, news.clone())));
            }
            Err(error) => {
                tracing::error!(%error, "no worker can connect");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corrupt() -> StoreError {
        StoreError::Corrupt { what: "it".to_owned() }
    }

    #[test]
    fn a_leadership_that_fails_again_and_again_is_taken_more_and_more_seldom() {
        let mut backoff = Backoff::default();
        let moment = Duration::from_millis(10);
        let waits: Vec<_> = (0..9).map(|_| backoff.after(&corrupt(), moment).as_millis()).collect();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(backoff.after(&corrupt(), LIVED), RETRY_AFTER, "it had lived");
        assert_eq!(backoff.after(&corrupt(), moment).as_millis(), 1_000);
        let other = StoreError::Diverged { what: "it".to_owned() };
        assert_eq!(backoff.after(&other, moment), RETRY_AFTER, "another end");
    }
}
