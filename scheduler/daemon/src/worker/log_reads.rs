//! Reads logs for the leader, beside the loop and a few at a time: it is disk work that must not hold back attempts.

use std::{io, path::PathBuf, sync::Arc};

use executor::log;
use link::{FromWorker, LogChunk, query::LogName};
use tokio::{
    sync::{Semaphore, mpsc},
    task::spawn_blocking,
};

use super::event::Event;

/// Logs that are read at once.
const READS_MAX: usize = 4;
/// Questions that may wait; more are refused, and asked again by whoever looks.
const WAITING_MAX: usize = 256;

/// A question about a log.
pub(super) struct Question {
    /// Its number.
    pub(super) id: u64,
    /// Whose log.
    pub(super) log: LogName,
    /// From this byte.
    pub(super) offset: u64,
    /// At most so many bytes.
    pub(super) bytes_max: u32,
    /// Whether somebody still writes it.
    pub(super) growth: Growth,
}

/// Whether a log can become longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    /// It can.
    Open,
    /// Its writer has ended.
    Closed,
}

/// The reading of logs.
pub(super) struct LogReads {
    log_dir: PathBuf,
    events: mpsc::Sender<Event>,
    slots: Arc<Semaphore>,
    waiting: usize,
}

impl LogReads {
    /// Reads logs of this directory and tells the loop what was read.
    pub(super) fn new(log_dir: PathBuf, events: mpsc::Sender<Event>) -> Self {
        Self { log_dir, events, slots: Arc::new(Semaphore::new(READS_MAX)), waiting: 0 }
    }

    /// Begins to read; the answer is an event. A refusal is the answer already.
    pub(super) fn read(&mut self, question: Question) -> Option<FromWorker> {
        if self.waiting >= WAITING_MAX {
            return Some(FromWorker::Log { id: question.id, bytes: Vec::new(), length: 0, ended: false });
        }
        self.waiting += 1;
        let (events, dir, slots) = (self.events.clone(), self.log_dir.clone(), Arc::clone(&self.slots));
        tokio::spawn(async move {
            // Nobody closes the semaphore.
            let _slot = slots.acquire_owned().await;
            let id = question.id;
            let read = spawn_blocking(move || chunk(&dir, &question)).await;
            let chunk = read.unwrap_or_else(|panic| Err(io::Error::other(panic))).unwrap_or_else(|error| {
                tracing::warn!(%error, "a log could not be read");
                LogChunk { bytes: Vec::new(), length: 0, ended: false }
            });
            // A worker that takes no events any more is ending.
            let _ = events.send(Event::LogRead { id, chunk }).await;
        });
        None
    }

    /// An answer has come.
    pub(super) const fn done(&mut self) {
        self.waiting -= 1;
    }
}

/// The last piece of a log that nobody writes any more says that it has ended.
fn chunk(dir: &std::path::Path, question: &Question) -> io::Result<LogChunk> {
    let chunk = log::read(dir, &question.log, question.offset, question.bytes_max)?;
    let whole = question.offset.saturating_add(chunk.bytes.len() as u64) >= chunk.length;
    Ok(LogChunk { ended: question.growth == Growth::Closed && whole, ..chunk })
}
