//! The link over TCP, always inside TLS 1.3: there is no way to listen or to connect without it.
//!
//! What always holds here: the caller proves the server by the fingerprint of the cluster's authority before it says
//! anything, and the server proves the caller by a secret before it reads anything longer than a greeting. Whatever goes
//! wrong ends in one sentence on both sides, within a time limit and with bounded memory.

mod caller;
mod connector;
mod door;
mod files;
mod greeting;
mod identity;
mod secret;
mod token;
mod verify;

use std::time::Duration;

pub use caller::{CallError, Caller};
pub use connector::{Finder, ListedEndpoints, TcpConnector, parse_endpoints};
pub use door::{Admission, Door, Enrollment, Gatekeeper, Recognition, Standing, Visitor};
pub use files::WorkerFiles;
pub use greeting::Purpose;
pub use identity::{Authority, Fingerprint, IdentityError, WorkerCertificate};
pub use secret::Secret;
pub use token::{JoinToken, TokenError};

/// The name in every leader's certificate. Callers check this name and the authority, not an address: a leader may have
/// any address, and only the authority says that it is one of the cluster.
const SERVER_NAME: &str = "leader.windlass.internal";
/// How long a whole handshake may take, on both sides: a round trip or three and a signature.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);
/// The longest frame before a caller is admitted: a greeting and its verdict are some hundred bytes.
const GREETING_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests;
