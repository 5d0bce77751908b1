//! The connection to the leader of the moment: made again whenever it is lost, with a growing pause.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use link::{Connector, FromWorker, ToWorker, WorkerLink};
use rand::Rng as _;
use tokio::time::{sleep, timeout};

/// The first pause; it doubles up to the longest. A new leader is found soon, and a missing one costs little.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long one try to connect may take.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// A leader that takes no message for so long is no leader any more.
const SEND_WAIT: Duration = Duration::from_secs(10);

/// What a session brings.
pub(super) enum News {
    /// A connection was made; Hello is due.
    Connected,
    /// The leader says something.
    Message(ToWorker),
    /// The connection is lost; the next one is being made.
    Lost(String),
}

/// The connection, or the way to the next one.
pub(super) struct Session {
    connector: Arc<dyn Connector>,
    state: State,
}

enum State {
    Connecting(BoxFuture<'static, WorkerLink>),
    Connected(WorkerLink),
}

impl Session {
    /// Starts to connect.
    pub(super) fn new(connector: Arc<dyn Connector>) -> Self {
        let state = State::Connecting(connect(Arc::clone(&connector)));
        Self { connector, state }
    }

    /// What comes next. Losing this future loses nothing.
    pub(super) async fn next(&mut self) -> News {
        let reason = match &mut self.state {
            State::Connecting(connecting) => {
                let link = connecting.await;
                self.state = State::Connected(link);
                return News::Connected;
            }
            State::Connected(link) => match link.recv().await {
                Ok(Some(message)) => return News::Message(message),
                Ok(None) => "the leader closed the connection".to_owned(),
                Err(error) => error.to_string(),
            },
        };
        self.reconnect();
        News::Lost(reason)
    }

    /// Sends a message. One that can not be sent is lost with the connection: what matters is said again on the next.
    pub(super) async fn send(&mut self, message: FromWorker) {
        let State::Connected(link) = &self.state else { return };
        let sent = timeout(SEND_WAIT, link.send(message)).await;
        if !matches!(sent, Ok(Ok(()))) {
            self.reconnect();
        }
    }

    /// Whether there is a connection.
    pub(super) const fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected(_))
    }

    /// Gives the connection up and looks for the leader anew.
    pub(super) fn reconnect(&mut self) {
        self.state = State::Connecting(connect(Arc::clone(&self.connector)));
    }
}

fn connect(connector: Arc<dyn Connector>) -> BoxFuture<'static, WorkerLink> {
    async move {
        let mut pause = PAUSE_FIRST;
        let mut said = String::new();
        loop {
            // The pause comes first: a leader that accepts and closes at once is not asked in a tight loop.
            let jitter = rand::rng().random_range(0.5..1.0);
            sleep(pause.mul_f64(jitter)).await;
            match timeout(CONNECT_WAIT, connector.connect()).await {
                Ok(Ok(link)) => return link,
                Ok(Err(error)) => say_once(&mut said, error.to_string()),
                Err(_) => say_once(&mut said, format!("nothing answers within {CONNECT_WAIT:?}")),
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
    .boxed()
}

/// A reason is logged when it is another one than before: the next tries mostly fail for the same.
fn say_once(said: &mut String, reason: String) {
    if *said != reason {
        tracing::warn!("no leader to work for yet: {reason}");
        *said = reason;
    }
}
