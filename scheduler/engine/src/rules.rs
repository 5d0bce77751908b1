//! The trigger rules: what the states of the tasks before it mean for a task.
//!
//! Pure functions over counts. A verdict may only depend on what is finished, so that an unfinished upstream, whatever
//! its state, never decides anything. The order of the questions is Airflow's: what a task becomes without running is
//! asked first, then whether it runs, and else it waits.

use model::{MapIndex, TaskState, TriggerRule};

/// How many direct upstream instances there are, and how those that are finished ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Upstream {
    /// All of them, finished or not.
    pub total: u32,
    /// Ended in success.
    pub success: u32,
    /// Ended in failed.
    pub failed: u32,
    /// Ended in skipped.
    pub skipped: u32,
    /// Ended in upstream_failed.
    pub upstream_failed: u32,
    /// Ended in removed.
    pub removed: u32,
}

impl Upstream {
    /// Counts the states of a task's direct upstream.
    #[must_use]
    pub fn of(states: impl IntoIterator<Item = TaskState>) -> Self {
        let mut counts = Self::default();
        for state in states {
            counts.total += 1;
            counts.count(state);
        }
        counts
    }

    /// Takes so many more upstreams that are in this state.
    pub fn add(&mut self, state: TaskState, count: u32) {
        self.total += count;
        if let Some(slot) = self.slot(state) {
            *slot += count;
        }
    }

    /// Takes so many upstreams away that are in this state.
    pub fn take_away(&mut self, state: TaskState, count: u32) {
        self.total -= count;
        if let Some(slot) = self.slot(state) {
            *slot -= count;
        }
    }

    /// Takes note that an upstream is in this state now.
    pub fn count(&mut self, state: TaskState) {
        if let Some(slot) = self.slot(state) {
            *slot += 1;
        }
    }

    /// Takes note that an upstream has left this state.
    pub fn uncount(&mut self, state: TaskState) {
        if let Some(slot) = self.slot(state) {
            *slot -= 1;
        }
    }

    /// How many are not finished.
    #[must_use]
    pub fn unfinished(&self) -> u32 {
        self.total - self.finished()
    }

    fn finished(&self) -> u32 {
        self.success + self.failed + self.skipped + self.upstream_failed + self.removed
    }

    fn slot(&mut self, state: TaskState) -> Option<&mut u32> {
        match state {
            TaskState::Success => Some(&mut self.success),
            TaskState::Failed => Some(&mut self.failed),
            TaskState::Skipped => Some(&mut self.skipped),
            TaskState::UpstreamFailed => Some(&mut self.upstream_failed),
            TaskState::Removed => Some(&mut self.removed),
            TaskState::NoStatus
            | TaskState::Scheduled
            | TaskState::Queued
            | TaskState::Running
            | TaskState::Restarting
            | TaskState::UpForRetry
            | TaskState::UpForReschedule
            | TaskState::Deferred
            | TaskState::AwaitingInput => None,
        }
    }
}

/// Everything that a verdict follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// The task's rule.
    pub rule: TriggerRule,
    /// Its direct upstream.
    pub upstream: Upstream,
    /// Those of its direct upstream that are setups: they decide for a teardown.
    pub setups: Upstream,
    /// What else must be over before it runs: the setups above a task that are not directly before it.
    pub indirect_setups: Upstream,
    /// Tasks in a teardown's scope that are not finished and not directly before it.
    pub scope_unfinished: u32,
    /// Which instance of an expanded task it is.
    pub map_index: MapIndex,
}

impl Case {
    /// A task with neither setups nor expansion.
    #[must_use]
    pub fn plain(rule: TriggerRule, upstream: Upstream) -> Self {
        Self {
            rule,
            upstream,
            setups: Upstream::default(),
            indirect_setups: Upstream::default(),
            scope_unfinished: 0,
            map_index: MapIndex::UNMAPPED,
        }
    }
}

/// Whether a verdict may give a task a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The scheduler decides (Airflow's `flag_upstream_failed=True`).
    Decide,
    /// Somebody only asks: the answer is run or wait.
    Query,
}

/// What a task's rule says now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may run.
    Run,
    /// Not yet.
    Wait,
    /// It takes a final state without running.
    Becomes(Becomes),
}

/// The final states that a rule gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Becomes {
    /// Passed over.
    Skipped,
    /// It can not run any more.
    UpstreamFailed,
    /// Its instance has no counterpart upstream any more.
    Removed,
}

/// Whether the previous run allows a task to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// It does, or is not asked.
    Met,
    /// It does not yet.
    NotMet,
}

/// What the rule says about a task now.
#[must_use]
pub fn verdict(case: &Case, mode: Mode) -> Verdict {
    if case.rule == TriggerRule::Always {
        return Verdict::Run;
    }
    if mode == Mode::Decide
        && let Some(state) = setups_decide(case).or_else(|| becomes(case))
    {
        return Verdict::Becomes(state);
    }
    if case.scope_unfinished == 0 && setups_let_run(&case.indirect_setups) && (case.upstream.total == 0 || runs(case)) {
        Verdict::Run
    } else {
        Verdict::Wait
    }
}

/// The verdict for a task that waits for its past before it is skipped
/// (Airflow's `wait_for_past_depends_before_skipping`); upstream_failed does not wait.
#[must_use]
pub fn verdict_waiting_for_past(case: &Case, past: Past) -> Verdict {
    match (verdict(case, Mode::Decide), past) {
        (Verdict::Becomes(Becomes::Skipped), Past::NotMet) => Verdict::Wait,
        (verdict, Past::Met | Past::NotMet) => verdict,
    }
}

/// What setups above a task make of it, before its own rule is asked.
fn setups_decide(case: &Case) -> Option<Becomes> {
    let setups = &case.indirect_setups;
    let map_shrank = setups.removed > 0 && setups.success > 0;
    if setups.failed + setups.upstream_failed > 0 {
        Some(Becomes::UpstreamFailed)
    } else if setups.skipped > 0 {
        Some(Becomes::Skipped)
    } else if map_shrank && i64::from(case.map_index.get()) >= i64::from(setups.success) {
        Some(Becomes::Removed)
    } else {
        None
    }
}

/// Whether every setup above a task has succeeded, but for those that are not in the run: instances of one that are not there any
/// more, and one that its own dates leave out. Airflow waits for those for ever, but in an expanded task.
const fn setups_let_run(setups: &Upstream) -> bool {
    setups.success + setups.removed >= setups.total
}

/// The first state, in the rule's order, whose condition holds.
fn becomes(case: &Case) -> Option<Becomes> {
    use Becomes::{Removed, Skipped, UpstreamFailed};
    let Upstream { total: n, success: s, failed: f, skipped: k, upstream_failed: u, removed: r } = case.upstream;
    if n == 0 {
        return None;
    }
    let all = case.upstream.finished() >= n;
    let first = |choices: &[(bool, Becomes)]| choices.iter().find(|(holds, _)| *holds).map(|(_, state)| *state);
    match case.rule {
        TriggerRule::AllSuccess => {
            let map_shrank = r > 0 && s > 0 && i64::from(case.map_index.get()) >= i64::from(s);
            first(&[(u + f > 0, UpstreamFailed), (k > 0, Skipped), (map_shrank, Removed)])
        }
        TriggerRule::AllFailed => first(&[(s + k > 0, Skipped)]),
        TriggerRule::AllDone | TriggerRule::Always => None,
        TriggerRule::AllDoneMinOneSuccess => first(&[(k > 0, Skipped), (all && s == 0, UpstreamFailed)]),
        TriggerRule::AllDoneSetupSuccess => {
            let setups = case.setups;
            let asked = all && setups.total > 0;
            // What its dates leave out has set nothing up.
            let none_was = setups.skipped + setups.removed >= setups.total;
            first(&[(asked && none_was, Skipped), (asked && setups.success == 0, UpstreamFailed)])
        }
        TriggerRule::OneSuccess => first(&[(all && k >= n, Skipped), (all && s == 0, UpstreamFailed)]),
        TriggerRule::OneFailed => first(&[(all && f + u == 0, Skipped)]),
        TriggerRule::OneDone => first(&[(all && s + f == 0, Skipped)]),
        TriggerRule::NoneFailed => first(&[(u + f > 0, UpstreamFailed)]),
        TriggerRule::NoneFailedMinOneSuccess => {
            first(&[(u + f > 0, UpstreamFailed), (k >= n, Skipped), (all && s == 0, UpstreamFailed)])
        }
        TriggerRule::NoneSkipped => first(&[(k > 0, Skipped)]),
        TriggerRule::AllSkipped => first(&[(s + f + u > 0, Skipped)]),
    }
}

/// Whether the rule's condition to run holds.
fn runs(case: &Case) -> bool {
    let Upstream { total: n, success: s, failed: f, skipped: k, upstream_failed: u, removed: r } = case.upstream;
    let all = case.upstream.finished() >= n;
    match case.rule {
        TriggerRule::AllSuccess => s + r >= n,
        TriggerRule::AllFailed => f + u + r >= n,
        TriggerRule::AllDone => all,
        TriggerRule::AllDoneMinOneSuccess => k == 0 && all && s > 0,
        TriggerRule::AllDoneSetupSuccess => all && (case.setups.total == 0 || case.setups.success > 0),
        TriggerRule::OneSuccess => s > 0,
        TriggerRule::OneFailed => f + u > 0,
        TriggerRule::OneDone => s + f > 0,
        TriggerRule::NoneFailed => s + k + r >= n,
        TriggerRule::NoneFailedMinOneSuccess => s + k + r >= n && s > 0,
        TriggerRule::NoneSkipped => all && k == 0,
        // Airflow leaves removed ones out here, so that the task could neither run nor end.
        TriggerRule::AllSkipped => k + r >= n,
        TriggerRule::Always => true,
    }
}
