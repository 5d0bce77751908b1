//! How messages travel between a leader and a worker.
//!
//! A [`Link`] looks the same over a channel in one process, a Unix socket or any other byte stream: messages arrive
//! whole and in order, or the link ends. Both directions are bounded, so a slow reader slows its writer down.

mod channel;
mod frame;
mod stream;
pub mod tls;
mod unix;

use std::{
    io,
    sync::{Arc, OnceLock},
};

use futures::future::BoxFuture;
use tokio::sync::mpsc;
use uuid::Uuid;

pub use channel::{ChannelAcceptor, ChannelConnector, in_process};
pub use frame::{FRAME_BYTES_MAX, FrameError, read_frame, write_frame};
pub use stream::over_stream;
pub use unix::{SOCKET_PATH_BYTES_MAX, UnixAcceptor, UnixConnector, write_endpoint};

use crate::{FromWorker, ToWorker};

/// Messages that may wait in one direction. A worker sends a few a second for each attempt; more than this means that
/// the other side does not keep up, and the sender waits.
const MESSAGES_WAITING_MAX: usize = 256;

/// The worker's end of a connection.
pub type WorkerLink = Link<FromWorker, ToWorker>;
/// The leader's end of a connection.
pub type LeaderLink = Link<ToWorker, FromWorker>;

/// One end of a connection: it sends `Out` and receives `In`.
#[derive(Debug)]
pub struct Link<Out, In> {
    sender: LinkSender<Out>,
    receiver: LinkReceiver<In>,
    claim: Claim,
}

/// What is proven of who the other side is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Claim {
    /// It is of this machine and this user.
    #[default]
    Trusted,
    /// It has shown this worker's certificate.
    Proven(Uuid),
    /// It has a join token, and is of a version that knows no certificates.
    Unproven,
}

/// The sending half of a link. The connection closes when every clone of it is gone.
#[derive(Debug)]
pub struct LinkSender<Out>(mpsc::Sender<Out>);

/// The receiving half of a link.
#[derive(Debug)]
pub struct LinkReceiver<In> {
    messages: mpsc::Receiver<In>,
    fault: Arc<OnceLock<FrameError>>,
}

/// The other side is gone: what was to be sent did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection is closed")]
pub struct Closed;

impl<Out, In> Link<Out, In> {
    pub(crate) fn claimed(self, claim: Claim) -> Self {
        Self { claim, ..self }
    }

    /// What is proven of who the other side is.
    #[must_use]
    pub const fn claim(&self) -> Claim {
        self.claim
    }

    /// Sends a message, waiting while too many are under way.
    ///
    /// # Errors
    /// [`Closed`] when the other side is gone. A success says only that the message is on its way.
    pub async fn send(&self, message: Out) -> Result<(), Closed> {
        self.sender.send(message).await
    }

    /// The next message; `None` when the other side has closed the connection. Losing this future loses no message.
    ///
    /// # Errors
    /// [`FrameError`] when what arrived can not be read; nothing follows it.
    pub async fn recv(&mut self) -> Result<Option<In>, FrameError> {
        self.receiver.recv().await
    }

    /// The two halves, for use by different tasks.
    #[must_use]
    pub fn split(self) -> (LinkSender<Out>, LinkReceiver<In>) {
        (self.sender, self.receiver)
    }
}

impl<Out> Clone for LinkSender<Out> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Out> LinkSender<Out> {
    /// Sends a message, waiting while too many are under way.
    ///
    /// # Errors
    /// [`Closed`] when the other side is gone.
    pub async fn send(&self, message: Out) -> Result<(), Closed> {
        self.0.send(message).await.map_err(|_| Closed)
    }
}

impl<In> LinkReceiver<In> {
    /// The next message; `None` when the other side has closed the connection. Losing this future loses no message.
    ///
    /// # Errors
    /// [`FrameError`] when what arrived can not be read; nothing follows it.
    pub async fn recv(&mut self) -> Result<Option<In>, FrameError> {
        match self.messages.recv().await {
            Some(message) => Ok(Some(message)),
            None => match self.fault.get() {
                Some(fault) => Err(fault.clone()),
                None => Ok(None),
            },
        }
    }
}

/// A worker's way to the leader of the moment.
pub trait Connector: Send + Sync {
    /// Connects once; the caller tries again, with a pause of its choice.
    fn connect(&self) -> BoxFuture<'_, io::Result<WorkerLink>>;
}

/// A leader's door for workers.
pub trait Acceptor: Send {
    /// Waits for the next worker. Losing this future loses no worker.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<LeaderLink>>;
}
