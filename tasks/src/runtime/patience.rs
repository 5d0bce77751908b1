//! How a streaming worker waits for a log that is away: it goes on by itself when the log is back, and says meanwhile, in
//! one sentence, what it waits for.

use super::event_log::{EventLog, LogError};
use super::service::Worker;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// The pause between two tries; the tries themselves take up to the log's own time limit.
const PAUSE: Duration = Duration::from_millis(500);
/// How often the log's trouble is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A trouble that is over sooner is nobody's business.
const WORTH_A_WORD: Duration = Duration::from_secs(2);

/// Asks until the log answers; nothing when the worker is stopped before that.
///
/// # Errors
/// What the log answers, unless that passes by itself.
pub async fn patiently<T, F>(worker: &Worker, mut ask: impl FnMut() -> F) -> Result<Option<T>, LogError>
where
    F: Future<Output = Result<T, LogError>>,
{
    loop {
        let answer = tokio::select! {
            () = worker.stop.cancelled() => return Ok(None),
            answer = ask() => answer,
        };
        match answer {
            Err(error) if error.is_passing() => tracing::debug!(%error, "the event log is asked again"),
            other => return other.map(Some),
        }
        worker.meter.turn();
        tokio::select! {
            () = worker.stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Reports what keeps the log from answering, once, and that it answers again, until the worker is stopped.
pub fn report_trouble(worker: Worker, log: Arc<dyn EventLog>) {
    tokio::spawn(async move {
        let mut trouble = Trouble::None;
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = worker.stop.cancelled() => return,
                _ = every.tick() => {}
            }
            trouble = trouble.seen(log.trouble(), Instant::now(), &mut |said| worker.failed(&said));
        }
    });
}

/// What is known of the log's trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// It may pass.
    Since(Instant),
    /// It was reported.
    Told(Instant),
}

impl Trouble {
    fn seen(self, now: Option<String>, at: Instant, say: &mut dyn FnMut(String)) -> Self {
        match (self, now) {
            (Self::None, Some(_)) => Self::Since(at),
            (Self::Since(since), Some(why)) if at - since >= WORTH_A_WORD => {
                say(format!("waits for the event log, and goes on by itself when it answers: {why}"));
                Self::Told(since)
            }
            (Self::Told(since), None) => {
                say(format!("the event log answers again after {} s", (at - since).as_secs()));
                Self::None
            }
            (Self::Since(_), None) => Self::None,
            (same, _) => same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_that_lasts_is_told_once_and_so_is_its_end() {
        let begin = Instant::now();
        let mut told = Vec::new();
        let mut trouble = Trouble::None;
        for (second, why) in [(0, Some("x")), (1, Some("x")), (2, Some("x")), (3, Some("y")), (9, None), (10, None)] {
            let at = begin + Duration::from_secs(second);
            trouble = trouble.seen(why.map(str::to_owned), at, &mut |said| told.push(said));
        }
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].ends_with("when it answers: x") && told[1].ends_with("again after 9 s"), "{told:?}");
    }

    #[test]
    fn a_short_trouble_is_not_told() {
        let begin = Instant::now();
        let since = Trouble::None.seen(Some("x".into()), begin, &mut |said| panic!("{said}"));
        assert_eq!(since.seen(None, begin + LOOK_EVERY, &mut |said| panic!("{said}")), Trouble::None);
    }
}
