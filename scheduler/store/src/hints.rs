//! Hints: news sent by NOTIFY after the commit that they are about, on another connection.
//!
//! A hint is never needed for correctness: whoever waits for one also looks by itself each second. They are sent apart
//! from the writing transaction, because NOTIFY holds a lock of the whole cluster until that has reached the disk.

use std::{sync::Arc, time::Duration};

use model::CommandId;
use sqlx::{PgPool, postgres::PgListener};
use tokio::sync::broadcast;

use crate::{
    changes::Changes,
    error::{Doing, StoreError},
};

/// Commands wait for the leader.
const INBOX: &str = "windlass_inbox";
/// Commands have been answered; the payload lists them.
const ANSWERS: &str = "windlass_answers";
/// Something has changed; the payload says what (see [`Changes`]).
const CHANGES: &str = "windlass_changes";
/// PostgreSQL takes payloads below 8,000 bytes; what is longer is told more widely.
const PAYLOAD_BYTES_MAX: usize = 7_000;
/// A receiver that falls further behind is told that it missed some, and looks at everything.
const HINTS_KEPT: usize = 1_024;
/// The pause before listening again when PostgreSQL is away.
const LISTEN_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A piece of news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// The inbox has something.
    Inbox,
    /// These commands have been answered; any may have been when the list is empty.
    Answers(Vec<CommandId>),
    /// This has changed.
    Changes(Changes),
    /// The connection was away: anything may have happened.
    Everything,
}

/// One listening connection of a process, shared by everyone in it. It ends with its last clone.
#[derive(Debug, Clone)]
pub struct Hints {
    sender: broadcast::Sender<Hint>,
    _task: Arc<OwnedTask>,
}

/// A task that ends with its last owner.
#[derive(Debug)]
struct OwnedTask(tokio::task::JoinHandle<()>);

impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Hints {
    /// Begins to listen, on a connection of its own.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`].
    pub async fn listen(pool: &PgPool) -> Result<Self, StoreError> {
        const DOING: &str = "listening for news";
        let mut listener = PgListener::connect_with(pool).await.doing(DOING)?;
        listener.listen_all([INBOX, ANSWERS, CHANGES]).await.doing(DOING)?;
        let (sender, _) = broadcast::channel(HINTS_KEPT);
        let task = tokio::spawn(pass_on(listener, sender.clone()));
        Ok(Self { sender, _task: Arc::new(OwnedTask(task)) })
    }

    /// What is heard from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Hint> {
        self.sender.subscribe()
    }
}

async fn pass_on(mut listener: PgListener, sender: broadcast::Sender<Hint>) {
    loop {
        let hint = match listener.try_recv().await {
            Ok(Some(news)) => hint(news.channel(), news.payload()),
            Ok(None) => Some(Hint::Everything),
            Err(error) => {
                tracing::debug!(%error, "not listening for news: PostgreSQL is away");
                tokio::time::sleep(LISTEN_AGAIN_AFTER).await;
                None
            }
        };
        if let Some(hint) = hint {
            // Nobody listens right now: then nobody misses it.
            drop(sender.send(hint));
        }
    }
}

fn hint(channel: &str, payload: &str) -> Option<Hint> {
    let ids = || payload.split(',').filter_map(|id| id.parse().ok());
    match channel {
        INBOX => Some(Hint::Inbox),
        ANSWERS => Some(Hint::Answers(ids().map(CommandId).collect())),
        CHANGES => Some(Hint::Changes(Changes::of_text(payload))),
        _ => None,
    }
}

/// Says that the inbox has something.
///
/// # Errors
/// [`StoreError::Unreachable`]: the leader then finds it within a second.
pub async fn notify_inbox(pool: &PgPool) -> Result<(), StoreError> {
    notify(pool, INBOX, "").await
}

/// Says which commands have been answered.
///
/// # Errors
/// [`StoreError::Unreachable`]: those who wait then find it within a second.
pub async fn notify_answers(pool: &PgPool, ids: impl IntoIterator<Item = CommandId>) -> Result<(), StoreError> {
    let list = ids.into_iter().map(|id| id.get().to_string()).collect::<Vec<_>>().join(",");
    notify(pool, ANSWERS, if list.len() > PAYLOAD_BYTES_MAX { "" } else { &list }).await
}

/// Says what has changed. The caller sends at most ten of these a second.
///
/// # Errors
/// [`StoreError::Unreachable`]: pages are then refreshed by the next one.
pub async fn notify_changes(pool: &PgPool, changes: &Changes) -> Result<(), StoreError> {
    notify(pool, CHANGES, &changes.text(PAYLOAD_BYTES_MAX)).await
}

async fn notify(pool: &PgPool, channel: &str, payload: &str) -> Result<(), StoreError> {
    sqlx::query!("SELECT pg_notify($1, $2)", channel, payload).execute(pool).await.doing("sending news")?;
    Ok(())
}
