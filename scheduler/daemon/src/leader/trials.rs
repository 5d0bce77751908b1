//! Tries of connections that workers carry out for whoever asks by an api process.

use std::time::Duration;

use link::{ConnectionFields, Reply, ToWorker};
use tokio::sync::oneshot;

use super::{
    questions::Answered,
    reign::Reign,
    waiting::{Bounds, Waiting},
};

/// Each try holds a worker's attention for seconds. It may take longer than a worker takes by itself, and is given up before whoever
/// asks stops waiting.
const BOUNDS: Bounds = Bounds {
    most: 16,
    wait: Duration::from_secs(15),
    busy: "connections are being tried",
    late: "the worker that tries it does not answer",
};

/// Tries that wait for workers.
#[derive(Debug)]
pub(super) struct Trials(Waiting<()>);

impl Default for Trials {
    fn default() -> Self {
        Self(Waiting::new(BOUNDS))
    }
}

impl Trials {
    /// Answers those who have waited for too long, once a beat.
    pub(super) fn give_up(&mut self) {
        self.0.give_up();
    }

    /// A worker has tried.
    pub(super) fn arrived(&mut self, id: u64, works: bool, message: String) {
        self.0.answer(id, Reply::Tried { works, message });
    }
}

impl Reign {
    /// Lets the worker with the least to do try a connection out.
    pub(super) fn try_connection(&mut self, connection: Box<ConnectionFields>, answer: oneshot::Sender<Answered>) {
        let able =
            self.peers.iter().filter(|(_, peer)| peer.is_alive() && !peer.is_leaving() && peer.tries_connections);
        let Some(worker) = able.map(|(worker, _)| worker).min_by_key(|worker| self.engine.slots_used_on(*worker))
        else {
            let detail = "no worker that tries connections is connected right now".to_owned();
            drop(answer.send(Ok(Reply::NotFound { detail })));
            return;
        };
        if let Some(id) = self.trials.0.begin((), answer) {
            self.peers.send(worker, ToWorker::TryConnection { id, connection });
        }
    }
}
