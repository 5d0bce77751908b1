//! Confirms the leadership each second, on a thread and a connection of its own: a long turn does not look like death.

use std::time::Duration;

use model::Epoch;
use store::{Lease, StoreError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{LeaderMetrics, News};

/// How often the lease is raised.
const BUMP_EVERY: Duration = Duration::from_secs(1);

/// Keeps the lease until it is dropped, however its reign ends.
#[derive(Debug)]
pub struct Keeper {
    stop: CancellationToken,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts keeping the lease.
#[must_use]
pub fn keep(lease: Lease, epoch: Epoch, news: mpsc::Sender<News>, metrics: LeaderMetrics) -> Keeper {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let thread = std::thread::Builder::new().name("leader-lease".to_owned());
    let spawned = thread.spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(bump_until_stopped(lease, epoch, (&news, &metrics), &stopped)),
            Err(error) => tracing::error!(%error, "the lease has no runtime; a standby will take over"),
        }
    });
    if let Err(error) = spawned {
        tracing::error!(%error, "the lease has no thread; a standby will take over");
    }
    Keeper { stop }
}

async fn bump_until_stopped(
    mut lease: Lease,
    epoch: Epoch,
    (news, metrics): (&mpsc::Sender<News>, &LeaderMetrics),
    stop: &CancellationToken,
) {
    let mut ticks = tokio::time::interval(BUMP_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => break,
        }
        match lease.bump(epoch).await {
            Ok(waiting) => {
                metrics.inbox_has(waiting);
                // A hint of the inbox may have been lost; this one costs at most a second.
                if waiting > 0 {
                    drop(news.try_send(News::Inbox));
                }
            }
            Err(StoreError::Deposed) => {
                drop(news.send(News::Deposed(epoch)).await);
                break;
            }
            // The reign notices by itself; its end stops this keeper.
            Err(error) => tracing::warn!(%error, "the lease could not be confirmed"),
        }
    }
    lease.close().await;
}
