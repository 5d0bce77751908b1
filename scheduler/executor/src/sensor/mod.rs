//! Sensors: tasks that look for something again and again until it is there, their time is over, or they are stopped.
//!
//! Each look writes one line that says what was looked for and what was found. What a sensor looks for is a [`Sight`];
//! how it waits is the same for all, and is here.

mod external;
mod file;
mod glob;
mod http;
mod kafka;
mod sql;
mod time;

use std::{ops::ControlFlow, time::Duration};

use futures::future::BoxFuture;
use model::{
    EndKind,
    operator::{PokeMode, Poking},
};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

pub(crate) use external::ExternalTaskSensorExecutor;
pub(crate) use file::FileSensorExecutor;
pub(crate) use http::HttpSensorExecutor;
pub(crate) use kafka::KafkaSensorExecutor;
pub(crate) use sql::SqlSensorExecutor;
pub(crate) use time::TimeSensorExecutor;

use crate::{Attempt, Outcome, Stop, StopCause};

/// What one look found, each with a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// It is there.
    There(String),
    /// It is not there yet.
    NotYet(String),
}

/// Something that can be looked for.
pub(crate) trait Sight: Send {
    /// In how long it is there, when that is known: there is no point in an earlier look.
    fn comes_in(&self) -> Option<Duration> {
        None
    }

    /// Looks once. It may be dropped at any time unless it minds `stop` itself, and then it ends soon.
    fn look<'a>(&'a mut self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Result<Found, Outcome>>;
}

/// Looks until there is an outcome; with mode `reschedule` or `deferrable: true` once, and the outcome may be that it looks again later. A look counts from
/// the first of its try, whichever attempt made that.
pub(crate) async fn watch(sight: &mut dyn Sight, poking: &Poking, attempt: &Attempt, stop: &Stop) -> Outcome {
    let began = Instant::now();
    let (waited, earlier) =
        attempt.assignment.poked.map_or((Duration::ZERO, 0), |poked| (seconds(poked.waited_secs), poked.times));
    for count in earlier.saturating_add(1).. {
        let looked = sight.look(attempt, stop).await;
        if stop.is_requested() {
            return stopped(poking, stop.requested().await);
        }
        if let Ok(Found::There(seen)) = &looked {
            attempt.log.system(&format!("Poke {count}: {seen}"));
        }
        let seen = match judge(poking, looked) {
            ControlFlow::Break(outcome) => return outcome,
            ControlFlow::Continue(seen) => seen,
        };
        let left = seconds(poking.timeout_secs).saturating_sub(waited.saturating_add(began.elapsed()));
        if left.is_zero() {
            attempt.log.system(&format!("Poke {count}: {seen}"));
            return timed_out(poking, &seen);
        }
        let pause = pause(poking, count, &attempt.assignment.attempt.to_string()).min(left);
        if poking.mode != PokeMode::Poke {
            let pause = sight.comes_in().map_or(pause, |there| there.min(left));
            attempt.log.system(&format!("Poke {count}: {seen}; the next look is in {}", span(pause)));
            return Outcome::rescheduled(pause, format!("poke {count}: {seen}"));
        }
        attempt.say(&format!("Poke {count}: {seen}; the next look is in {}", span(pause))).await;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            cause = stop.requested() => return stopped(poking, cause),
        }
    }
    unreachable!("so many looks take longer than any clock counts")
}

/// What follows from a look: an outcome, or what was seen and is not enough.
fn judge(poking: &Poking, looked: Result<Found, Outcome>) -> ControlFlow<Outcome, String> {
    match looked {
        Ok(Found::There(seen)) => ControlFlow::Break(Outcome::success().because(seen)),
        Ok(Found::NotYet(seen)) => ControlFlow::Continue(seen),
        Err(outcome) => match outcome.kind() {
            EndKind::Failed if poking.silent_fail => ControlFlow::Continue(outcome.reason().to_owned()),
            EndKind::Failed if poking.never_fail => ControlFlow::Break(skipped("never_fail", outcome.reason())),
            EndKind::FailedForGood if poking.soft_fail => ControlFlow::Break(skipped("soft_fail", outcome.reason())),
            EndKind::FailedForGood if poking.never_fail => ControlFlow::Break(skipped("never_fail", outcome.reason())),
            EndKind::Success
            | EndKind::Failed
            | EndKind::FailedForGood
            | EndKind::Skipped
            | EndKind::TimedOut
            | EndKind::Killed
            | EndKind::Lost
            | EndKind::Asked
            | EndKind::Rescheduled => ControlFlow::Break(outcome),
        },
    }
}

/// Its own time is over: no further try follows, because it would wait as long again.
fn timed_out(poking: &Poking, seen: &str) -> Outcome {
    let reason = format!("its timeout of {} s is over: {seen}", poking.timeout_secs);
    match (poking.soft_fail, poking.never_fail) {
        (true, _) => skipped("soft_fail", &reason),
        (false, true) => skipped("never_fail", &reason),
        (false, false) => Outcome::failed_for_good(reason),
    }
}

/// Its execution_timeout counts as one of its own when it may not fail; whoever stops it otherwise is obeyed.
pub(crate) fn stopped(poking: &Poking, cause: StopCause) -> Outcome {
    match cause.kind {
        EndKind::TimedOut if poking.soft_fail => skipped("soft_fail", &cause.reason),
        EndKind::TimedOut if poking.never_fail => skipped("never_fail", &cause.reason),
        EndKind::TimedOut
        | EndKind::Success
        | EndKind::Failed
        | EndKind::FailedForGood
        | EndKind::Skipped
        | EndKind::Killed
        | EndKind::Lost
        | EndKind::Asked
        | EndKind::Rescheduled => cause.into(),
    }
}

fn skipped(key: &str, reason: &str) -> Outcome {
    Outcome::skipped(format!("{reason} ({key})"))
}

/// The pause after a look: a growing one is spread over [b, 2b) with b doubling, as a retry's pause, so that sensors
/// that began together do not look together.
fn pause(poking: &Poking, count: u32, who: &str) -> Duration {
    let interval = poking.poke_interval_secs;
    if !poking.exponential_backoff {
        return seconds(interval);
    }
    let doublings = i32::try_from(count).unwrap_or(i32::MAX).saturating_sub(2);
    let least = (interval * 2_f64.powi(doublings)).floor().max(1.0);
    let hash = Sha256::digest(format!("{who}#{count}"));
    let spread = f64::from(u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])) / f64::from(u32::MAX);
    let grown = seconds(least + least * spread);
    poking.max_wait_secs.map_or(grown, |longest| grown.min(seconds(longest)))
}

/// A pause for people.
fn span(pause: Duration) -> String {
    if pause < Duration::from_secs(1) {
        format!("{} ms", pause.as_millis())
    } else {
        format!("{:.0} s", pause.as_secs_f64())
    }
}

/// A number of seconds as a duration; more than a clock can hold is for ever.
fn seconds(secs: f64) -> Duration {
    Duration::try_from_secs_f64(secs).unwrap_or(Duration::MAX)
}

/// What `work` gives, unless a stop comes first: then whatever it gives is not looked at.
async fn unless_stopped(stop: &Stop, work: impl Future<Output = Result<Found, Outcome>>) -> Result<Found, Outcome> {
    tokio::select! {
        found = work => found,
        cause = stop.requested() => Err(cause.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(max_wait_secs: Option<f64>) -> Poking {
        Poking { poke_interval_secs: 10.0, exponential_backoff: true, max_wait_secs, ..Poking::default() }
    }

    #[test]
    fn a_growing_pause_doubles_within_its_spread_and_its_limit() {
        for (count, least) in [(1, 5.0), (2, 10.0), (3, 20.0), (4, 40.0)] {
            let secs = pause(&backoff(None), count, "a").as_secs_f64();
            assert!((least..=2.0 * least).contains(&secs), "{count}: {secs}");
        }
        assert_eq!(pause(&backoff(Some(15.0)), 9, "a"), Duration::from_secs(15));
        assert_eq!(pause(&backoff(None), 4_000, "a"), Duration::MAX);
        assert_ne!(pause(&backoff(None), 5, "a"), pause(&backoff(None), 5, "b"));
    }

    #[test]
    fn a_constant_pause_does_not_grow() {
        let poking = Poking { poke_interval_secs: 0.5, ..Poking::default() };
        assert_eq!(pause(&poking, 100, "a"), Duration::from_millis(500));
    }
}
