//! Questions of pages and of api processes: a channel of their own beside the news, and a snapshot for what every page shows.
//!
//! What always holds here: a question never takes the place of a worker's report, and between two turns only
//! [`BETWEEN_TURNS_MAX`] are answered, for [`BETWEEN_TURNS_TIME`] at most. Whoever asks for the cluster is answered from
//! what the leader showed last, without the leader hearing of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use link::{NoLeader, Query, Reply, query::ClusterView};
use tokio::sync::{mpsc, oneshot, watch};

use super::port::LocalPort;

/// Questions that may wait for the leader; whoever comes then waits for a place, within the time limit of its port.
const WAITING_MAX: usize = 256;
/// So many are answered between two turns while there is other work.
pub(super) const BETWEEN_TURNS_MAX: usize = 32;
/// And no new one is begun after this: a sentence about a run of 10,000 tasks takes milliseconds.
pub(super) const BETWEEN_TURNS_TIME: Duration = Duration::from_millis(5);

/// What comes back: a reply, or why there is none now.
pub type Answered = Result<Reply, NoLeader>;

/// A question with the way back.
#[derive(Debug)]
pub struct Asked {
    /// What somebody wants to know.
    pub query: Query,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Answered>,
}

/// How the cluster stood when the leader looked last.
#[derive(Debug, Clone)]
pub(super) struct Sight {
    pub(super) view: Arc<ClusterView>,
    /// A leader that watches workers looks again before this; one without workers has nothing new to show.
    pub(super) good_until: Option<Instant>,
}

/// The leader's end.
#[derive(Debug)]
pub(super) struct Questions {
    sender: mpsc::Sender<Asked>,
    receiver: mpsc::Receiver<Asked>,
    sight: watch::Sender<Option<Sight>>,
}

impl Default for Questions {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        Self { sender, receiver, sight: watch::Sender::new(None) }
    }
}

impl Questions {
    /// The end for those who ask.
    pub(super) fn asking_end(&self) -> (mpsc::Sender<Asked>, watch::Receiver<Option<Sight>>) {
        (self.sender.clone(), self.sight.subscribe())
    }

    /// The next question, when there is one. It never ends: this end holds a sender, too.
    pub(super) async fn next(&mut self) -> Asked {
        match self.receiver.recv().await {
            Some(asked) => asked,
            None => std::future::pending().await,
        }
    }

    /// A question that waits already.
    pub(super) fn waiting(&mut self) -> Option<Asked> {
        self.receiver.try_recv().ok()
    }

    /// Shows how the cluster stands.
    pub(super) fn show(&self, sight: Sight) {
        self.sight.send_replace(Some(sight));
    }

    /// This process does not lead: there is nothing to show, and whoever waits for an answer hears that the leader changes.
    pub(super) fn fall_silent(&mut self) {
        self.sight.send_replace(None);
        while self.waiting().is_some() {}
    }
}

/// The answers that one pause between turns has room for.
#[derive(Debug)]
pub(super) struct Room {
    left: usize,
    until: Instant,
}

impl Room {
    /// The room of a pause that begins now.
    pub(super) fn new() -> Self {
        Self { left: BETWEEN_TURNS_MAX, until: Instant::now() + BETWEEN_TURNS_TIME }
    }

    /// Takes a place, if there is one.
    pub(super) fn take(&mut self) -> bool {
        let is_free = self.left > 0 && Instant::now() < self.until;
        self.left = self.left.saturating_sub(1);
        is_free
    }
}

/// The port of a leader's ear, beside its news.
pub(super) fn port(questions: &Questions, news: mpsc::Sender<super::News>) -> LocalPort {
    let (asking, sight) = questions.asking_end();
    LocalPort::new(asking, sight, news)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_between_turns_has_room_for_a_few_answers() {
        let mut room = Room { left: BETWEEN_TURNS_MAX, until: Instant::now() + Duration::from_secs(60) };
        assert_eq!(std::iter::repeat_with(|| room.take()).take_while(|taken| *taken).count(), BETWEEN_TURNS_MAX);
        let mut late = Room { left: BETWEEN_TURNS_MAX, until: Instant::now() };
        assert!(!late.take());
    }
}
