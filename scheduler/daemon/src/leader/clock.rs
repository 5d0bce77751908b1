//! The leader's clock: it follows the database's, which every leader of an installation shares, and never goes back.
//!
//! Between two looks at the database's clock, a second apart, it runs with the time since boot, which goes on while the
//! machine sleeps. A small difference is taken back bit by bit, in both directions. A large one is believed when it has
//! lasted: a clock that is ahead is followed at once, one that is behind by at most [`SLEW_MAX`] is awaited at half the
//! speed. A clock that is farther behind may be a machine that has not heard of the time yet; only when that has lasted for
//! [`PATIENCE`] it is followed back, and then everything that was planned is planned anew ([`Correction::GoesBack`]).

use std::time::Duration;

use chrono::{SubsecRound, TimeDelta};
use model::Timestamp;

/// Microseconds: what PostgreSQL keeps.
const STORED_DIGITS: u16 = 6;
/// Differences below this are drift and the way's jitter.
const SMALL: TimeDelta = TimeDelta::milliseconds(100);
/// The part of a small difference that is taken back at a look: jitter is smoothed, drift is not let grow.
const SMOOTHING: i32 = 4;
/// A look that took longer says too little.
const SLACK_MAX: Duration = Duration::from_secs(1);
/// Looks that differ by less speak of the same difference.
const STEADY: TimeDelta = TimeDelta::seconds(1);
/// A large difference is believed when it has lasted for so long.
const BELIEVED_AFTER: Duration = Duration::from_secs(4);
/// What the clock is ahead is waited for, up to so much.
const SLEW_MAX: TimeDelta = TimeDelta::seconds(60);
/// How much is taken back a second meanwhile.
const SLEW_EACH: TimeDelta = TimeDelta::milliseconds(500);
/// A database's clock that has gone back far is followed when it has stood there for so long.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the database's clock said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When, by our own time.
    pub since_boot: Duration,
    /// How long the question took.
    pub slack: Duration,
    /// What it said.
    pub database: Timestamp,
}

/// What a look at the database's clock has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Correction {
    /// Nothing that anybody need know.
    None,
    /// The clock was set forward by so much.
    Forward(TimeDelta),
    /// The clock is ahead by so much, and runs slower until it is not.
    Slower(TimeDelta),
    /// The clock must go back by so much, which it can not do with what is in memory.
    GoesBack(TimeDelta),
}

/// Tells the instant of a turn.
#[derive(Debug)]
pub struct Clock {
    /// The instant of the machine's boot, as the database's clock would have told it.
    boot: Timestamp,
    newest: Timestamp,
    last_look: Duration,
    difference: Option<Difference>,
}

/// A large difference that has not been believed yet.
#[derive(Debug)]
struct Difference {
    boot: Timestamp,
    since: Duration,
    is_told: bool,
}

impl Clock {
    /// Starts at the database's clock as it was read just now; it stands at or after the last committed turn.
    #[must_use]
    pub fn new(database_now: Timestamp) -> Self {
        Self::start(database_now, since_boot())
    }

    fn start(database_now: Timestamp, since_boot: Duration) -> Self {
        Self {
            boot: minus(database_now, since_boot),
            newest: database_now.trunc_subsecs(STORED_DIGITS),
            last_look: since_boot,
            difference: None,
        }
    }

    /// Now: never before an instant that it has told already.
    pub fn now(&mut self) -> Timestamp {
        self.now_at(since_boot())
    }

    fn now_at(&mut self, since_boot: Duration) -> Timestamp {
        let now = self.raw(since_boot).trunc_subsecs(STORED_DIGITS);
        self.newest = self.newest.max(now);
        self.newest
    }

    /// The newest instant that it has told.
    #[must_use]
    pub fn newest(&self) -> Timestamp {
        self.newest
    }

    /// How long from now until an instant; zero when it has passed.
    pub fn until(&mut self, at: Timestamp) -> Duration {
        (at - self.now()).to_std().unwrap_or_default()
    }

    /// Follows the database's clock. The same look again changes nothing.
    pub fn follow(&mut self, sample: Sample) -> Correction {
        if sample.since_boot <= self.last_look || sample.slack > SLACK_MAX {
            return Correction::None;
        }
        self.last_look = sample.since_boot;
        let boot = minus(sample.database, sample.since_boot);
        let behind = boot - self.boot;
        if behind.abs() < SMALL {
            self.difference = None;
            self.boot += behind / SMOOTHING;
            return Correction::None;
        }
        let is_same = |known: &Difference| {
            (known.boot - boot).abs() < STEADY && (known.boot > self.boot) == (behind > TimeDelta::zero())
        };
        if !self.difference.as_ref().is_some_and(is_same) {
            self.difference = Some(Difference { boot, since: sample.since_boot, is_told: false });
        }
        let Some(difference) = &mut self.difference else { return Correction::None };
        let lasted = sample.since_boot.saturating_sub(difference.since);
        if lasted < BELIEVED_AFTER {
            return Correction::None;
        }
        if behind > TimeDelta::zero() {
            self.boot = boot;
            self.difference = None;
            return Correction::Forward(behind);
        }
        let ahead = -behind;
        if ahead <= SLEW_MAX {
            self.boot -= ahead.min(SLEW_EACH);
        } else if lasted >= PATIENCE {
            return Correction::GoesBack(ahead);
        }
        if difference.is_told { Correction::None } else { told(difference, ahead) }
    }

    fn raw(&self, since_boot: Duration) -> Timestamp {
        let passed = TimeDelta::from_std(since_boot).unwrap_or(TimeDelta::MAX);
        self.boot.checked_add_signed(passed).unwrap_or(self.newest)
    }
}

fn told(difference: &mut Difference, ahead: TimeDelta) -> Correction {
    difference.is_told = true;
    Correction::Slower(ahead)
}

fn minus(at: Timestamp, time: Duration) -> Timestamp {
    TimeDelta::from_std(time).ok().and_then(|time| at.checked_sub_signed(time)).unwrap_or(at)
}

/// The time since the machine was started, the time that it slept included (CLOCK_BOOTTIME): never going back.
#[must_use]
pub fn since_boot() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a value of this function, which clock_gettime(2) fills in.
    let done = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
    assert_eq!(done, 0, "Linux has had this clock since 2.6.39");
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The database's clock, and a leader's on a machine whose own runs a little wrong.
    struct Scene {
        clock: Clock,
        since_boot: Duration,
        database: Timestamp,
        /// How much the machine's clock gains a second.
        gains_micros: i64,
        heard: Vec<Correction>,
    }

    impl Scene {
        fn new(gains_micros: i64) -> Self {
            let (database, since_boot) = ("2026-11-21T12:00:00Z".parse().unwrap(), Duration::from_secs(1_000));
            Self { clock: Clock::start(database, since_boot), since_boot, database, gains_micros, heard: Vec::new() }
        }

        /// Time goes on, with a look each second. Every instant that is told is at or after the one before.
        fn runs(&mut self, seconds: u32) {
            for _ in 0..seconds {
                self.passes(Duration::from_secs(1));
                let before = self.clock.newest();
                assert!(self.clock.now_at(self.since_boot) >= before);
            }
        }

        fn passes(&mut self, time: Duration) {
            self.database += TimeDelta::from_std(time).unwrap();
            let gained = Duration::from_micros(self.gains_micros.unsigned_abs() * time.as_secs());
            self.since_boot += time;
            self.since_boot = if self.gains_micros < 0 { self.since_boot - gained } else { self.since_boot + gained };
            let sample = Sample { since_boot: self.since_boot, slack: Duration::ZERO, database: self.database };
            let correction = self.clock.follow(sample);
            if correction != Correction::None {
                self.heard.push(correction);
            }
        }

        fn ahead(&mut self) -> TimeDelta {
            self.clock.now_at(self.since_boot) - self.database
        }
    }

    #[test]
    fn half_an_hour_of_drift_stays_below_a_millisecond() {
        for gains_micros in [-200, -20, 0, 20, 200] {
            let mut scene = Scene::new(gains_micros);
            scene.runs(1_800);
            let ahead = scene.ahead();
            assert!(ahead.abs() < TimeDelta::milliseconds(1), "{gains_micros} us a second: {ahead}");
            assert!(scene.heard.is_empty(), "{:?}", scene.heard);
        }
    }

    #[test]
    fn a_night_of_sleep_is_over_at_once() {
        let mut scene = Scene::new(0);
        scene.runs(10);
        scene.passes(Duration::from_secs(8 * 3600));
        assert_eq!(scene.ahead(), TimeDelta::zero());
    }

    #[test]
    fn a_machine_whose_own_time_stood_still_follows_the_database_within_seconds() {
        let mut scene = Scene::new(0);
        scene.runs(10);
        // A virtual machine that was paused.
        scene.database += TimeDelta::hours(8);
        scene.runs(4);
        assert!(scene.ahead() < TimeDelta::hours(-7), "a moment proves nothing");
        scene.runs(2);
        assert_eq!((scene.ahead(), scene.heard.len()), (TimeDelta::zero(), 1));
    }

    #[test]
    fn a_database_that_is_wrong_for_a_moment_is_not_followed() {
        for wrong in [TimeDelta::days(365), TimeDelta::days(-365), TimeDelta::seconds(5)] {
            let mut scene = Scene::new(0);
            scene.runs(10);
            scene.database += wrong;
            scene.runs(3);
            scene.database -= wrong;
            scene.runs(10);
            assert_eq!((scene.ahead(), scene.heard.len()), (TimeDelta::zero(), 0));
        }
    }

    #[test]
    fn a_small_step_back_is_awaited_while_time_goes_on() {
        let mut scene = Scene::new(0);
        scene.runs(10);
        scene.database -= TimeDelta::seconds(30);
        scene.runs(5);
        let before = scene.clock.newest();
        scene.runs(20);
        assert!(scene.clock.newest() >= before + TimeDelta::seconds(9), "it goes on at half the speed");
        scene.runs(60);
        assert!(scene.ahead() < SMALL, "{}", scene.ahead());
        assert_eq!(scene.heard.len(), 1, "it is said once: {:?}", scene.heard);
        scene.runs(30);
        assert!(scene.ahead().abs() < TimeDelta::milliseconds(1));
    }

    #[test]
    fn a_wrong_future_does_not_stay_for_ever() {
        let mut scene = Scene::new(0);
        scene.runs(10);
        scene.database += TimeDelta::days(365);
        scene.runs(10);
        assert_eq!(scene.ahead(), TimeDelta::zero(), "it was followed");
        scene.heard.clear();
        scene.database -= TimeDelta::days(365);
        scene.runs(590);
        assert!(scene.heard.iter().all(|heard| matches!(heard, Correction::Slower(_))), "{:?}", scene.heard);
        assert_eq!(scene.ahead(), TimeDelta::days(365), "it goes on meanwhile");
        scene.runs(20);
        assert!(matches!(scene.heard.last(), Some(Correction::GoesBack(by)) if *by == TimeDelta::days(365)));
        // The next leadership begins at the database's clock.
        let mut next = Clock::start(scene.database, scene.since_boot);
        assert_eq!(next.now_at(scene.since_boot), scene.database);
    }
}
