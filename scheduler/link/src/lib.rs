//! The worker link: what the leader, its workers and the api processes say to each other, and how it is framed.
//!
//! The link only carries. PostgreSQL is the truth: whatever is lost here can be derived from it again.

pub mod archive;
pub mod assets;
pub mod fetch;
pub mod message;
pub mod query;
pub mod remote;
pub mod runs;
pub mod transport;

pub use archive::{ArchiveError, LogArchive, LogPlace};
pub use assets::{AssetEvent, AssetEvents, SourceRun, WhichAssets};
pub use fetch::{ConnectionFields, FetchItem, FetchKey, Fetched};
pub use message::{
    Assignment, Element, FromWorker, Given, Head, Hello, Mapped, Message, Notification, Poked, ServiceExit,
    ServiceReport, ServiceStart, ServiceStatus, TaskContext, ToWorker, Told, known_operators,
};
pub use query::{LeaderPort, LogChunk, NoLeader, Query, Reply};
pub use remote::RemotePort;
pub use runs::{IfExists, IfPaused, RunView, RunWish, Triggered, WhichRun};
pub use transport::{Acceptor, Connector, FrameError, LeaderLink, Link, LinkReceiver, LinkSender, WorkerLink};

/// The version of the messages. A field that is added is ignored by the other side; a changed meaning raises it.
pub const PROTOCOL_VERSION: u16 = 1;
/// The oldest version that this one still speaks with.
pub const PROTOCOL_OLDEST: u16 = 1;

/// Whether a caller that speaks these versions can be understood: each side speaks with the other's.
#[must_use]
pub fn speaks(version: u16, oldest: Option<u16>) -> bool {
    version >= PROTOCOL_OLDEST && oldest.unwrap_or(version) <= PROTOCOL_VERSION
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_versions_speak_with_each_other_and_distant_ones_do_not() {
        assert!(speaks(PROTOCOL_VERSION, None) && speaks(PROTOCOL_VERSION, Some(PROTOCOL_OLDEST)));
        assert!(speaks(PROTOCOL_VERSION + 1, Some(PROTOCOL_VERSION)), "a newer one that still knows ours");
        assert!(!speaks(PROTOCOL_VERSION + 1, None), "a newer one that knows only itself");
        assert!(!speaks(PROTOCOL_OLDEST - 1, None), "one that was given up");
    }
}
