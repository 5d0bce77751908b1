//! From standby to leader and back: waits until the leadership is free, takes it, reigns, and starts over.

use std::time::{Duration, Instant};

use link::transport::{Acceptor, tls::Standing};
use store::{Candidate, Leadership, Lease, Sight, StoreError, Writer};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Ear, LeaderSettings, News, lease,
    peers::{ConnectionId, carry},
    reign::{Reign, ReignEnd},
};

/// A standby looks so often whether it is needed.
const WATCH_EVERY: Duration = Duration::from_millis(250);
/// The pause after PostgreSQL could not be reached; work resumes within 5 s of its coming back.
const RETRY_AFTER: Duration = Duration::from_millis(500);

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
    while !ear.shutdown.is_cancelled() {
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
                if matches!(error, StoreError::Corrupt { .. }) {
                    ear.be_careful();
                }
                tracing::warn!(%error, "the leadership is interrupted; memory is discarded and loaded again");
                pause(ear, RETRY_AFTER).await;
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
        ear.stands(Standing::StandsBy { leader: lease.seen().map(|seen| seen.endpoint.clone()) });
        pause(ear, WATCH_EVERY).await;
    };
    tracing::info!(epoch = leadership.epoch.get(), leader = %settings.name, "this process leads");
    ear.stands(Standing::Leads);
    settings.metrics.took_over(leadership.epoch);
    let _keeper = lease::keep(lease, leadership.epoch, ear.sender.clone(), settings.metrics.clone());
    let reign = Reign::begin(settings, writer, leadership, ear.sender.clone()).await?;
    reign.run(ear).await
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

/// Waits, and lets news of the folder and of workers wait with it: they are read by the next reign.
async fn pause(ear: &Ear, time: Duration) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = ear.shutdown.cancelled() => {}
    }
}

async fn accept(mut acceptor: Box<dyn Acceptor>, news: mpsc::Sender<News>) {
    let mut next = 0;
    loop {
        match acceptor.accept().await {
            Ok(link) => {
                next += 1;
                tokio::spawn(carry(ConnectionId(next), link, news.clone()));
            }
            Err(error) => {
                tracing::error!(%error, "no worker can connect");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}
