//! When runs are due.

use std::time::Duration;

use chrono::TimeDelta;
use chrono_tz::Tz;
use dag::{Catchup, CronExpr, CronTimetable, DeltaTimetable, RunImmediately, Schedule, TickOptions};
use engine::{
    DueRun,
    timetable::{self, Restriction, cron::CronClock},
};
use model::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::sections::{Outcome, read};

/// The cases have no longer series.
const SERIES_MAX: usize = 60;

/// A schedule as a case writes it.
#[derive(Deserialize)]
struct Timetable {
    #[serde(default)]
    timetable: String,
    cron: Option<String>,
    #[serde(default)]
    crons: Vec<String>,
    tz: Option<String>,
    delta: Option<Delta>,
    interval_seconds: Option<i64>,
    #[serde(default)]
    run_immediately: Value,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Delta {
    years: i64,
    months: i64,
    weeks: i64,
    days: i64,
    hours: i64,
    minutes: i64,
    seconds: i64,
}

#[derive(Deserialize)]
struct Bounds {
    start_date: Option<Timestamp>,
    end_date: Option<Timestamp>,
    #[serde(default)]
    catchup: bool,
}

#[derive(Deserialize, PartialEq)]
struct Info {
    logical_date: Timestamp,
    start: Timestamp,
    end: Timestamp,
    run_after: Timestamp,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Series {
    #[serde(default)]
    runs: Vec<Info>,
    next: Option<Info>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Wakeup {
    now: Timestamp,
    #[serde(default)]
    created: Vec<Info>,
    next: Option<Info>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Interval {
    start: Timestamp,
    end: Timestamp,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Step {
    next: Option<Timestamp>,
    prev: Option<Timestamp>,
    align_next: Option<Timestamp>,
    align_prev: Option<Timestamp>,
}

/// What answers: a schedule as a DAG has it.
struct Answers(Schedule);

impl std::fmt::Debug for Info {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { logical_date, start, end, run_after } = self;
        write!(f, "{logical_date:?} of {start:?}..{end:?}")?;
        if run_after == end { Ok(()) } else { write!(f, " due {run_after:?}") }
    }
}

impl From<DueRun> for Info {
    fn from(DueRun { logical_date, start, end, run_after }: DueRun) -> Self {
        Self { logical_date, start, end, run_after }
    }
}

impl Answers {
    fn of(case: &Value) -> Result<Self, Outcome> {
        let timetable: Timetable = read(case);
        let expressions = timetable.expressions(case)?;
        let zone = timetable.tz.as_deref().map_or(Tz::UTC, zone_of);
        let ticks = TickOptions {
            interval: timetable.interval_seconds.and_then(|seconds| TimeDelta::seconds(seconds).to_std().ok()),
            run_immediately: run_immediately(&timetable.run_immediately),
        };
        let cron = |timetable| Schedule::Cron { expressions: expressions.clone(), timezone: zone, timetable, ticks };
        Ok(Self(match timetable.timetable.as_str() {
            "null" => Schedule::Never,
            "once" => Schedule::Once,
            "continuous" => Schedule::Continuous,
            "delta_data_interval" => timetable.delta(DeltaTimetable::DeltaDataInterval)?,
            "delta_trigger" => timetable.delta(DeltaTimetable::DeltaTrigger)?,
            "cron_data_interval" => cron(CronTimetable::CronDataInterval),
            "cron_trigger" | "multi_cron_trigger" => cron(CronTimetable::CronTrigger),
            _ => return Err(Outcome::NotYet("a timetable of another kind")),
        }))
    }

    fn next(&self, bounds: &Restriction, last: Option<(Timestamp, Timestamp)>, now: Timestamp) -> Option<DueRun> {
        timetable::next(&self.0, bounds, last, now)
    }

    fn manual(&self, run_after: Timestamp) -> (Timestamp, Timestamp) {
        timetable::manual_interval(&self.0, run_after)
    }
}

impl Timetable {
    /// The crons in their plain form; what a DAG file could not have is refused, as it is when a DAG is read.
    fn expressions(&self, case: &Value) -> Result<Vec<String>, Outcome> {
        let texts = self.cron.iter().chain(&self.crons);
        let parsed: Result<Vec<CronExpr>, String> = texts.map(|text| CronExpr::parse(text)).collect();
        let parsed = parsed.map_err(|why| Outcome::differs(case, format!("refused: {why}")))?;
        if parsed.iter().any(|cron| !cron.can_fire()) {
            return Err(Outcome::differs(case, "refused: no day fits".to_owned()));
        }
        Ok(parsed.iter().map(|cron| cron.as_str().to_owned()).collect())
    }

    fn delta(&self, timetable: DeltaTimetable) -> Result<Schedule, Outcome> {
        let delta = self.delta.as_ref().expect("a delta timetable has a delta");
        let backwards = Outcome::NotYet("durations backwards");
        let Ok(months) = u32::try_from(delta.years * 12 + delta.months) else { return Err(backwards) };
        let Ok(every) = delta.fixed().to_std() else { return Err(backwards) };
        Ok(Schedule::Delta { every, months, timetable })
    }
}

impl Delta {
    fn fixed(&self) -> TimeDelta {
        TimeDelta::weeks(self.weeks)
            + TimeDelta::days(self.days)
            + TimeDelta::hours(self.hours)
            + TimeDelta::minutes(self.minutes)
            + TimeDelta::seconds(self.seconds)
    }
}

fn zone_of(name: &str) -> Tz {
    name.parse().unwrap_or_else(|why| panic!("{name} is no time zone: {why}"))
}

fn run_immediately(value: &Value) -> RunImmediately {
    match value {
        Value::Bool(true) => RunImmediately::Always,
        Value::Number(_) => RunImmediately::Within(Duration::from_secs(read::<f64>(value).round() as u64)),
        Value::Object(fields) if fields.contains_key("seconds") || fields.contains_key("minutes") => {
            RunImmediately::Within(read::<Delta>(value).fixed().to_std().expect("no lateness is negative"))
        }
        _ => RunImmediately::WhenRecent,
    }
}

fn bounds(case: &Value) -> Restriction {
    let Bounds { start_date, end_date, catchup } = read(case);
    let catchup = if catchup { Catchup::All } else { Catchup::Latest };
    Restriction { earliest: start_date, latest: end_date, catchup }
}

/// Makes every run that is due by now, and says which one comes next.
fn make_due(
    answers: &Answers,
    bounds: &Restriction,
    last: &mut Option<(Timestamp, Timestamp)>,
    now: Timestamp,
) -> (Vec<Info>, Option<Info>) {
    let mut made = Vec::new();
    loop {
        match answers.next(bounds, *last, now) {
            Some(due) if due.run_after <= now && made.len() < SERIES_MAX => {
                *last = Some((due.start, due.end));
                made.push(due.into());
            }
            next => return (made, next.map(Info::from)),
        }
    }
}

pub fn series(case: &Value) -> Outcome {
    let answers = match Answers::of(case) {
        Ok(answers) => answers,
        Err(outcome) => return outcome,
    };
    let (runs, next) = make_due(&answers, &bounds(case), &mut None, read(&case["now"]));
    Outcome::of(&read::<Series>(&case["expected"]), &Series { runs, next })
}

pub fn timeline(case: &Value) -> Outcome {
    let answers = match Answers::of(case) {
        Ok(answers) => answers,
        Err(outcome) => return outcome,
    };
    let (bounds, mut last) = (bounds(case), None);
    let expected: Vec<Wakeup> = read(&case["expected"]);
    let wakeups = expected.iter().map(|wakeup| {
        let (created, next) = make_due(&answers, &bounds, &mut last, wakeup.now);
        Wakeup { now: wakeup.now, created, next }
    });
    let actual = wakeups.collect();
    Outcome::of(&expected, &actual)
}

pub fn next(case: &Value) -> Outcome {
    let answers = match Answers::of(case) {
        Ok(answers) => answers,
        Err(outcome) => return outcome,
    };
    let start: Option<Timestamp> = read(&case["last_start"]);
    let end: Option<Timestamp> = read(&case["last_end"]);
    let due = answers.next(&bounds(case), start.zip(end), read(&case["now"]));
    Outcome::of(&read::<Option<Info>>(&case["expected"]), &due.map(Info::from))
}

pub fn manual(case: &Value) -> Outcome {
    let answers = match Answers::of(case) {
        Ok(answers) => answers,
        Err(outcome) => return outcome,
    };
    let (start, end) = answers.manual(read(&case["run_after"]));
    Outcome::of(&read::<Interval>(&case["expected"]), &Interval { start, end })
}

pub fn step(case: &Value) -> Outcome {
    let clock = CronClock::new(&[read(&case["cron"])], zone_of(&read::<String>(&case["tz"])));
    let at: Timestamp = read(&case["at"]);
    let actual = Step {
        next: clock.next(at),
        prev: clock.prev(at),
        align_next: clock.align_next(at),
        align_prev: clock.align_prev(at),
    };
    Outcome::of(&read::<Step>(&case["expected"]), &actual)
}

pub fn dialect(case: &Value) -> Outcome {
    let text: String = read(&case["cron"]);
    let expected = &case["expected"];
    let valid: bool = read(&expected["valid"]);
    let is_random = text.to_lowercase().split_whitespace().any(|field| field.starts_with('r'));
    let ticks: Option<Vec<Timestamp>> = read(&expected["next5"]);
    match (CronExpr::parse(&text), ticks) {
        (Ok(_), Some(ticks)) if valid && !is_random => {
            let clock = CronClock::new(&[text], zone_of(&read::<String>(&case["tz"])));
            let mut at: Timestamp = read(&case["at"]);
            let mut actual = Vec::new();
            while actual.len() < ticks.len()
                && let Some(next) = clock.next(at)
            {
                actual.push(next);
                at = next;
            }
            Outcome::of(&ticks, &actual)
        }
        (parsed, _) => Outcome::of(&valid, &parsed.is_ok()),
    }
}
