//! Tells api processes what a turn changed, after its commit and on another connection: NOTIFY in a writing
//! transaction would take a lock of the whole cluster across the fsync.

use std::{collections::BTreeSet, time::Duration};

use model::{CommandId, RunKey};
use sqlx::PgPool;
use store::hints;
use tokio::sync::mpsc;

/// Pages are told at most so often; answers go at once.
const CHANGES_EVERY: Duration = Duration::from_millis(100);

/// What a turn changed.
#[derive(Debug, Clone)]
pub enum Announcement {
    /// Commands that are answered.
    Answers(Vec<CommandId>),
    /// Runs whose pages are stale.
    Runs(BTreeSet<RunKey>),
    /// Something that is no run: DAGs, services, import errors.
    Everything,
}

/// Starts a task that announces until its sender is dropped. What can not be sent is lost, as every hint may be.
#[must_use]
pub fn start(pool: PgPool) -> mpsc::UnboundedSender<Announcement> {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(announce(pool, receiver));
    sender
}

async fn announce(pool: PgPool, mut announcements: mpsc::UnboundedReceiver<Announcement>) {
    while let Some(first) = announcements.recv().await {
        let mut stale = Stale::default();
        let mut next = Some(first);
        while let Some(announcement) = next.take() {
            stale.add(announcement);
            next = announcements.try_recv().ok();
        }
        if let Err(error) = stale.send(&pool).await {
            tracing::debug!(%error, "a hint to the pages is lost");
        }
        tokio::time::sleep(CHANGES_EVERY).await;
    }
}

/// What has come together since the last announcement.
#[derive(Debug, Default)]
struct Stale {
    answers: Vec<CommandId>,
    runs: BTreeSet<RunKey>,
    everything: bool,
}

impl Stale {
    fn add(&mut self, announcement: Announcement) {
        match announcement {
            Announcement::Answers(ids) => self.answers.extend(ids),
            Announcement::Runs(runs) => self.runs.extend(runs),
            Announcement::Everything => self.everything = true,
        }
    }

    async fn send(self, pool: &PgPool) -> Result<(), store::StoreError> {
        if !self.answers.is_empty() {
            hints::notify_answers(pool, self.answers).await?;
        }
        if self.everything {
            hints::notify_changes(pool, []).await
        } else if self.runs.is_empty() {
            Ok(())
        } else {
            hints::notify_changes(pool, self.runs).await
        }
    }
}
