//! What the leader could not take in.

use model::Timestamp;
use serde::Deserialize;
use store::{
    audit::Actor,
    quarantine::{self, Subject},
};

use super::Installation;
use crate::{access::caller, exit::Failure};

/// Something that is held.
#[derive(Deserialize)]
pub struct Held {
    /// Its id, which releases it.
    #[serde(rename = "entry_id")]
    pub id: String,
    /// How often it has failed.
    pub failures: i32,
    /// When it failed last.
    pub last_failed_at: Timestamp,
    /// Why it is held.
    pub reason: String,
}

impl From<quarantine::Entry> for Held {
    fn from(entry: quarantine::Entry) -> Self {
        Self { id: entry.id, failures: entry.failures, last_failed_at: entry.last_at, reason: entry.reason }
    }
}

impl Installation<'_> {
    /// The newest of what is held.
    ///
    /// # Errors
    /// When the installation does not answer.
    pub async fn held(&self, most: usize) -> anyhow::Result<Vec<Held>> {
        match self {
            Self::Here(here) => {
                let limit = i64::try_from(most)?;
                let (entries, _) = quarantine::list(here.access.pool().await?, None, (limit, 0)).await?;
                Ok(entries.into_iter().map(Held::from).collect())
            }
            Self::Server(server) => Ok(server.first(&["quarantine"], "quarantine_entries", &[], most).await?),
        }
    }

    /// Lets the leader try one again.
    ///
    /// # Errors
    /// When nothing of this id is held.
    pub async fn release(&self, id: &str) -> anyhow::Result<()> {
        let was_held = match self {
            Self::Here(here) => {
                let subject: Subject = id.parse()?;
                quarantine::release(here.access.pool().await?, Actor::at_the_command_line(&caller()), &subject).await?
            }
            Self::Server(server) => match server.post_nothing(&["quarantine", id, "release"]).await {
                Err(error) if error.is_missing() => false,
                done => done.map(|()| true)?,
            },
        };
        if was_held {
            return Ok(());
        }
        let text = format!("nothing in quarantine has the id {id}; `windlass quarantine list` shows what is held");
        Err(Failure::missing(text))
    }
}
