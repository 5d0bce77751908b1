//! The link inside one process: the same messages, never encoded.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use futures::{FutureExt, future::BoxFuture};
use tokio::sync::mpsc;

use super::{Acceptor, Claim, Connector, LeaderLink, Link, LinkReceiver, LinkSender, MESSAGES_WAITING_MAX, WorkerLink};

/// Connections that may wait to be accepted: a process has one worker of its own, and tests a few.
const CONNECTIONS_WAITING_MAX: usize = 16;

/// A worker's door to a leader in the same process.
#[derive(Debug, Clone)]
pub struct ChannelConnector(mpsc::Sender<LeaderLink>);

/// The leader's side of [`ChannelConnector`].
#[derive(Debug)]
pub struct ChannelAcceptor(mpsc::Receiver<LeaderLink>);

/// A door that only this process has.
#[must_use]
pub fn in_process() -> (ChannelConnector, ChannelAcceptor) {
    let (sender, receiver) = mpsc::channel(CONNECTIONS_WAITING_MAX);
    (ChannelConnector(sender), ChannelAcceptor(receiver))
}

impl Connector for ChannelConnector {
    fn connect(&self) -> BoxFuture<'_, io::Result<WorkerLink>> {
        async {
            let (worker, leader) = pair();
            let gone = || io::Error::new(io::ErrorKind::ConnectionRefused, "the leader of this process has ended");
            self.0.send(leader).await.map_err(|_| gone())?;
            Ok(worker)
        }
        .boxed()
    }
}

impl Acceptor for ChannelAcceptor {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<LeaderLink>> {
        async {
            let gone = || io::Error::new(io::ErrorKind::NotConnected, "every worker of this process has ended");
            self.0.recv().await.ok_or_else(gone)
        }
        .boxed()
    }
}

fn pair() -> (WorkerLink, LeaderLink) {
    let (to_leader, from_worker) = mpsc::channel(MESSAGES_WAITING_MAX);
    let (to_worker, from_leader) = mpsc::channel(MESSAGES_WAITING_MAX);
    let worker = Link { sender: LinkSender(to_leader), receiver: receiver(from_leader), claim: Claim::Trusted };
    let leader = Link { sender: LinkSender(to_worker), receiver: receiver(from_worker), claim: Claim::Trusted };
    (worker, leader)
}

fn receiver<In>(messages: mpsc::Receiver<In>) -> LinkReceiver<In> {
    LinkReceiver { messages, fault: Arc::new(OnceLock::new()) }
}
