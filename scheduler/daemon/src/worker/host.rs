//! The leader as one attempt sees it: questions go through the worker's connection, bound to the attempt.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use executor::Host;
use futures::{FutureExt as _, future::BoxFuture};
use link::{FetchItem, FetchKey, ServiceStatus};
use model::{AttemptId, operator::ServiceSpec};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::event::Event;

/// How long an answer may take: longer than any change of leader.
const FETCH_WAIT: Duration = Duration::from_secs(45);

/// One attempt's way to the leader.
pub(super) struct AttemptHost {
    attempt: AttemptId,
    events: mpsc::Sender<Event>,
    services: watch::Receiver<Vec<ServiceStatus>>,
    /// Whether a question of it found no leader.
    unanswered: AtomicBool,
}

impl AttemptHost {
    /// The way for one attempt.
    pub(super) const fn new(
        attempt: AttemptId,
        events: mpsc::Sender<Event>,
        services: watch::Receiver<Vec<ServiceStatus>>,
    ) -> Self {
        Self { attempt, events, services, unanswered: AtomicBool::new(false) }
    }

    /// Whether a question of it found no leader: what it has failed by may be only that.
    pub(super) fn was_unanswered(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed)
    }
}

impl Host for AttemptHost {
    fn fetch(&self, key: FetchKey) -> BoxFuture<'_, FetchItem> {
        async move {
            let (answer, answered) = oneshot::channel();
            let event = Event::Fetch { attempt: self.attempt, key, answer };
            if self.events.send(event).await.is_err() {
                return FetchItem::Unavailable("the worker is shutting down".to_owned());
            }
            match timeout(FETCH_WAIT, answered).await {
                Ok(Ok(item)) => item,
                Ok(Err(_)) => FetchItem::Unavailable("the worker is shutting down".to_owned()),
                Err(_) => {
                    self.unanswered.store(true, Ordering::Relaxed);
                    FetchItem::Unavailable(format!("the leader did not answer for {} s", FETCH_WAIT.as_secs()))
                }
            }
        }
        .boxed()
    }

    fn declare(&self, services: Vec<ServiceSpec>, hashes: Vec<String>) -> BoxFuture<'_, ()> {
        let event = Event::Declare { attempt: self.attempt, services, hashes };
        // A worker that takes no events any more is ending, and ends the attempt as well.
        self.events.send(event).map(drop).boxed()
    }

    fn say(&self, line: String) -> BoxFuture<'_, ()> {
        let event = Event::Said { attempt: self.attempt, line };
        self.events.send(event).map(drop).boxed()
    }

    fn services(&self) -> watch::Receiver<Vec<ServiceStatus>> {
        self.services.clone()
    }
}
