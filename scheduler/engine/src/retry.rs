//! When a failed try is followed by another, and how long it waits.

use std::time::Duration;

use chrono::TimeDelta;
use dag::Task;
use model::{DagId, TaskId, Timestamp, TryNumber};
use sha1::{Digest, Sha1};

/// The longest pause before a further try, whatever a task asks for: Airflow's `max_task_retry_delay`.
const PAUSE_MAX: Duration = Duration::from_secs(86_400);

/// How many losses of a worker a task is forgiven; the next one is a failure. A task that takes its workers down with
/// it would do so for ever otherwise.
pub const INFRASTRUCTURE_LOSSES_MAX: i16 = 3;

/// Losses that are closer to the last one that counted have the same cause, and count with it: a machine that restarts, a
/// worker that can not start, a leader that is started again and again.
const LOSSES_APART: TimeDelta = TimeDelta::seconds(60);
/// The pause after the first loss, the second and the third: what took a worker down may still be there.
const PAUSE_AFTER_LOSS: [TimeDelta; INFRASTRUCTURE_LOSSES_MAX as usize] =
    [TimeDelta::seconds(1), TimeDelta::seconds(5), TimeDelta::seconds(15)];

/// What a loss of its worker means for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Loss {
    /// Losses that count, with this one.
    pub counted: i16,
    /// When the last one that counts happened.
    pub at: Timestamp,
    /// When the task may be given to a worker again.
    pub again_at: Timestamp,
}

impl Loss {
    /// A loss at `now`, after so many before it. The second loss within one cause waits for the end of its time, so that
    /// two tries and no more fall to it, whatever the cause is. A last one after `now` was counted by a clock that was wrong, and
    /// tells nothing.
    pub fn after(counted: i16, last: Option<Timestamp>, now: Timestamp) -> Self {
        match last.filter(|last| *last <= now && now - *last < LOSSES_APART) {
            Some(at) => Self { counted, at, again_at: at + LOSSES_APART },
            None => {
                let pause = usize::try_from(counted).ok().and_then(|number| PAUSE_AFTER_LOSS.get(number));
                Self { counted: counted.saturating_add(1), at: now, again_at: now + pause.copied().unwrap_or_default() }
            }
        }
    }
}

/// The pause that a task asks for between two tries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pause {
    /// The pause after the first try.
    pub delay: Duration,
    /// How it grows: delay × multiplier^(try−1); 1, 0 and none for a constant pause.
    pub multiplier: Option<f64>,
    /// The longest pause of one that grows.
    pub max: Option<Duration>,
}

impl Pause {
    /// What a task's definition says.
    #[must_use]
    pub fn of(task: &Task) -> Self {
        Self { delay: task.retry_delay, multiplier: task.retry_exponential_backoff, max: task.max_retry_delay }
    }

    /// The pause after a try. A growing one is spread over [b, 2b) by a hash of who waits, so that tasks that failed
    /// together do not come back together, and every machine computes the same.
    #[must_use]
    pub fn after(&self, dag: &DagId, task: &TaskId, date: Option<Timestamp>, failed: TryNumber) -> Duration {
        let Some(multiplier) = self.multiplier.filter(|m| *m != 0.0 && (*m - 1.0).abs() > f64::EPSILON) else {
            return self.delay;
        };
        let grown = self.delay.as_secs_f64() * multiplier.powi(i32::from(failed.get()) - 1);
        let cap = self.max.map_or(PAUSE_MAX, |max| max.min(PAUSE_MAX));
        if !grown.is_finite() || grown >= PAUSE_MAX.as_secs_f64() {
            return cap;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by PAUSE_MAX above")]
        let least = grown.ceil().max(1.0) as u64;
        let date = date.map_or_else(|| "None".to_owned(), python_text);
        let spread = sha1_modulo(&format!("{dag}#{task}#{date}#{failed}"), least);
        Duration::from_secs(least + spread).min(cap)
    }
}

/// The hash of a text, as one large number, modulo `divisor`.
fn sha1_modulo(text: &str, divisor: u64) -> u64 {
    let rest = Sha1::digest(text.as_bytes())
        .iter()
        .fold(0_u128, |rest, byte| (rest * 256 + u128::from(*byte)) % u128::from(divisor));
    u64::try_from(rest).expect("a rest is below its divisor")
}

/// An instant as Python's `str` writes it: microseconds only when there are any.
fn python_text(at: Timestamp) -> String {
    if at.timestamp_subsec_micros() == 0 {
        at.format("%Y-%m-%d %H:%M:%S+00:00").to_string()
    } else {
        at.format("%Y-%m-%d %H:%M:%S%.6f+00:00").to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(delay: u64, multiplier: f64, max: Option<u64>, failed: i16) -> u64 {
        let pause = Pause {
            delay: Duration::from_secs(delay),
            multiplier: Some(multiplier),
            max: max.map(Duration::from_secs),
        };
        let date = "2024-01-01T00:00:00Z".parse().unwrap();
        pause.after(&DagId::new("dag").unwrap(), &TaskId::new("task").unwrap(), Some(date), TryNumber(failed)).as_secs()
    }

    #[test]
    fn losses_of_one_cause_count_once_and_the_budget_lasts_for_minutes() {
        let start: Timestamp = "2024-01-01T00:00:00Z".parse().unwrap();
        let (mut counted, mut last, mut now, mut losses) = (0, None, start, 0);
        // Every attempt is lost the moment that it is assigned.
        while counted <= INFRASTRUCTURE_LOSSES_MAX {
            let loss = Loss::after(counted, last, now);
            (counted, last) = (loss.counted, Some(loss.at));
            now = loss.again_at;
            losses += 1;
        }
        assert_eq!((losses, now - start), (7, TimeDelta::seconds(180)));
    }

    #[test]
    fn a_loss_of_a_clock_that_was_wrong_into_the_future_holds_nothing_back() {
        let now: Timestamp = "2024-01-01T00:00:00Z".parse().unwrap();
        let loss = Loss::after(1, Some(now + TimeDelta::days(365)), now);
        assert_eq!(loss, Loss { counted: 2, at: now, again_at: now + TimeDelta::seconds(5) });
    }

    #[test]
    fn a_constant_pause_ignores_the_cap() {
        assert_eq!(seconds(300, 0.0, Some(60), 2), 300);
        assert_eq!(seconds(30, 1.0, Some(60), 20), 30);
    }

    #[test]
    fn a_growing_pause_is_spread_and_capped_as_airflow_computes_it() {
        assert_eq!(seconds(30, 2.0, Some(3600), 3), 176);
        assert_eq!(seconds(300, 2.0, Some(3600), 2), 736);
        assert_eq!(seconds(1, 3.5, Some(60), 3), 21);
        assert_eq!(seconds(300, 3.5, None, 6), 86_400);
        assert_eq!(seconds(0, 3.5, Some(60), 3), 1);
    }
}
