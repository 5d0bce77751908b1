//! The worker link: what the leader, its workers and the api processes say to each other, and how it is framed.
//!
//! The link only carries. PostgreSQL is the truth: whatever is lost here can be derived from it again.

pub mod archive;
pub mod fetch;
pub mod message;
pub mod query;
pub mod remote;
pub mod runs;
pub mod transport;

pub use archive::{ArchiveError, LogArchive, LogPlace};
pub use fetch::{ConnectionFields, FetchItem, FetchKey, Fetched};
pub use message::{
    Assignment, FromWorker, Hello, ServiceExit, ServiceReport, ServiceStart, ServiceStatus, TaskContext, ToWorker,
};
pub use query::{LeaderPort, LogChunk, NoLeader, Query, Reply};
pub use remote::RemotePort;
pub use runs::{IfExists, IfPaused, RunView, RunWish, Triggered, WhichRun};
pub use transport::{Acceptor, Connector, FrameError, LeaderLink, Link, LinkReceiver, LinkSender, WorkerLink};

/// The version of the messages. A field that is added is ignored by the other side; a changed meaning raises it.
pub const PROTOCOL_VERSION: u16 = 1;
