//! Waits without a slot: between two looks a deferred attempt is an entry here, and nothing else.
//!
//! An entry is an assignment at rest and the instant of its next look. There is one timer for all of them; a look that is due is an
//! attempt for as long as it takes, like the first one, and either ends it or puts it back. Looks under way are bounded, so that a
//! hundred thousand waits that are due together take turns. Nothing of this is on disk: what goes down with the worker the
//! leader gives to another one, or to the next one here.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use executor::StopCause;
use link::{Assignment, Poked};
use model::AttemptId;

use super::packed::{Packed, Shelf};

/// So many waits look at once, beside what runs in slots.
pub(super) const LOOKS_MAX: usize = 64;

/// The longest sleep: an instant that is farther away is looked at again.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// The waits that this worker holds.
#[derive(Debug, Default)]
pub(super) struct Waits {
    resting: BTreeMap<AttemptId, Resting>,
    due: BTreeSet<(Instant, AttemptId)>,
    shelf: Shelf,
}

/// A wait between two looks.
#[derive(Debug)]
struct Resting {
    packed: Packed,
    age: Age,
    /// How often it was put off.
    times: u32,
    next: Instant,
    /// Why its next look is its last.
    stop: Option<Box<StopCause>>,
}

/// How long a try has waited: what other workers and processes have seen of it, and since when it is here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Age {
    before: Duration,
    since: Instant,
}

impl Age {
    /// Of an attempt that is given to this worker now.
    pub(super) fn of(assignment: &Assignment) -> Self {
        let before = assignment.poked.filter(|_| assignment.operator.defers());
        let before = before.and_then(|poked| Duration::try_from_secs_f64(poked.waited_secs).ok());
        Self { before: before.unwrap_or_default(), since: Instant::now() }
    }

    /// How long it has been.
    pub(super) fn get(self) -> Duration {
        self.before.saturating_add(self.since.elapsed())
    }
}

/// A look that is due.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) assignment: Assignment,
    pub(super) age: Age,
    pub(super) stop: Option<StopCause>,
}

impl Waits {
    /// Puts a wait to rest until its next look, or until the time is over that it may run, whichever comes first.
    ///
    /// # Errors
    /// When it can not be kept.
    pub(super) fn rest(&mut self, assignment: Assignment, age: Age, pause: Duration) -> serde_json::Result<()> {
        let attempt = assignment.attempt;
        let most = assignment.execution_timeout_secs.and_then(|secs| Duration::try_from_secs_f64(secs).ok());
        let left = most.map_or(SLEEP_MAX.max(pause), |most| most.saturating_sub(age.get()));
        let now = Instant::now();
        let next = now.checked_add(pause.min(left)).unwrap_or(now + SLEEP_MAX);
        let times = assignment.poked.map_or(0, |poked| poked.times).saturating_add(1);
        let packed = self.shelf.pack(assignment)?;
        self.resting.insert(attempt, Resting { packed, age, times, next, stop: None });
        self.due.insert((next, attempt));
        Ok(())
    }

    /// Takes a wait that another worker, or an earlier process, had: it looks as soon as there is room.
    ///
    /// # Errors
    /// When it can not be kept.
    pub(super) fn take_over(&mut self, assignment: Assignment) -> serde_json::Result<()> {
        let age = Age::of(&assignment);
        self.rest(assignment, age, Duration::ZERO)
    }

    /// Waits until a look is due.
    pub(super) async fn until_due(&self) {
        let wait = self.due.first().map_or(SLEEP_MAX, |(at, _)| at.saturating_duration_since(Instant::now()));
        tokio::time::sleep(wait.min(SLEEP_MAX)).await;
    }

    /// The looks that are due, so many at most. What can not be read any more is named, and forgotten.
    pub(super) fn take_due(&mut self, most: usize) -> Vec<Result<Look, (AttemptId, String)>> {
        let now = Instant::now();
        let mut looks = Vec::new();
        while looks.len() < most
            && let Some((at, attempt)) = self.due.first().copied()
            && at <= now
        {
            self.due.remove(&(at, attempt));
            let Some(resting) = self.resting.remove(&attempt) else { continue };
            looks.push(resting.wake().map_err(|error| (attempt, error.to_string())));
        }
        looks
    }

    /// Has a wait end with its next look, which is due at once. Whether it rests here.
    pub(super) fn stop(&mut self, attempt: AttemptId, cause: &StopCause) -> bool {
        let Some(resting) = self.resting.get_mut(&attempt) else { return false };
        resting.stop.get_or_insert_with(|| Box::new(cause.clone()));
        self.due.remove(&(resting.next, attempt));
        resting.next = Instant::now();
        self.due.insert((resting.next, attempt));
        true
    }

    /// Forgets every wait that is not among `live`: the leader counts it for another worker, or for nobody.
    pub(super) fn keep(&mut self, live: &BTreeSet<AttemptId>) -> Vec<AttemptId> {
        let gone: Vec<AttemptId> = self.resting.keys().filter(|attempt| !live.contains(attempt)).copied().collect();
        for attempt in &gone {
            if let Some(resting) = self.resting.remove(attempt) {
                self.due.remove(&(resting.next, *attempt));
            }
        }
        gone
    }

    /// Whether a wait rests here.
    pub(super) fn holds(&self, attempt: AttemptId) -> bool {
        self.resting.contains_key(&attempt)
    }

    /// The ids of all that rest.
    pub(super) fn ids(&self) -> impl Iterator<Item = AttemptId> {
        self.resting.keys().copied()
    }

    /// How many rest.
    pub(super) fn len(&self) -> usize {
        self.resting.len()
    }
}

impl Resting {
    fn wake(self) -> serde_json::Result<Look> {
        let mut assignment = self.packed.unpack()?;
        // A first look that is still to come here counts for its elder ones.
        assignment.poked = Some(Poked { waited_secs: self.age.get().as_secs_f64(), times: self.times });
        Ok(Look { assignment, age: self.age, stop: self.stop.map(|cause| *cause) })
    }
}
