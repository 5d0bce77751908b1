//! Sends a producer's records, one batch on its way while the next is made.
//!
//! Batches go out strictly one after another: the order within a partition is the order of the source, which is what a
//! restarted replay relies on. A batch that fails ends the producer, because nobody knows whether it was stored; the next
//! start finds out from the log itself.

use crate::runtime::service::Worker;
use crate::runtime::{EventLog, LogError, NewRecord, Offsets};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A stop must be over in ten seconds, flushing included.
const LAST_ACKNOWLEDGEMENT: Duration = Duration::from_secs(5);

/// The way from a producer to its topic.
pub(super) struct Outlet {
    log: Arc<dyn EventLog>,
    topic: Arc<str>,
    worker: Worker,
    on_its_way: Option<JoinHandle<Result<(Offsets, usize), LogError>>>,
}

impl Outlet {
    pub(super) fn new(log: Arc<dyn EventLog>, topic: &str, worker: Worker) -> Self {
        Self { log, topic: topic.into(), worker, on_its_way: None }
    }

    /// Sends a batch once the one before has been acknowledged.
    pub(super) async fn send(&mut self, records: Vec<NewRecord>) -> Result<(), LogError> {
        self.settle().await?;
        if records.is_empty() {
            return Ok(());
        }
        let (log, topic) = (self.log.clone(), self.topic.clone());
        self.on_its_way = Some(tokio::spawn(async move {
            let count = records.len();
            Ok((log.produce(&topic, records).await?, count))
        }));
        Ok(())
    }

    /// Waits until everything sent has been acknowledged.
    pub(super) async fn settle(&mut self) -> Result<(), LogError> {
        let Some(mut sent) = self.on_its_way.take() else { return Ok(()) };
        let sent = tokio::select! {
            sent = &mut sent => sent,
            () = given_up(&self.worker) => {
                sent.abort();
                return Err(LogError::Unacknowledged);
            }
        };
        let (ends, count) = sent.expect("producing does not panic, and nobody else cancels it")?;
        self.worker.meter.turn();
        self.worker.meter.add_records(count as u64);
        self.worker.meter.committed(&ends);
        self.worker.ready();
        Ok(())
    }
}

/// Some time after the worker was stopped: a log that is away holds up nobody's end.
async fn given_up(worker: &Worker) {
    worker.stop.cancelled().await;
    tokio::time::sleep(LAST_ACKNOWLEDGEMENT).await;
}

impl Drop for Outlet {
    fn drop(&mut self) {
        if let Some(sent) = &self.on_its_way {
            sent.abort();
        }
    }
}
