//! No statement of a leader waits for ever: a server that has vanished without a word never answers, and sqlx gives no
//! access to a socket's keepalive or to TCP's own time limit. The limits of the server (`statement_timeout`) end what it
//! still works on; those here end the waiting for a server that is not there any more.

use std::time::Duration;

use crate::error::{Doing as _, StoreError};

/// One statement of the leader. The server gives up after 30 s; a client that hears nothing for longer has lost it.
pub const STATEMENT: Duration = Duration::from_secs(35);
/// A new connection.
pub const CONNECT: Duration = Duration::from_secs(5);
/// One statement about the lease: less than the silence after which a standby takes over.
pub const LEASE: Duration = Duration::from_secs(3);
/// Everything that a new leader loads.
pub const LOAD: Duration = Duration::from_secs(620);

/// Does some work of the store within a limit. A connection that it was done on is of no further use when the limit is
/// over: nobody knows what its next answer belongs to.
///
/// # Errors
/// What the work fails with, and [`StoreError::Unreachable`] when the limit is over.
pub async fn within<T>(
    limit: Duration,
    doing: &'static str,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let late = format!("no answer within {} s", limit.as_secs());
        let source = sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, late));
        Err(StoreError::Unreachable { doing, source })
    })
}

/// Does one statement of the leader within its limit.
pub(crate) async fn statement<T>(
    doing: &'static str,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    within(STATEMENT, doing, async { work.await.doing(doing) }).await
}
