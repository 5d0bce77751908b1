//! Carries notifications out for the leader, beside the loop and a few at a time. They take no slot.

use std::sync::Arc;

use executor::{WorkerContext, notify};
use link::{FromWorker, Notification, Told};
use tokio::sync::{Semaphore, mpsc, watch};

use super::{event::Event, host::AttemptHost};

/// The notifications that are under way.
pub(super) struct Notices {
    context: Arc<WorkerContext>,
    events: mpsc::Sender<Event>,
    slots: Arc<Semaphore>,
}

impl Notices {
    /// Carries out on this worker and tells the loop what came of it.
    pub(super) fn new(context: Arc<WorkerContext>, events: mpsc::Sender<Event>) -> Self {
        Self { context, events, slots: Arc::new(Semaphore::new(Notification::AT_ONCE_MAX)) }
    }

    /// Begins one; the answer is an event. A refusal is the answer already.
    pub(super) fn begin(&self, id: u64, notification: Notification, is_leaving: bool) -> Option<FromWorker> {
        let refused =
            |message: &str| Some(FromWorker::Notified { id, told: Told::NotNow, message: message.to_owned() });
        if is_leaving {
            return refused("the worker is shutting down");
        }
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            return refused("the worker is busy with other notifications");
        };
        let (context, events) = (Arc::clone(&self.context), self.events.clone());
        let host = AttemptHost::new(notification.attempt, events.clone(), watch::channel(Vec::new()).1);
        tokio::spawn(async move {
            let _slot = slot;
            let done = notify::carry_out(&context, notification, Arc::new(host)).await;
            // A worker that takes no events any more is ending; the leader sends it again.
            let _ = events.send(Event::Notified { id, done }).await;
        });
        None
    }
}
