//! What is said before a connection carries messages: who calls, and whether that is welcome.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Secret;

/// What a caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// It is a worker with a join token.
    Work,
    /// It is an api process with the cluster's own secret, and asks questions.
    Ask,
}

/// The caller's first frame.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Greeting {
    /// [`crate::PROTOCOL_VERSION`] of the caller.
    pub(super) protocol: u16,
    /// [`crate::PROTOCOL_OLDEST`] of the caller; none for those that speak one version only.
    #[serde(default)]
    pub(super) protocol_oldest: Option<u16>,
    /// What it wants.
    pub(super) purpose: Purpose,
    /// Which secret it knows.
    pub(super) id: String,
    /// The secret.
    pub(super) secret: Secret,
    /// Which worker calls; its certificate proves it, once it has one.
    #[serde(default)]
    pub(super) worker: Option<Uuid>,
}

/// The server's answer. After any but the first it closes the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub(super) enum Verdict {
    /// Messages may follow.
    Admitted {
        /// For a worker that has shown its token for the first time: its certificate and the key, to call with from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        certificate: Option<String>,
    },
    /// The caller is not known, or there is no room.
    Refused {
        /// Why, for people.
        reason: String,
    },
    /// The caller is known, but this process does not lead.
    StandsBy {
        /// Where the leader is, when that is known.
        leader: Option<String>,
    },
}
