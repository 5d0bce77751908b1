//! The operators `date_time_sensor` and `time_delta_sensor`: a moment, by the worker's clock.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::{FutureExt as _, future::BoxFuture};
use model::operator::{DateTimeSensor, PokeMode, Poking, TimeDeltaSensor};
use serde_json::json;
use tokio::time::Instant;

use super::{Found, Sight, seconds, unless_stopped, watch};
use crate::{Attempt, Executor, Outcome, Stop, template::read_instant};

/// Waits for a moment.
pub(crate) struct TimeSensorExecutor {
    moment: Moment,
    poking: Poking,
}

/// Which moment.
enum Moment {
    /// The one that a template gives.
    At(String),
    /// So many seconds after the run's data interval.
    After(f64),
}

impl TimeSensorExecutor {
    /// An executor for a `date_time_sensor`.
    pub(crate) fn until(keys: DateTimeSensor) -> Self {
        Self { moment: Moment::At(keys.target_time), poking: keys.poking }
    }

    /// An executor for a `time_delta_sensor`.
    pub(crate) fn after(keys: TimeDeltaSensor) -> Self {
        Self { moment: Moment::After(keys.delta_secs), poking: keys.poking }
    }

    async fn outcome(&self, attempt: &Attempt, stop: &Stop) -> Result<Outcome, Outcome> {
        let at = self.at(attempt).await?;
        attempt.log_rendered(json!({"target_time": at.to_rfc3339()}));
        let (pause, waited) = match self.poking.mode {
            PokeMode::Poke => (seconds(self.poking.poke_interval_secs), 0.0),
            // It holds no slot, not even for the last pause.
            PokeMode::Reschedule | PokeMode::Deferrable => {
                (Duration::ZERO, attempt.assignment.poked.map_or(0.0, |poked| poked.waited_secs))
            }
        };
        let ends = Instant::now().checked_add(seconds(self.poking.timeout_secs - waited));
        Ok(watch(&mut Clock { at, pause, ends }, &self.poking, attempt, stop).await)
    }

    async fn at(&self, attempt: &Attempt) -> Result<DateTime<Utc>, Outcome> {
        match &self.moment {
            Moment::At(template) => {
                let template = template.clone();
                let text = attempt.render(move |renderer| renderer.text("target_time", &template)).await?;
                read_instant(&text).map_err(|why| Outcome::failed(format!("target_time: {why}")))
            }
            Moment::After(secs) => {
                let context = &attempt.assignment.context;
                let from = context.data_interval.map_or(context.run_after, |(_, end)| end);
                let delta = Duration::try_from_secs_f64(*secs).ok().and_then(|delta| TimeDelta::from_std(delta).ok());
                let at = delta.and_then(|delta| from.checked_add_signed(delta));
                at.ok_or_else(|| Outcome::failed_for_good("delta leads beyond the end of the calendar"))
            }
        }
    }
}

impl Executor for TimeSensorExecutor {
    fn run<'a>(&'a self, attempt: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Outcome> {
        self.outcome(attempt, stop).map(|outcome| outcome.unwrap_or_else(|outcome| outcome)).boxed()
    }
}

/// What the clock shows.
struct Clock {
    at: DateTime<Utc>,
    /// The pause between two looks.
    pause: Duration,
    /// When its timeout is over, if a clock can hold that.
    ends: Option<Instant>,
}

impl Sight for Clock {
    fn comes_in(&self) -> Option<Duration> {
        (self.at - Utc::now()).to_std().ok()
    }

    /// A moment that comes before the next look is waited for.
    fn look<'a>(&'a mut self, _: &'a Attempt, stop: &'a Stop) -> BoxFuture<'a, Result<Found, Outcome>> {
        let (at, pause, ends) = (self.at, self.pause, self.ends);
        let look = async move {
            match (at - Utc::now()).to_std() {
                Ok(left)
                    if left > pause
                        || ends.is_some_and(|ends| Instant::now().checked_add(left).is_none_or(|then| then > ends)) =>
                {
                    Ok(Found::NotYet(format!("{at} has not come yet")))
                }
                Ok(left) => {
                    tokio::time::sleep(left).await;
                    Ok(Found::There(format!("{at} has come")))
                }
                // It is over.
                Err(_) => Ok(Found::There(format!("{at} has come"))),
            }
        };
        unless_stopped(stop, look).boxed()
    }
}
