//! What comes in from the network: workers for the leader, and the questions of api processes.

use std::{io, sync::Arc};

use futures::future::BoxFuture;
use link::{
    Acceptor, LeaderLink, LeaderPort,
    remote::{AnswerLink, answer_all},
    transport::tls::{Door, Standing, Visitor},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

/// Visitors that may wait until they are looked after.
const VISITORS_WAITING_MAX: usize = 64;

/// The leader's side of a door on the network.
#[derive(Debug)]
pub struct NetworkAcceptor {
    workers: mpsc::Receiver<LeaderLink>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl NetworkAcceptor {
    /// Opens the door to workers, and to api processes while this process leads; `leader` answers them.
    #[must_use]
    pub fn new(door: Door, leader: Arc<dyn LeaderPort>, standing: watch::Receiver<Standing>) -> Self {
        let (visitors, received) = mpsc::channel(VISITORS_WAITING_MAX);
        let (sender, workers) = mpsc::channel(VISITORS_WAITING_MAX);
        let receiving = AbortOnDropHandle::new(tokio::spawn(door.receive(visitors)));
        let sorting = AbortOnDropHandle::new(tokio::spawn(sort(received, sender, leader, standing)));
        Self { workers, _tasks: [receiving, sorting] }
    }
}

impl Acceptor for NetworkAcceptor {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<LeaderLink>> {
        Box::pin(async {
            let closed = || io::Error::new(io::ErrorKind::NotConnected, "the door on the network is closed");
            self.workers.recv().await.ok_or_else(closed)
        })
    }
}

async fn sort(
    mut visitors: mpsc::Receiver<Visitor>,
    workers: mpsc::Sender<LeaderLink>,
    leader: Arc<dyn LeaderPort>,
    standing: watch::Receiver<Standing>,
) {
    // The answers end with this task; those that have ended are forgotten.
    let mut answers = JoinSet::new();
    while let Some(visitor) = visitors.recv().await {
        while answers.try_join_next().is_some() {}
        match visitor {
            Visitor::Worker(link) => {
                if workers.send(link).await.is_err() {
                    return;
                }
            }
            Visitor::Api(link) => drop(answers.spawn(answer(link, Arc::clone(&leader), standing.clone()))),
        }
    }
}

/// A process that does not lead any more hangs up, so that the question goes to the one that does.
async fn answer(link: AnswerLink, leader: Arc<dyn LeaderPort>, mut standing: watch::Receiver<Standing>) {
    tokio::select! {
        () = answer_all(link, leader) => {}
        _ = standing.wait_for(|standing| *standing != Standing::Leads) => {}
    }
}
