//! Workers: an identity that outlives its process, and the number that rows use for it.

use std::collections::BTreeSet;

use model::{Capability, Epoch, WorkerId};
use uuid::Uuid;

use crate::{connect::Writer, error::StoreError, limit::statement, rows::word};

/// A worker as it introduces itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerRecord {
    /// The file in its log directory.
    pub identity: Uuid,
    /// A name for people.
    pub name: String,
    /// How many attempts it runs at once.
    pub slots: u32,
    /// The queues that it serves.
    pub queues: BTreeSet<String>,
    /// What it can do.
    pub capabilities: BTreeSet<Capability>,
}

/// Gives a worker its number: a new one, or that of its identity.
///
/// # Errors
/// [`StoreError::Deposed`], [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn register_worker(writer: &mut Writer, epoch: Epoch, worker: &WorkerRecord) -> Result<WorkerId, StoreError> {
    let queues: Vec<String> = worker.queues.iter().cloned().collect();
    let capabilities: Vec<String> = worker.capabilities.iter().map(word).collect();
    const DOING: &str = "registering a worker";
    let id = statement(
        DOING,
        sqlx::query_file_scalar!(
            "queries/worker_register.sql",
            epoch.get(),
            worker.identity,
            worker.name,
            i32::try_from(worker.slots).unwrap_or(i32::MAX),
            &queues,
            &capabilities
        )
        .fetch_optional(writer.connection()),
    )
    .await?;
    id.map(WorkerId).ok_or(StoreError::Deposed)
}

/// Notes that a worker is proven dead: a new leader does not wait for it.
///
/// # Errors
/// [`StoreError::Deposed`], [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn worker_lost(writer: &mut Writer, epoch: Epoch, worker: WorkerId) -> Result<(), StoreError> {
    const DOING: &str = "noting that a worker is lost";
    statement(
        DOING,
        sqlx::query_file_scalar!("queries/worker_lost.sql", epoch.get(), worker.get()).fetch_one(writer.connection()),
    )
    .await?;
    Ok(())
}
