//! Waking readers of the embedded log across processes.
//!
//! A producer's notification goes out after its commit, on another connection, because a transaction that notifies holds
//! a lock of the whole cluster while it is flushed. Notifications are coalesced and may be lost; who waits looks again
//! by itself after a bounded time.

use crate::pg::log;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// The channel of PostgreSQL; the payload is the topic's number.
const CHANNEL: &str = "windlass_log";
/// At most fifty notifications a second from one producer, however fast it commits.
const COALESCE: Duration = Duration::from_millis(20);
/// How long the listener waits before it connects again.
const RECONNECT: Duration = Duration::from_secs(1);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded here is whole after every statement, so that a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends a task when it is dropped.
struct Owned(JoinHandle<()>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Topics that have grown and whose readers have not been told.
#[derive(Default)]
struct Grown {
    topics: Mutex<BTreeSet<i32>>,
    more: Notify,
    /// Held while a notification is on its way, so that who finds no topics here knows that all have been told.
    sending: tokio::sync::Mutex<()>,
}

impl Grown {
    async fn send(&self, pool: &PgPool) {
        let _sending = self.sending.lock().await;
        let topics: Vec<i32> = std::mem::take(&mut *lock(&self.topics)).into_iter().collect();
        if topics.is_empty() {
            return;
        }
        if let Err(error) = log::notify(pool, CHANNEL, &topics).await {
            tracing::debug!(%error, "a notification was not sent; readers look by themselves within a second");
        }
    }
}

/// Sends notifications for topics that have grown.
pub(super) struct Notifier {
    pool: PgPool,
    grown: Arc<Grown>,
    sender: OnceLock<Owned>,
}

impl Notifier {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool, grown: Arc::default(), sender: OnceLock::new() }
    }

    /// Says that a commit has added to a topic.
    pub(super) fn grown(&self, topic_id: i32) {
        lock(&self.grown.topics).insert(topic_id);
        self.grown.more.notify_one();
        self.sender.get_or_init(|| Owned(tokio::spawn(send_loop(self.pool.clone(), self.grown.clone()))));
    }

    /// Waits until everything has been sent.
    pub(super) async fn flush(&self) {
        self.grown.send(&self.pool).await;
    }
}

async fn send_loop(pool: PgPool, grown: Arc<Grown>) {
    loop {
        grown.more.notified().await;
        grown.send(&pool).await;
        tokio::time::sleep(COALESCE).await;
    }
}

/// Hears notifications and wakes this process's readers.
pub(super) struct Wakeups {
    pool: PgPool,
    topics: Arc<Mutex<HashMap<i32, watch::Sender<()>>>>,
    listener: OnceLock<Owned>,
}

impl Wakeups {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool, topics: Arc::default(), listener: OnceLock::new() }
    }

    /// A receiver that changes when the topic grows from now on.
    pub(super) fn subscribe(&self, topic_id: i32) -> watch::Receiver<()> {
        let receiver = lock(&self.topics).entry(topic_id).or_insert_with(|| watch::Sender::new(())).subscribe();
        self.listener.get_or_init(|| Owned(tokio::spawn(listen_loop(self.pool.clone(), self.topics.clone()))));
        receiver
    }
}

async fn listen_loop(pool: PgPool, topics: Arc<Mutex<HashMap<i32, watch::Sender<()>>>>) {
    loop {
        if let Err(error) = listen(&pool, &topics).await {
            tracing::debug!(%error, "the listener for new records lost its connection; connecting again");
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

async fn listen(pool: &PgPool, topics: &Mutex<HashMap<i32, watch::Sender<()>>>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        match listener.try_recv().await? {
            Some(notification) => {
                let topic_id = notification.payload().parse().ok();
                if let Some(sender) = topic_id.and_then(|id: i32| lock(topics).get(&id).cloned()) {
                    sender.send_replace(());
                }
            }
            // The connection was lost and made anew: anything may have happened in between.
            None => lock(topics).values().for_each(|sender| {
                sender.send_replace(());
            }),
        }
    }
}
