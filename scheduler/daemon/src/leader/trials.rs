//! Tries of connections that workers carry out for whoever asks by an api process.
//!
//! What always holds: at most [`TRIALS_MAX`] are under way, and each is answered within [`TRIAL_WAIT`], whatever its worker does.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use link::{ConnectionFields, NoLeader, Reply, ToWorker};
use tokio::sync::oneshot;

use super::{questions::Answered, reign::Reign};

/// Tries that may be under way; each holds a worker's attention for seconds.
const TRIALS_MAX: usize = 16;
/// How long a worker may take: longer than it takes by itself, and shorter than whoever asks waits.
const TRIAL_WAIT: Duration = Duration::from_secs(15);

/// Tries that wait for workers.
#[derive(Debug, Default)]
pub(super) struct Trials {
    next_id: u64,
    waiting: BTreeMap<u64, Trial>,
}

#[derive(Debug)]
struct Trial {
    answer: oneshot::Sender<Answered>,
    asked_at: Instant,
}

impl Trials {
    /// Notes a try and gives its number; none when there are too many, and then it is answered already.
    fn begin(&mut self, answer: oneshot::Sender<Answered>) -> Option<u64> {
        self.waiting.retain(|_, trial| !trial.answer.is_closed());
        if self.waiting.len() >= TRIALS_MAX {
            let reason = format!("it is busy: {TRIALS_MAX} connections are being tried at this moment");
            drop(answer.send(Err(NoLeader { reason })));
            return None;
        }
        self.next_id += 1;
        self.waiting.insert(self.next_id, Trial { answer, asked_at: Instant::now() });
        Some(self.next_id)
    }

    /// Answers those who have waited for too long, once a beat.
    pub(super) fn give_up(&mut self) {
        for (_, trial) in self.waiting.extract_if(.., |_, trial| trial.asked_at.elapsed() >= TRIAL_WAIT) {
            drop(
                trial
                    .answer
                    .send(Ok(Reply::NotFound { detail: "the worker that tries it does not answer".to_owned() })),
            );
        }
    }

    /// A worker has tried.
    pub(super) fn arrived(&mut self, id: u64, works: bool, message: String) {
        if let Some(trial) = self.waiting.remove(&id) {
            // Whoever asked may have gone away.
            drop(trial.answer.send(Ok(Reply::Tried { works, message })));
        }
    }
}

impl Reign {
    /// Lets the worker with the least to do try a connection out.
    pub(super) fn try_connection(&mut self, connection: Box<ConnectionFields>, answer: oneshot::Sender<Answered>) {
        let able =
            self.peers.iter().filter(|(_, peer)| peer.is_alive() && !peer.is_leaving() && peer.tries_connections);
        let Some(worker) = able.map(|(worker, _)| worker).min_by_key(|worker| self.engine.attempt_count_on(*worker))
        else {
            let detail = "no worker that tries connections is connected right now".to_owned();
            drop(answer.send(Ok(Reply::NotFound { detail })));
            return;
        };
        if let Some(id) = self.trials.begin(answer) {
            self.peers.send(worker, ToWorker::TryConnection { id, connection });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_bounded_and_none_waits_for_ever() {
        let mut trials = Trials::default();
        let mut waiting: Vec<_> = (0..TRIALS_MAX)
            .map(|_| {
                let (answer, answered) = oneshot::channel();
                assert!(trials.begin(answer).is_some());
                answered
            })
            .collect();
        let (answer, mut refused) = oneshot::channel();
        assert!(trials.begin(answer).is_none());
        assert!(refused.try_recv().unwrap().unwrap_err().reason.contains("busy"));
        trials.arrived(1, true, "it works".to_owned());
        assert!(matches!(waiting[0].try_recv().unwrap(), Ok(Reply::Tried { works: true, .. })));
        // One that nobody waits for any more makes room.
        waiting.pop();
        let (answer, _answered) = oneshot::channel();
        assert!(trials.begin(answer).is_some());
        let Some(long_ago) = Instant::now().checked_sub(TRIAL_WAIT) else { return };
        trials.waiting.values_mut().for_each(|trial| trial.asked_at = long_ago);
        trials.give_up();
        assert!(matches!(waiting[1].try_recv().unwrap(), Ok(Reply::NotFound { .. })));
    }
}
