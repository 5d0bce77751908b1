//! The leader: takes events, lets the engine decide, stores the plan in one commit, and only then acts.
//!
//! A process campaigns until it leads, reigns until something contradicts it, and campaigns again. Whatever a reign
//! knew is thrown away at its end and loaded again from PostgreSQL, so no doubt outlives it.

mod announce;
mod assets;
mod batch;
mod bundles;
mod campaign;
mod clock;
mod deletions;
mod door;
mod fetch;
mod folder_news;
mod held;
mod housekeeping;
mod isolation;
mod lease;
mod metrics;
mod notifications;
mod peers;
mod picture;
mod port;
mod queries;
mod questions;
mod reign;
mod runs;
mod said;
mod scope;
mod trials;
mod turns;
mod waiting;

use std::{path::PathBuf, sync::Arc};

use link::{
    FromWorker, Hello, ToWorker,
    transport::{Claim, tls::Standing},
};
use store::inbox::Room;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::folder::FolderNews;

pub use self::metrics::LeaderMetrics;
pub use campaign::{LeaderError, run};
pub use door::NetworkAcceptor;
pub use peers::ConnectionId;
pub use port::LocalPort;
use questions::Questions;

/// News that may wait for the leader. Workers wait when it is full; nothing is dropped.
const NEWS_WAITING_MAX: usize = 8192;

/// Events of one turn: turns are bounded, the rest waits for the next one.
const EVENTS_MAX: usize = 2_000;
/// Commands of one turn: a tenth of its events is kept free for them, whatever else there is. Those that come in floods have
/// half of it, so that nobody's pause waits long behind them.
const COMMANDS: Room = Room { few: 100, bulk: 100 };
/// Events of one turn that are news of workers.
const NEWS_MAX: usize = EVENTS_MAX - (COMMANDS.few + COMMANDS.bulk) as usize;

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
    /// The bundles that it fetches.
    pub bundles: Arc<crate::bundles::Settings>,
    /// The key that decrypts connections and variables.
    pub secret_key: store::SecretKey,
    /// Where connections and variables are looked for before the environment and the database.
    pub secrets: Arc<secrets::Backends>,
    /// Where it counts what it does.
    pub metrics: LeaderMetrics,
    /// How long it keeps history.
    pub retention: store::retention::Retention,
    /// What the installation decides for all of its DAGs.
    pub engine: engine::Settings,
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
    standing: watch::Sender<Standing>,
    questions: Questions,
}

impl Ear {
    /// An ear that has heard nothing yet.
    #[must_use]
    pub fn new((sender, receiver): (mpsc::Sender<News>, mpsc::Receiver<News>), shutdown: CancellationToken) -> Self {
        let (standing, _) = watch::channel(Standing::StandsBy { leader: None });
        Self { sender, receiver, shutdown, standing, questions: Questions::default() }
    }

    /// Whether this process leads, for those who decide what to do with visitors.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// The way to ask the leader in this process.
    #[must_use]
    pub fn port(&self) -> LocalPort {
        questions::port(&self.questions, self.sender.clone())
    }

    fn stands(&mut self, now: Standing) {
        if now != Standing::Leads {
            self.questions.fall_silent();
        }
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
}
