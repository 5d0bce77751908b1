//! Liveness: the leader raises a number each second, and standbys watch it by their own monotonic clock.
//!
//! Nothing here decides who leads; it only says when it is worth trying. It has a connection of its own, so that a long
//! turn does not look like a dead leader. Nothing here waits longer than [`limit::LEASE`] for an answer; a connection on
//! which one did not come in time is of no further use.

use std::time::{Duration, Instant};

use model::{Epoch, Timestamp};
use sqlx::{Connection, PgConnection};

use crate::{
    connect::target,
    error::{Doing, StoreError},
    limit::{self, within},
};

/// A lease that has not moved for so long belongs to a dead leader.
pub const STALE_AFTER: Duration = Duration::from_secs(5);
/// Names the advisory lock that a leader holds: whoever gets it need not wait until the lease is stale.
const HINT_LOCK: i64 = 0x0057_494e_444c_4153;

/// What the lease's rows say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseView {
    /// Who leads.
    pub epoch: Epoch,
    /// How often that was confirmed.
    pub seq: i64,
    /// A name of the leader for people.
    pub holder: String,
    /// Where the leader is found.
    pub endpoint: String,
}

/// Whether a standby should try to take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// The leader lives.
    Alive,
    /// The leader has let go of its lock, or has been silent for too long.
    Vacant,
}

/// What a leader hears when its leadership is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmed {
    /// How many commands wait in the inbox: the leader may have missed the hint of one.
    pub waiting: u64,
    /// The database's clock.
    pub now: Timestamp,
}

/// A process's connection for its lease, as a leader or as a standby.
#[derive(Debug)]
pub struct Lease {
    connection: PgConnection,
    seen: Option<(LeaseView, Instant)>,
    holds_hint: bool,
}

impl Lease {
    /// Opens it.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] and [`StoreError::Database`].
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        const DOING: &str = "connecting for the leader's lease";
        // A lease that a crash of the server takes back is not worth an fsync each second.
        let target = target(url, "windlass lease")?.map(|options| options.options([("synchronous_commit", "off")]));
        let connecting = async { target.connect().await.doing(DOING) };
        let connection = within(limit::LEASE, DOING, connecting).await?;
        Ok(Self { connection, seen: None, holds_hint: false })
    }

    /// Confirms the leadership, once a second. Also takes the lock that hints at a living leader, when it is free.
    ///
    /// # Errors
    /// [`StoreError::Deposed`] when another leader has taken over; [`StoreError::Unreachable`].
    pub async fn bump(&mut self, epoch: Epoch) -> Result<Confirmed, StoreError> {
        const DOING: &str = "confirming the leadership";
        within(limit::LEASE, DOING, async {
            if !self.holds_hint {
                self.holds_hint = self.try_hint().await?;
            }
            let row = sqlx::query_file!("queries/leader_lease_bump.sql", epoch.get())
                .fetch_optional(&mut self.connection)
                .await
                .doing(DOING)?
                .ok_or(StoreError::Deposed)?;
            Ok(Confirmed { waiting: u64::try_from(row.waiting).unwrap_or(0), now: row.now })
        })
        .await
    }

    /// Looks at the lease, as a standby does several times a second. `now` is the caller's monotonic clock.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`]; the silence then counts from the next sight on, because the database was away, too.
    pub async fn watch(&mut self, now: Instant) -> Result<Sight, StoreError> {
        let view = match self.view().await {
            Ok(view) => view,
            Err(error) => {
                self.seen = None;
                return Err(error);
            }
        };
        if !self.holds_hint {
            self.holds_hint = within(limit::LEASE, ASKING, self.try_hint()).await?;
        }
        let since = match &self.seen {
            Some((seen, since)) if *seen == view => *since,
            Some(_) | None => now,
        };
        self.seen = Some((view, since));
        let silent = now.saturating_duration_since(since) >= STALE_AFTER;
        Ok(if silent || self.holds_hint { Sight::Vacant } else { Sight::Alive })
    }

    /// What [`Self::watch`] saw last.
    #[must_use]
    pub fn seen(&self) -> Option<&LeaseView> {
        self.seen.as_ref().map(|(view, _)| view)
    }

    /// Who leads, and where.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`].
    pub async fn view(&mut self) -> Result<LeaseView, StoreError> {
        const DOING: &str = "looking at the leader's lease";
        let looking = async {
            sqlx::query_file!("queries/leader_lease_view.sql").fetch_one(&mut self.connection).await.doing(DOING)
        };
        let row = within(limit::LEASE, DOING, looking).await?;
        Ok(LeaseView { epoch: Epoch(row.epoch), seq: row.seq, holder: row.holder, endpoint: row.endpoint })
    }

    /// Lets go of the lock, so that a standby takes over at once.
    pub async fn close(self) {
        const DOING: &str = "closing the lease's connection";
        let closing = async { self.connection.close().await.doing(DOING) };
        if let Err(error) = within(limit::LEASE, DOING, closing).await {
            tracing::debug!(%error, "the lease's connection was not closed in order");
        }
    }

    async fn try_hint(&mut self) -> Result<bool, StoreError> {
        sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "got!""#, HINT_LOCK)
            .fetch_one(&mut self.connection)
            .await
            .doing(ASKING)
    }
}

const ASKING: &str = "asking for the leader's lock";
