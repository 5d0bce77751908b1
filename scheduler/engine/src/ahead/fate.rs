//! What becomes of an attempt in simulated time.

use std::time::Duration;

use chrono::TimeDelta;
use model::{AttemptEnd, Command, EndKind, Question, operator::PokeMode};

use crate::Assignment;

/// Who tells what becomes of attempts.
pub trait Fates {
    /// What becomes of an attempt that has just been given to a worker. It is asked once an attempt.
    fn fate(&mut self, attempt: &Assignment) -> Fate;
}

/// What becomes of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Fate {
    /// What happens as it begins.
    pub start: Start,
    /// How long it runs.
    pub runs: TimeDelta,
    /// How it ends, unless it is ended before.
    pub end: AttemptEnd,
    /// An answer to the question that it puts, so long after it was put; none when nobody answers.
    pub answer: Option<(TimeDelta, Vec<String>)>,
}

/// What happens as an attempt begins.
#[derive(Debug, Clone, PartialEq)]
pub enum Start {
    /// Nothing but that.
    Quiet,
    /// It asks the leader for something.
    Asks(Box<Command>),
}

impl Fate {
    /// An attempt that runs for so long, and ends in this way.
    #[must_use]
    pub const fn after(runs: TimeDelta, end: AttemptEnd) -> Self {
        Self { start: Start::Quiet, runs, end, answer: None }
    }

    /// An attempt that puts the question of its task at once, which is answered after a while, or never.
    #[must_use]
    pub fn asks(attempt: &Assignment, answer: Option<(TimeDelta, Vec<String>)>) -> Self {
        let asking = attempt.dag.task(attempt.task).operator.asking();
        let subject = asking.map_or_else(String::new, |asking| asking.subject.clone());
        let question = Some(Box::new(Question { subject, body: None }));
        let end = AttemptEnd { question, ..AttemptEnd::new(EndKind::Asked, String::new()) };
        Self { answer, ..Self::after(TimeDelta::zero(), end) }
    }
}

/// The next look of a sensor that looks again later and has found nothing yet, when what it looks for comes so long after its
/// first look; none when this look is the one that finds it, or the last that its time allows.
#[must_use]
pub fn looks_again(attempt: &Assignment, found_after: TimeDelta) -> Option<AttemptEnd> {
    let task = attempt.dag.task(attempt.task);
    let poking = task.operator.poking().filter(|poking| poking.mode == PokeMode::Reschedule)?;
    let waited = attempt.poked.map_or(0.0, |poked| poked.waited_secs);
    let times = attempt.poked.map_or(0, |poked| poked.times);
    if waited >= found_after.as_seconds_f64() || waited >= poking.timeout_secs {
        return None;
    }
    let grown = if poking.exponential_backoff { 2_f64.powi(times.min(30)) } else { 1.0 };
    let pause = (poking.poke_interval_secs * grown).min(poking.max_wait_secs.unwrap_or(f64::INFINITY));
    let reason = format!("look {} has found nothing", times.saturating_add(1));
    // A pause of nothing would be a look after a look at one instant, without an end.
    let again = pause.max(Duration::from_millis(1).as_secs_f64());
    Some(AttemptEnd { again_after_secs: Some(again), ..AttemptEnd::new(EndKind::Rescheduled, reason) })
}
