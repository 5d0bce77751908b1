//! Tries connections out for the leader, beside the loop and a few at a time.

use std::sync::Arc;

use executor::{WorkerContext, trial};
use link::{ConnectionFields, FromWorker};
use tokio::sync::{Semaphore, mpsc};

use super::event::Event;

/// Connections that are tried at once; more are refused, and tried again by whoever looks.
const AT_ONCE_MAX: usize = 4;

/// The tries that are under way.
pub(super) struct Trials {
    context: Arc<WorkerContext>,
    events: mpsc::Sender<Event>,
    slots: Arc<Semaphore>,
}

impl Trials {
    /// Tries from this worker and tells the loop what came of it.
    pub(super) fn new(context: Arc<WorkerContext>, events: mpsc::Sender<Event>) -> Self {
        Self { context, events, slots: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }

    /// Begins a try; the answer is an event. A refusal is the answer already.
    pub(super) fn begin(&self, id: u64, connection: ConnectionFields) -> Option<FromWorker> {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            let message = format!("the worker is busy: it tries {AT_ONCE_MAX} connections at this moment; try again");
            return Some(FromWorker::Tried { id, works: false, message });
        };
        let (context, events) = (Arc::clone(&self.context), self.events.clone());
        tokio::spawn(async move {
            let _slot = slot;
            let tried = trial::try_connection(&context, connection).await;
            // A worker that takes no events any more is ending.
            let _ = events.send(Event::Tried { id, tried }).await;
        });
        None
    }
}
