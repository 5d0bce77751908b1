//! The times of a run on a scale: where each task waited for its worker and where it ran.

use chrono::{Offset, TimeDelta};
use engine::RunRow;
use model::{TaskState, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use store::read::{TaskCell, Try};

use super::{
    super::{state::Badge, words::Clock},
    Past,
};
use crate::reads::instances::TaskOfRun;

/// Width of the scale, in its own units.
const WIDTH: i64 = 1000;
/// The shortest bar that can be seen.
const BAR_WIDTH_MIN: i64 = 4;
/// At most so many marks on the axis.
const TICKS_MAX: i64 = 3;
/// A mark nearer to the left edge has no room for its label.
const LABEL_ROOM: i64 = 60;
/// Distances of marks that people can read off, in seconds.
const STEPS_SECS: [i64; 18] =
    [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400, 604_800];

/// The scale, and what stands on its axis.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Gantt {
    #[serde(skip)]
    start: Timestamp,
    #[serde(skip)]
    micros: i64,
    ticks: Vec<Tick>,
    /// Where now is, while the run goes on.
    now: Option<i64>,
}

#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
struct Tick {
    x: i64,
    /// The time of day in the reader's zone.
    label: String,
    /// The same with date and in UTC.
    exact: String,
}

/// A part of a task's time.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Bar {
    x: i64,
    width: i64,
    kind: BarKind,
    /// The class of the state that it ended in.
    class: &'static str,
}

/// What a task did in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BarKind {
    /// It had a slot and waited for its worker.
    Queued,
    /// It ran.
    Ran,
}

impl Gantt {
    /// The scale of a run: from its first event to its last, or to now.
    pub fn of<'c>(run: &RunRow, cells: impl Iterator<Item = &'c TaskCell> + Clone, past: &Past, clock: Clock) -> Self {
        let first = cells.clone().filter_map(|cell| cell.queued_at.or(cell.started_at)).chain(run.started_at);
        let earlier = past.values().flatten().filter_map(|one| one.queued_at.or(one.started_at));
        let first = first.chain(earlier).min();
        let last = cells.filter_map(|cell| cell.ended_at).chain(run.ended_at).max();
        let start = first.unwrap_or(clock.now);
        let end = if run.state.is_finished() { last.unwrap_or(start) } else { clock.now };
        let mut gantt = Self {
            start,
            micros: (end - start).num_microseconds().unwrap_or(i64::MAX).max(1),
            ticks: Vec::new(),
            now: None,
        };
        gantt.ticks = gantt.ticks(clock);
        gantt.now = (!run.state.is_finished() && run.started_at.is_some()).then_some(WIDTH);
        gantt
    }

    fn x(&self, at: Timestamp) -> i64 {
        let part = (at - self.start).num_microseconds().unwrap_or(0).clamp(0, self.micros);
        i64::try_from(i128::from(part) * i128::from(WIDTH) / i128::from(self.micros)).unwrap_or(WIDTH)
    }

    /// Marks at round times of day.
    fn ticks(&self, clock: Clock) -> Vec<Tick> {
        let secs = self.micros / 1_000_000;
        let step = STEPS_SECS.into_iter().find(|step| secs / step <= TICKS_MAX);
        let Some(step) = step else { return Vec::new() };
        let offset = i64::from(self.start.with_timezone(&clock.zone).offset().fix().local_minus_utc());
        let local = self.start.timestamp() + offset;
        let first = self.start + TimeDelta::seconds((local / step + 1) * step - local)
            - TimeDelta::nanoseconds(i64::from(self.start.timestamp_subsec_nanos()));
        let format = if step < 60 {
            "%H:%M:%S"
        } else if step < 86_400 {
            "%H:%M"
        } else {
            "%-d %b"
        };
        (0..=TICKS_MAX)
            .map(|number| first + TimeDelta::seconds(number * step))
            .take_while(|at| (*at - self.start).num_microseconds().is_some_and(|passed| passed <= self.micros))
            .map(|at| Tick {
                x: self.x(at),
                label: at.with_timezone(&clock.zone).format(format).to_string(),
                exact: clock.moment(at).exact,
            })
            .filter(|tick| tick.x >= LABEL_ROOM)
            .collect()
    }

    /// The bars of one task: those of its superseded tries, then those of the current one.
    pub fn bars(&self, of: &TaskOfRun, past: &[Try], now: Timestamp) -> Vec<Bar> {
        let past = past.iter().flat_map(|one| {
            let class = Badge::from(one.state).class;
            self.span(one.queued_at, one.started_at, one.ended_at, class)
        });
        let current = of.stored.iter().flat_map(|stored| {
            let row = &stored.row;
            let goes_on = matches!(of.state(), TaskState::Queued | TaskState::Running);
            let ended = row.ended_at.or(goes_on.then_some(now));
            self.span(row.queued_at, row.started_at, ended, Badge::from(of.state()).class)
        });
        past.chain(current).collect()
    }

    fn span(
        &self,
        queued: Option<Timestamp>,
        started: Option<Timestamp>,
        ended: Option<Timestamp>,
        class: &'static str,
    ) -> impl Iterator<Item = Bar> {
        let bar = |(from, to): (Timestamp, Timestamp), kind, least| {
            let x = self.x(from).min(WIDTH - least);
            Bar { x, width: (self.x(to) - x).max(least), kind, class }
        };
        let waited = queued.zip(started.or(ended)).map(|span| bar(span, BarKind::Queued, 0));
        let ran = started.zip(ended).map(|span| bar(span, BarKind::Ran, BAR_WIDTH_MIN));
        waited.filter(|bar| bar.width > 0).into_iter().chain(ran)
    }
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::*;

    fn labels(start: &str, secs: i64, zone: Tz) -> Vec<String> {
        let start: Timestamp = start.parse().unwrap();
        let gantt = Gantt { start, micros: secs * 1_000_000, ticks: Vec::new(), now: None };
        gantt.ticks(Clock { now: start, zone }).into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn marks_are_at_round_times_of_the_reader_s_day() {
        let start = "2026-11-21T10:00:58.5Z";
        assert_eq!(labels(start, 12, Tz::UTC), ["10:01:00", "10:01:05", "10:01:10"]);
        assert_eq!(labels(start, 600, Tz::UTC), ["10:05", "10:10"]);
        // Half an hour beside UTC.
        assert_eq!(labels(start, 4 * 3600, Tz::Asia__Kolkata), ["16:00", "18:00"]);
        assert!(labels(start, 0, Tz::UTC).is_empty());
    }
}
