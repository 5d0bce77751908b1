//! The leader: takes events, lets the engine decide, stores the plan in one commit, and only then acts.
//!
//! A process campaigns until it leads, reigns until something contradicts it, and campaigns again. Whatever a reign
//! knew is thrown away at its end and loaded again from PostgreSQL, so no doubt outlives it.

mod announce;
mod batch;
mod campaign;
mod clock;
mod door;
mod fetch;
mod folder_news;
mod lease;
mod metrics;
mod peers;
mod picture;
mod port;
mod queries;
mod reign;
mod runs;
mod said;
mod scope;
mod turns;

use std::path::PathBuf;

use link::{
    FromWorker, Hello, Query, Reply, ToWorker,
    transport::{Claim, tls::Standing},
};
use model::Epoch;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::folder::FolderNews;

pub use self::metrics::LeaderMetrics;
pub use campaign::{LeaderError, run};
pub use door::NetworkAcceptor;
pub use peers::ConnectionId;
pub use port::LocalPort;

/// News that may wait for the leader. Workers and pages wait when it is full; nothing is dropped.
const NEWS_WAITING_MAX: usize = 8192;

/// What a leader is given.
pub struct LeaderSettings {
    /// The state database.
    pub database_url: String,
    /// A name for people, such as `host:pid`.
    pub name: String,
    /// Where workers find this leader; written to its row.
    pub endpoint: String,
    /// Where its DAGs come from.
    pub dags: DagSource,
    /// The key that decrypts connections and variables.
    pub secret_key: store::SecretKey,
    /// Where it counts what it does.
    pub metrics: LeaderMetrics,
}

/// Where a leader has its DAGs from.
#[derive(Debug, Clone)]
pub enum DagSource {
    /// A folder of DAG files, watched.
    Folder(PathBuf),
    /// Files that have been read, and stay as they are.
    Fixed(FolderNews),
}

/// Something that reached the leader.
pub enum News {
    /// A worker introduces itself on a new connection.
    Hello {
        /// The connection.
        connection: ConnectionId,
        /// What it says.
        hello: Box<Hello>,
        /// What is proven of who it is.
        claim: Claim,
        /// Where messages to it go.
        sender: mpsc::Sender<ToWorker>,
    },
    /// A worker says something.
    FromWorker {
        /// The connection.
        connection: ConnectionId,
        /// What it says.
        message: Box<FromWorker>,
    },
    /// A connection has closed.
    Disconnected(ConnectionId),
    /// The inbox may have something.
    Inbox,
    /// A page wants to know something.
    Query {
        /// What.
        query: Query,
        /// Where the answer goes.
        answer: oneshot::Sender<Reply>,
    },
    /// Another process leads, as the lease of this leadership has found. One of an earlier leadership may come late.
    Deposed(Epoch),
}

/// The leader's ear: news comes in here, from the first moment on, whether the process leads or not.
#[must_use]
pub fn news_channel() -> (mpsc::Sender<News>, mpsc::Receiver<News>) {
    mpsc::channel(NEWS_WAITING_MAX)
}

/// What a leader runs with, beside its settings.
pub struct Ear {
    /// For those who bring news.
    pub sender: mpsc::Sender<News>,
    /// For the leader.
    pub receiver: mpsc::Receiver<News>,
    /// Ends the leader.
    pub shutdown: CancellationToken,
    /// Turns that still take one event each, because the engine gave up on a turn before.
    careful_turns: u32,
    standing: watch::Sender<Standing>,
}

impl Ear {
    /// Events of one turn: turns are bounded, the rest waits in the channel for the next one.
    const EVENTS_MAX: usize = 2_000;
    /// After a defect so many turns are taken one event at a time, so that a bad one falls alone.
    const CAREFUL_TURNS: u32 = 256;

    /// An ear that has heard nothing yet.
    #[must_use]
    pub fn new((sender, receiver): (mpsc::Sender<News>, mpsc::Receiver<News>), shutdown: CancellationToken) -> Self {
        let (standing, _) = watch::channel(Standing::StandsBy { leader: None });
        Self { sender, receiver, shutdown, careful_turns: 0, standing }
    }

    /// Whether this process leads, for those who decide what to do with visitors.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    fn stands(&self, now: Standing) {
        self.standing.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }

    /// Forgets what was said to a leader that is none any more. Who said it hears that its connection is closed, and
    /// says it to the next one.
    fn forget_news(&mut self) {
        while self.receiver.try_recv().is_ok() {}
    }

    fn events_max(&self) -> usize {
        if self.careful_turns > 0 { 1 } else { Self::EVENTS_MAX }
    }

    /// DAG files that are stored before one turn.
    fn files_max(&self) -> usize {
        if self.careful_turns > 0 { 1 } else { usize::MAX }
    }

    fn turn_went_well(&mut self) {
        self.careful_turns = self.careful_turns.saturating_sub(1);
    }

    fn be_careful(&mut self) {
        self.careful_turns = Self::CAREFUL_TURNS;
    }
}
