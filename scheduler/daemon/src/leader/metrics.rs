//! What a scheduler process shows Prometheus: what its turns cost, and how the installation stands while it leads.
//!
//! Counters and histograms are recorded as things happen, a few atomic additions a turn. What is a state of memory
//! (queues, pools, workers) is copied once a second into a picture that scrapes read: a scrape never waits for a turn,
//! and a turn never for a scrape. A standby shows no picture, so that sums over all schedulers are right.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use engine::{Plan, Started};
use metrics::{By, Health, Picture};
use model::{BundleName, DagRunState, Epoch, TaskState, Timestamp};
use prometheus_client::{
    collector::Collector,
    encoding::DescriptorEncoder,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use store::StoreError;

use super::picture::Cluster;

const STATES: usize = TaskState::ALL.len();
/// Why a turn was not stored, in one word each.
const REASONS: [&str; 6] =
    ["deposed", "diverged", "unknown_outcome", "unreachable", "refused_by_postgresql", "unusable"];

/// A counter for each bundle of git and way of ending. The settings name the bundles, a hundred at most.
type Polls = Family<[(&'static str, String); 2], Counter>;

/// A counter for each kind of callback and way of ending.
type Notifications = Family<[(&'static str, String); 2], Counter>;

/// The instruments of a scheduler process. Clones share them.
#[derive(Debug, Clone)]
pub struct LeaderMetrics {
    turns: Histogram,
    events: Counter,
    commits: Histogram,
    commit_failures: By,
    leads: Gauge,
    epoch: Gauge,
    takeovers: Counter,
    differences: Counter,
    inbox: Gauge,
    tries: By,
    runs: By,
    ready_delay: Histogram,
    queued_delay: Histogram,
    task_duration: Histogram,
    parse_duration: Histogram,
    polls: Polls,
    notifications: Notifications,
    last_polls: Arc<Mutex<BTreeMap<BundleName, Instant>>>,
    cluster: Arc<Mutex<Option<Cluster>>>,
    pulse: Arc<Mutex<Pulse>>,
}

/// A leader's loop turns, and its lease is confirmed, about each second; a standby looks at the lease as often. Whoever does not
/// for so long hangs, or has lost PostgreSQL.
const BEAT_MAX: Duration = Duration::from_secs(15);

/// When a scheduler was last seen alive.
#[derive(Debug, Clone, Copy)]
struct Pulse {
    /// The leader's loop, or the standby's look at the lease.
    turned: Instant,
    /// The lease.
    confirmed: Instant,
    leads: bool,
}

impl Pulse {
    fn now() -> Self {
        let now = Instant::now();
        Self { turned: now, confirmed: now, leads: false }
    }

    fn health(&self) -> Health {
        let (turned, confirmed) = (self.turned.elapsed(), self.confirmed.elapsed());
        match self.leads {
            true if turned > BEAT_MAX => {
                Health::Ill(format!("it leads, and has not turned for {} s", turned.as_secs()))
            }
            true if confirmed > BEAT_MAX => {
                Health::Ill(format!("it leads, and its lease was not confirmed for {} s", confirmed.as_secs()))
            }
            true => Health::Well("it leads".to_owned()),
            false if turned > BEAT_MAX => {
                Health::Ill(format!("it stands by, and has not reached PostgreSQL for {} s", turned.as_secs()))
            }
            false => Health::Well("it stands by".to_owned()),
        }
    }
}

impl Default for LeaderMetrics {
    fn default() -> Self {
        Self {
            turns: metrics::work_seconds(),
            events: Counter::default(),
            commits: metrics::work_seconds(),
            commit_failures: By::default(),
            leads: Gauge::default(),
            epoch: Gauge::default(),
            takeovers: Counter::default(),
            differences: Counter::default(),
            inbox: Gauge::default(),
            tries: By::default(),
            runs: By::default(),
            ready_delay: metrics::task_seconds(),
            queued_delay: metrics::task_seconds(),
            task_duration: metrics::task_seconds(),
            parse_duration: metrics::work_seconds(),
            polls: Polls::default(),
            notifications: Notifications::default(),
            last_polls: Arc::default(),
            cluster: Arc::default(),
            pulse: Arc::new(Mutex::new(Pulse::now())),
        }
    }
}

impl LeaderMetrics {
    /// Shows the instruments, those of outcomes with a zero from the start, so that a first failure is an increase.
    pub fn register(&self, registry: &mut Registry) {
        for state in TaskState::ALL.iter().filter(|state| ends_a_try(**state)) {
            self.tries.get_or_create(&[("state", state.name())]).inc_by(0);
        }
        for state in [DagRunState::Success, DagRunState::Failed] {
            self.runs.get_or_create(&[("state", state.name())]).inc_by(0);
        }
        for reason in REASONS {
            self.commit_failures.get_or_create(&[("reason", reason)]).inc_by(0);
        }
        let all = metrics::windlass(registry).sub_registry_with_prefix("scheduler");
        all.register("turn_duration_seconds", "Time of a turn: decide, store, act", self.turns.clone());
        all.register("events", "Events that turns have taken in", self.events.clone());
        all.register("commit_duration_seconds", "Time to store a turn in PostgreSQL", self.commits.clone());
        all.register("commit_failures", "Turns that were not stored, or perhaps not", self.commit_failures.clone());
        all.register("leads", "Whether this process leads", self.leads.clone());
        all.register("epoch", "The leadership that this process has, or had last", self.epoch.clone());
        all.register("takeovers", "How often this process took the leadership", self.takeovers.clone());
        let help = "Defects that the leader found in its memory, and mended by loading it again";
        all.register("memory_differences", help, self.differences.clone());
        all.register("inbox_commands", "Commands of users that wait for the leader", self.inbox.clone());
        self.register_tasks(metrics::windlass(registry));
        registry.register_collector(Box::new(self.clone()));
    }

    fn register_tasks(&self, all: &mut Registry) {
        let help = "Tries of task instances that came to an end, by the state they led to";
        all.register("task_tries", help, self.tries.clone());
        all.register("dag_runs_finished", "DagRuns that came to an end", self.runs.clone());
        let help = "Time from when nothing but a slot was missing until the task ran";
        all.register("task_ready_to_running_seconds", help, self.ready_delay.clone());
        let help = "Time from when a slot was given until the task ran";
        all.register("task_queued_to_running_seconds", help, self.queued_delay.clone());
        all.register("task_duration_seconds", "Time that a try of a task ran", self.task_duration.clone());
        let help = "Time to read and compile a DAG file that has changed";
        all.register("dag_parse_duration_seconds", help, self.parse_duration.clone());
        let help = "Polls of bundles in git, by bundle and by how they ended";
        all.register("bundle_polls", help, self.polls.clone());
        let help = "Notifications by the kind of their callback and by what has come of a try to send them";
        all.register("notifications", help, self.notifications.clone());
    }

    /// A bundle of git was polled.
    pub(super) fn polled(&self, bundle: &BundleName, went_well: bool) {
        let result = if went_well { "success" } else { "failure" };
        self.polls.get_or_create(&[("bundle", bundle.to_string()), ("result", result.to_owned())]).inc();
        if went_well {
            self.last_polls().insert(bundle.clone(), Instant::now());
        }
    }

    /// A notification was sent, is tried again, put off for want of a worker, or given up.
    pub(super) fn notified(&self, kind: &'static str, outcome: &'static str) {
        self.notifications.get_or_create(&[("kind", kind.to_owned()), ("outcome", outcome.to_owned())]).inc();
    }

    fn last_polls(&self) -> MutexGuard<'_, BTreeMap<BundleName, Instant>> {
        self.last_polls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn took_over(&self, epoch: Epoch) {
        self.takeovers.inc();
        self.epoch.set(epoch.get());
        self.leads.set(1);
    }

    /// The process does not lead any more: what it knew of the installation is not shown.
    pub(super) fn stands_by(&self) {
        self.leads.set(0);
        self.inbox.set(0);
        self.pulse().leads = false;
        self.last_polls().clear();
        *self.cluster() = None;
    }

    pub(super) fn turn(&self, took: Duration, events: usize) {
        self.turns.observe(took.as_secs_f64());
        self.events.inc_by(events as u64);
    }

    pub(super) fn stored(&self, took: Duration, plan: &Plan) {
        self.commits.observe(took.as_secs_f64());
        self.count(plan);
    }

    pub(super) fn not_stored(&self, error: &StoreError) {
        self.commit_failures.get_or_create(&[("reason", reason(error))]).inc();
    }

    /// Memory was counted, and so much of it was wrong.
    pub(super) fn differed(&self, differences: usize) {
        self.differences.inc_by(differences as u64);
    }

    /// How the process is.
    #[must_use]
    pub fn health(&self) -> Health {
        self.pulse().health()
    }

    /// The leader's loop turns.
    pub(super) fn turns_on(&self) {
        let mut pulse = self.pulse();
        pulse.turned = Instant::now();
        if !pulse.leads {
            // The lease was confirmed by the takeover.
            pulse.confirmed = pulse.turned;
            pulse.leads = true;
        }
    }

    /// A standby has looked at the lease.
    pub(super) fn looked(&self) {
        let mut pulse = self.pulse();
        pulse.turned = Instant::now();
        pulse.leads = false;
    }

    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lease was confirmed, and so many commands wait. A leader that still loads what is stored has no turns yet, and is
    /// well as long as its lease is.
    pub(super) fn inbox_has(&self, commands: u64) {
        let mut pulse = self.pulse();
        pulse.confirmed = Instant::now();
        if !pulse.leads {
            pulse.turned = pulse.confirmed;
        }
        drop(pulse);
        self.inbox.set(i64::try_from(commands).unwrap_or(i64::MAX));
    }

    pub(super) fn parsed(&self, took: Duration) {
        self.parse_duration.observe(took.as_secs_f64());
    }

    pub(super) fn stands(&self, cluster: Cluster) {
        *self.cluster() = Some(cluster);
    }

    fn cluster(&self) -> MutexGuard<'_, Option<Cluster>> {
        // A picture is replaced as a whole.
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what a plan has brought to an end, and what it has started.
    fn count(&self, plan: &Plan) {
        let mut ended = [0_u64; STATES];
        let fresh = plan.new_instances.iter().map(|row| (TaskState::NoStatus, row));
        let changed = plan.instances.iter().map(|change| (change.expected, &change.row));
        for (before, row) in fresh.chain(changed).filter(|(before, row)| *before != row.state && ends_a_try(row.state))
        {
            ended[row.state as usize] += 1;
            if let (true, Some(started), Some(end)) = (had_an_attempt(before), row.started_at, row.ended_at) {
                self.task_duration.observe(seconds(started, end));
            }
        }
        for state in TaskState::ALL.iter().filter(|state| ended[**state as usize] > 0) {
            self.tries.get_or_create(&[("state", state.name())]).inc_by(ended[*state as usize]);
        }
        for change in plan.runs.iter().filter(|run| run.expected != run.row.state && run.row.state.is_finished()) {
            self.runs.get_or_create(&[("state", change.row.state.name())]).inc();
        }
        for Started { ready_at, queued_at, at } in &plan.started {
            ready_at.iter().for_each(|since| self.ready_delay.observe(seconds(*since, *at)));
            queued_at.iter().for_each(|since| self.queued_delay.observe(seconds(*since, *at)));
        }
    }
}

/// Whether a state is where a try led to. A removed task had none, and one that waits to look again goes on.
const fn ends_a_try(state: TaskState) -> bool {
    match state {
        TaskState::Success
        | TaskState::Failed
        | TaskState::Skipped
        | TaskState::UpstreamFailed
        | TaskState::UpForRetry => true,
        TaskState::NoStatus
        | TaskState::Scheduled
        | TaskState::Queued
        | TaskState::Running
        | TaskState::Restarting
        | TaskState::Removed
        | TaskState::UpForReschedule
        | TaskState::Deferred
        | TaskState::AwaitingInput => false,
    }
}

/// Whether what leaves a state had an attempt; other ends keep the times of the try before.
const fn had_an_attempt(before: TaskState) -> bool {
    matches!(before, TaskState::Queued | TaskState::Running | TaskState::Deferred)
}

/// From one instant to another; clocks of two machines may say that it is negative.
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    (to - from).to_std().unwrap_or_default().as_secs_f64()
}

/// A failure in one word of [`REASONS`].
const fn reason(error: &StoreError) -> &'static str {
    match error {
        StoreError::Deposed => "deposed",
        StoreError::Diverged { .. } => "diverged",
        StoreError::Unknown { .. } => "unknown_outcome",
        StoreError::Unreachable { .. } => "unreachable",
        StoreError::Database { .. } => "refused_by_postgresql",
        StoreError::NewerFormat { .. }
        | StoreError::Unsuitable { .. }
        | StoreError::TooHeavy { .. }
        | StoreError::Corrupt { .. }
        | StoreError::Refused { .. } => "unusable",
    }
}

impl Collector for LeaderMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let ages: Vec<_> = self
            .last_polls()
            .iter()
            .map(|(bundle, at)| ([("bundle", bundle.to_string())], at.elapsed().as_secs_f64()))
            .collect();
        let mut picture = Picture::new(encoder);
        if !ages.is_empty() {
            let help = "Time since a bundle in git was polled with success";
            picture.gauges("windlass_bundle_last_successful_poll_age_seconds", help, ages)?;
        }
        self.cluster().as_ref().map_or(Ok(()), |cluster| cluster.show(picture))
    }
}

#[cfg(test)]
mod tests {
    use engine::{TiChange, TiRow};
    use model::{AttemptId, MapIndex, RunKey, TaskIdx, TiKey, TryNumber};

    use super::*;

    #[test]
    fn polls_of_bundles_are_counted_and_a_standby_shows_no_age_of_them() {
        let instruments = LeaderMetrics::default();
        let mut registry = Registry::default();
        instruments.register(&mut registry);
        let team = BundleName::new("team").unwrap();
        for went_well in [true, false, false] {
            instruments.polled(&team, went_well);
        }
        let page = metrics::Page::new(registry);
        let text = page.text();
        assert!(text.contains("windlass_bundle_polls_total{bundle=\"team\",result=\"failure\"} 2"), "{text}");
        assert!(text.contains("windlass_bundle_last_successful_poll_age_seconds{bundle=\"team\"} 0"), "{text}");
        instruments.stands_by();
        assert!(!page.text().contains("poll_age_seconds"));
    }

    const NOON: &str = "2026-11-21T12:00:00Z";

    /// An instance that began at noon, and ended so many seconds later.
    fn row(task: i32, state: TaskState, ran_secs: i64) -> TiRow {
        let noon: Timestamp = NOON.parse().unwrap();
        TiRow {
            key: TiKey { run: RunKey(1), task: TaskIdx(task), map: MapIndex::UNMAPPED },
            try_number: TryNumber(1),
            state,
            attempt: Some(AttemptId(uuid::Uuid::nil())),
            live: false,
            worker: None,
            queued_at: Some(noon),
            started_at: Some(noon),
            ended_at: Some(noon + chrono::TimeDelta::seconds(ran_secs)),
            extra: Default::default(),
        }
    }

    fn shown(metrics: &LeaderMetrics) -> String {
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        ::metrics::Page::new(registry).text()
    }

    #[test]
    fn a_stored_plan_counts_what_it_ends_and_not_what_it_touches() {
        let change = |expected, row| TiChange { expected, row };
        let noon: Timestamp = NOON.parse().unwrap();
        let plan = Plan {
            new_instances: vec![row(1, TaskState::Skipped, 0), row(2, TaskState::Queued, 0)],
            instances: vec![
                change(TaskState::Running, row(3, TaskState::Success, 7)),
                change(TaskState::Success, row(4, TaskState::Success, 7)),
                change(TaskState::Queued, row(5, TaskState::UpForRetry, 1)),
                change(TaskState::Queued, row(6, TaskState::Running, 0)),
            ],
            started: vec![Started { ready_at: None, queued_at: Some(noon), at: noon + chrono::TimeDelta::seconds(2) }],
            ..Plan::default()
        };
        let metrics = LeaderMetrics::default();
        metrics.stored(Duration::from_millis(3), &plan);
        let text = shown(&metrics);
        for line in [
            "windlass_task_tries_total{state=\"success\"} 1",
            "windlass_task_tries_total{state=\"skipped\"} 1",
            "windlass_task_tries_total{state=\"up_for_retry\"} 1",
            "windlass_task_tries_total{state=\"failed\"} 0",
            "windlass_task_duration_seconds_sum 8.0",
            "windlass_task_queued_to_running_seconds_sum 2.0",
            "windlass_task_ready_to_running_seconds_count 0",
            "windlass_scheduler_commit_duration_seconds_count 1",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
        }
    }

    #[test]
    fn only_who_leads_shows_how_the_installation_stands() {
        let metrics = LeaderMetrics::default();
        metrics.took_over(Epoch(4));
        metrics.stands(Cluster { workers_connected: 2, quarantined: 3, ..Cluster::default() });
        let text = shown(&metrics);
        assert!(text.contains("windlass_quarantine_entries 3"), "{text}");
        assert!(text.contains("windlass_cluster_workers{state=\"connected\"} 2"), "{text}");
        assert!(
            text.contains("windlass_scheduler_leads 1\n") && text.contains("windlass_scheduler_epoch 4\n"),
            "{text}"
        );
        metrics.stands_by();
        let text = shown(&metrics);
        assert!(text.contains("windlass_scheduler_leads 0\n") && !text.contains("windlass_cluster"), "{text}");
    }

    #[test]
    fn a_leader_that_loads_what_is_stored_is_not_ill() {
        let metrics = LeaderMetrics::default();
        metrics.turns_on();
        let long_ago = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        // Its leadership ended, it took the next one at once, and loads for a minute.
        metrics.stands_by();
        metrics.took_over(Epoch(5));
        metrics.pulse().turned = long_ago;
        assert!(matches!(metrics.health(), Health::Ill(reason) if reason.contains("PostgreSQL")));
        metrics.inbox_has(0);
        assert!(matches!(metrics.health(), Health::Well(_)));
        metrics.turns_on();
        metrics.pulse().turned = long_ago;
        metrics.inbox_has(0);
        assert!(matches!(metrics.health(), Health::Ill(reason) if reason.contains("not turned")), "now it has turns");
    }

    #[test]
    fn a_scheduler_that_hangs_or_has_lost_postgresql_is_ill() {
        let at = |turned: u64, confirmed: u64, leads: bool| {
            let ago = |secs| Instant::now().checked_sub(Duration::from_secs(secs)).unwrap();
            Pulse { turned: ago(turned), confirmed: ago(confirmed), leads }.health()
        };
        assert_eq!(at(1, 1, true), Health::Well("it leads".to_owned()));
        assert_eq!(at(1, 90, false), Health::Well("it stands by".to_owned()));
        assert!(matches!(at(20, 1, true), Health::Ill(reason) if reason.contains("not turned")));
        assert!(matches!(at(1, 20, true), Health::Ill(reason) if reason.contains("not confirmed")));
        assert!(matches!(at(20, 1, false), Health::Ill(reason) if reason.contains("PostgreSQL")));
    }
}
