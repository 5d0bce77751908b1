//! Taking over, and being told apart from whoever led before.
//!
//! The one row of `leader` is the only authority: whoever raised its epoch last leads, and every write of a leader
//! proves that its epoch is still there.

use model::{Epoch, Timestamp, TurnNumber};
use sqlx::Connection;

use crate::{
    connect::Writer,
    error::{Doing, StoreError},
};

/// The newest format of the state that this binary writes.
const FORMAT: i32 = 1;
const DOING: &str = "taking over the leadership";

/// Who wants to lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// A name for people, such as `host:pid`.
    pub holder: String,
    /// Where workers and api processes find it.
    pub endpoint: String,
}

/// A leadership, from its takeover on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leadership {
    /// Its fence.
    pub epoch: Epoch,
    /// The last turn that was stored.
    pub turn: TurnNumber,
    /// The database's clock, never below the instant of the last turn.
    pub now: Timestamp,
}

/// Takes over: ends the old leader's connection, raises the epoch, and records who leads now.
///
/// Of several candidates that saw the same epoch one succeeds; the others hear [`StoreError::Deposed`] and wait on.
///
/// # Errors
/// [`StoreError::Deposed`], [`StoreError::NewerFormat`], [`StoreError::Unreachable`], [`StoreError::Database`] (also when
/// the old leader's lock is not released in time: try again).
pub async fn lead(writer: &mut Writer, candidate: &Candidate) -> Result<Leadership, StoreError> {
    let old = sqlx::query_file!("queries/leader_seen.sql").fetch_one(writer.connection()).await.doing(DOING)?;
    if old.format > FORMAT {
        return Err(StoreError::NewerFormat { found: old.format, known: FORMAT });
    }
    let mut transaction = writer.connection().begin().await.doing(DOING)?;
    sqlx::query_file!("queries/leader_end_backend.sql", old.backend_pid, old.backend_start)
        .fetch_optional(&mut *transaction)
        .await
        .doing(DOING)?;
    let taken = sqlx::query_file!("queries/leader_take.sql", old.epoch, &candidate.holder, &candidate.endpoint, FORMAT)
        .fetch_optional(&mut *transaction)
        .await
        .doing(DOING)?
        .ok_or(StoreError::Deposed)?;
    transaction.commit().await.doing(DOING)?;
    Ok(Leadership { epoch: Epoch(taken.epoch), turn: TurnNumber(taken.turn), now: taken.now })
}

/// Goes on with a leadership on a new connection, and says which turn was stored last.
///
/// It waits until the old connection's transaction has ended either way, so it answers [`StoreError::Unknown`]: the
/// turn in question is stored exactly when its number is the one that is returned.
///
/// # Errors
/// [`StoreError::Deposed`] when another leader has taken over; [`StoreError::Unreachable`], [`StoreError::Database`].
pub async fn resume(writer: &mut Writer, epoch: Epoch) -> Result<TurnNumber, StoreError> {
    let turn = sqlx::query_file_scalar!("queries/leader_resume.sql", epoch.get())
        .fetch_optional(writer.connection())
        .await
        .doing("going on as the leader after a broken connection")?;
    turn.map(TurnNumber).ok_or(StoreError::Deposed)
}
