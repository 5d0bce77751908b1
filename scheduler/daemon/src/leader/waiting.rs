//! Questions that workers answer, and those who wait for the answers.
//!
//! What always holds: so many wait at most, each for so long at most, and each is answered once, whatever its worker does.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use link::{NoLeader, Reply};
use tokio::sync::oneshot;

use super::questions::Answered;

/// How much may wait, and what is said beyond it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Questions that may be under way.
    pub(super) most: usize,
    /// How long workers may take.
    pub(super) wait: Duration,
    /// What so many of them are: `logs are being read`.
    pub(super) busy: &'static str,
    /// What is answered when a worker takes longer.
    pub(super) late: &'static str,
}

/// Questions of one kind that wait for workers, each with what has to be known of it.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    bounds: Bounds,
    next_id: u64,
    questions: BTreeMap<u64, Question<T>>,
}

#[derive(Debug)]
struct Question<T> {
    answer: oneshot::Sender<Answered>,
    known: T,
    asked_at: Instant,
}

impl<T> Waiting<T> {
    /// Nothing waits yet.
    pub(super) const fn new(bounds: Bounds) -> Self {
        Self { bounds, next_id: 0, questions: BTreeMap::new() }
    }

    /// Notes a question and gives its number; none when there are too many, and then it is answered already.
    pub(super) fn begin(&mut self, known: T, answer: oneshot::Sender<Answered>) -> Option<u64> {
        let Bounds { most, busy, .. } = self.bounds;
        if self.questions.len() >= most {
            // Who has gone away does not wait for an answer.
            self.questions.retain(|_, question| !question.answer.is_closed());
        }
        if self.questions.len() >= most {
            drop(answer.send(Err(NoLeader { reason: format!("it is busy: {most} {busy} at this moment") })));
            return None;
        }
        self.next_id += 1;
        self.questions.insert(self.next_id, Question { answer, known, asked_at: Instant::now() });
        Some(self.next_id)
    }

    /// What is known of a question that waits.
    pub(super) fn known(&mut self, id: u64) -> Option<&mut T> {
        self.questions.get_mut(&id).map(|question| &mut question.known)
    }

    /// Answers a question, unless that has been done.
    pub(super) fn answer(&mut self, id: u64, reply: Reply) {
        if let Some(question) = self.questions.remove(&id) {
            // Whoever asked may have gone away.
            drop(question.answer.send(Ok(reply)));
        }
    }

    /// Answers those who have waited for too long, once a beat.
    pub(super) fn give_up(&mut self) {
        let Bounds { wait, late, .. } = self.bounds;
        for (_, question) in self.questions.extract_if(.., |_, question| question.asked_at.elapsed() >= wait) {
            drop(question.answer.send(Ok(Reply::NotFound { detail: late.to_owned() })));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        most: 3,
        wait: Duration::from_secs(15),
        busy: "things are being asked",
        late: "the worker does not answer",
    };

    #[test]
    fn questions_are_bounded_and_none_waits_for_ever() {
        let mut waiting = Waiting::new(BOUNDS);
        let begin = |waiting: &mut Waiting<()>| {
            let (answer, answered) = oneshot::channel();
            (waiting.begin((), answer), answered)
        };
        let mut asked: Vec<_> = (0..BOUNDS.most).map(|_| begin(&mut waiting)).collect();
        assert!(asked.iter().all(|(id, _)| id.is_some()));
        let (refused, mut why) = begin(&mut waiting);
        assert_eq!(refused, None);
        assert!(why.try_recv().unwrap().unwrap_err().reason.contains("it is busy: 3 things"));
        waiting.answer(1, Reply::Tried { works: true, message: "it works".to_owned() });
        assert!(matches!(asked[0].1.try_recv().unwrap(), Ok(Reply::Tried { works: true, .. })));
        // One that nobody waits for any more makes room.
        let _other = begin(&mut waiting);
        asked.pop();
        assert!(begin(&mut waiting).0.is_some());
        let Some(long_ago) = Instant::now().checked_sub(BOUNDS.wait) else { return };
        waiting.questions.values_mut().for_each(|question| question.asked_at = long_ago);
        waiting.give_up();
        assert!(matches!(asked[1].1.try_recv().unwrap(), Ok(Reply::NotFound { .. })));
    }
}
