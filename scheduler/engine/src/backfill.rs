//! What can be asked of a backfill, and which dates it has: the same for who asks, who tries it dry, and who carries it out.

use chrono::{DateTime, Utc};
use dag::{Dag, Schedule};
use model::{BackfillOrder, ReprocessBehavior, Timestamp, command::CreateBackfill};

pub use crate::timetable::range::{Range, is_periodic};
use crate::{BackfillRow, DueRun};

/// Why a backfill makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Senseless {
    /// The DAG runs when it is triggered.
    #[error("{0} has no schedule")]
    NoSchedule(String),
    /// The DAG's schedule has no dates of which some can be asked for.
    #[error("{0} has no periodic schedule: only a cron or a duration has dates to backfill")]
    NotPeriodic(String),
    /// The range is upside down.
    #[error(
        "from_date {from} is after to_date {to}: the first date comes first, run_backwards runs the last one first"
    )]
    Reversed {
        /// The first date as it was given.
        from: DateTime<Utc>,
        /// The last date as it was given.
        to: DateTime<Utc>,
    },
    /// Nothing of the range has begun.
    #[error("Backfill cannot be executed for future dates.")]
    Future,
    /// A run would depend on one that comes after it.
    #[error("Backfill cannot be run in reverse when the DAG has tasks where depends_on_past=True.")]
    BackwardsOnPast,
    /// A run would wait for one that is left as it is.
    #[error(
        "DAG has tasks for which depends_on_past=True. You must set reprocess behavior to reprocess completed or reprocess failed."
    )]
    KeepsPast,
    /// None of its runs could start.
    #[error("max_active_runs has to be a number from 1 to {max}, not {found}", max = CreateBackfill::MAX_ACTIVE_RUNS_MAX)]
    NoneActive {
        /// What was given.
        found: u32,
    },
}

/// Whether a backfill of this DAG makes sense now.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(dag: &Dag, wish: &CreateBackfill, now: Timestamp) -> Result<(), Senseless> {
    let (from, to) = (wish.from_date.get(), wish.to_date.get());
    let asks_past = dag.tasks.iter().any(|task| task.depends_on_past || task.wait_for_downstream);
    match &dag.schedule {
        Schedule::Never => return Err(Senseless::NoSchedule(dag.dag_id.to_string())),
        other if !is_periodic(other) => return Err(Senseless::NotPeriodic(dag.dag_id.to_string())),
        _ => {}
    }
    if from > to {
        return Err(Senseless::Reversed { from, to });
    }
    if from >= now {
        return Err(Senseless::Future);
    }
    if asks_past && wish.order == BackfillOrder::Backwards {
        return Err(Senseless::BackwardsOnPast);
    }
    if asks_past && wish.reprocess_behavior == ReprocessBehavior::None {
        return Err(Senseless::KeepsPast);
    }
    if !(1..=CreateBackfill::MAX_ACTIVE_RUNS_MAX).contains(&wish.max_active_runs) {
        return Err(Senseless::NoneActive { found: wish.max_active_runs });
    }
    Ok(())
}

/// The run that comes after the interval of the last one in this order; the first one when there is none yet.
#[must_use]
pub fn step(
    schedule: &Schedule,
    range: &Range,
    order: BackfillOrder,
    last: Option<(Timestamp, Timestamp)>,
) -> Option<DueRun> {
    match order {
        BackfillOrder::Forwards => range.following(schedule, last),
        BackfillOrder::Backwards => range.preceding(schedule, last),
    }
}

impl BackfillRow {
    /// Which dates are meant.
    #[must_use]
    pub const fn range(&self) -> Range {
        Range { from: self.from_date, to: self.to_date, before: self.created_at }
    }

    /// The run of the next date that it looks at, by a schedule; none when its range has no further one.
    #[must_use]
    pub fn next(&self, schedule: &Schedule) -> Option<DueRun> {
        if self.is_planned { None } else { step(schedule, &self.range(), self.order, self.cursor) }
    }

    /// Which part of its range it has looked at, from 0 to 1: a guess from dates while it has not seen all of them.
    #[must_use]
    pub fn part_seen(&self) -> f64 {
        let Some((at, _)) = self.cursor.filter(|_| !self.is_planned) else {
            return if self.is_planned { 1.0 } else { 0.0 };
        };
        let last = self.to_date.min(self.created_at);
        let all = (last - self.from_date).as_seconds_f64();
        let seen = match self.order {
            BackfillOrder::Forwards => at - self.from_date,
            BackfillOrder::Backwards => last - at,
        };
        if all > 0.0 { (seen.as_seconds_f64() / all).clamp(0.0, 1.0) } else { 1.0 }
    }
}
