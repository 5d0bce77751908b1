//! Logs that have been shipped away from their workers, as whoever shows logs sees them.
//!
//! What is shipped is the log byte for byte: an offset means the same at the worker and in the archive, so that a reader may
//! change between the two at any place.

use std::fmt;

use futures::future::BoxFuture;
use model::{AttemptId, DagId, MapIndex, RunId, TaskId};
use serde::{Deserialize, Serialize};

use crate::{Assignment, query::LogChunk};

/// Whose log it is, in the words that its address in the archive is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPlace {
    /// The DAG.
    pub dag_id: DagId,
    /// The run.
    pub run_id: RunId,
    /// The task.
    pub task_id: TaskId,
    /// The instance.
    pub map_index: MapIndex,
    /// The try. One try has several attempts when workers were lost.
    pub try_number: i16,
    /// The attempt, so that none can write over another's log.
    pub attempt: AttemptId,
}

impl LogPlace {
    /// The place of an assignment's log.
    #[must_use]
    pub fn of(assignment: &Assignment) -> Self {
        let context = &assignment.context;
        Self {
            dag_id: context.dag_id.clone(),
            run_id: context.run_id.clone(),
            task_id: context.task_id.clone(),
            map_index: context.map_index,
            try_number: context.try_number.get(),
            attempt: assignment.attempt,
        }
    }
}

/// The archive does not give a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reading the log from {address}: {reason}")]
pub struct ArchiveError {
    /// Where it was looked for.
    pub address: String,
    /// Why it was not had, in words for people.
    pub reason: String,
}

/// Where logs are shipped to.
pub trait LogArchive: fmt::Debug + Send + Sync {
    /// Reads a piece of a log from the byte `offset`; none when nothing of it has been shipped. An offset beyond the end
    /// reads from the start.
    fn read<'a>(
        &'a self,
        place: &'a LogPlace,
        offset: u64,
        bytes_max: u32,
    ) -> BoxFuture<'a, Result<Option<LogChunk>, ArchiveError>>;

    /// The log's address, for people.
    fn address(&self, place: &LogPlace) -> String;
}
