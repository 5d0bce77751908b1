//! What a scheduler process shows Prometheus: what its turns cost, and how the installation stands while it leads.
//!
//! Counters and histograms are recorded as things happen, a few atomic additions a turn. What is a state of memory
//! (queues, pools, workers) is copied once a second into a picture that scrapes read: a scrape never waits for a turn,
//! and a turn never for a scrape. A standby shows no picture, so that sums over all schedulers are right.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use engine::{DagCounts, Plan, PoolUse, RunCounts, Started};
use metrics::Picture;
use model::{DagRunState, Epoch, ServiceState, TaskState, Timestamp};
use prometheus_client::{
    collector::Collector,
    encoding::DescriptorEncoder,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use store::StoreError;

use super::{
    Ear,
    reign::{BEAT, Reign},
};
use crate::services::Replica;

/// A counter for each value of one label.
type By = Family<[(&'static str, &'static str); 1], Counter>;

const STATES: usize = TaskState::ALL.len();
/// The states in which something may still happen to an instance; the others are history, and counted as it is made.
const OPEN: [TaskState; 8] = [
    TaskState::Scheduled,
    TaskState::Queued,
    TaskState::Running,
    TaskState::Restarting,
    TaskState::UpForRetry,
    TaskState::UpForReschedule,
    TaskState::Deferred,
    TaskState::AwaitingInput,
];

/// Why a turn was not stored, in one word each.
const REASONS: [&str; 6] =
    ["deposed", "diverged", "unknown_outcome", "unreachable", "refused_by_postgresql", "unusable"];

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
    inbox: Gauge,
    tries: By,
    runs: By,
    ready_delay: Histogram,
    queued_delay: Histogram,
    task_duration: Histogram,
    parse_duration: Histogram,
    cluster: Arc<Mutex<Option<Cluster>>>,
}

/// How the installation stands, as the leader has it in memory.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) news_waiting: usize,
    pub(super) instances: [u32; OPEN.len()],
    pub(super) runs: RunCounts,
    pub(super) dags: DagCounts,
    pub(super) import_errors: usize,
    pub(super) pools: Vec<PoolUse>,
    pub(super) workers_connected: usize,
    pub(super) workers_silent: usize,
    pub(super) slots: u32,
    pub(super) slots_used: usize,
    pub(super) services: Vec<ServiceState>,
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
            inbox: Gauge::default(),
            tries: By::default(),
            runs: By::default(),
            ready_delay: metrics::task_seconds(),
            queued_delay: metrics::task_seconds(),
            task_duration: metrics::task_seconds(),
            parse_duration: metrics::work_seconds(),
            cluster: Arc::default(),
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

    pub(super) fn inbox_has(&self, commands: u64) {
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
            if let (true, Some(started), Some(end)) = (ran(before, row.state), row.started_at, row.ended_at) {
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

/// Whether a change of state is the end of something that ran.
const fn ran(before: TaskState, after: TaskState) -> bool {
    !before.is_finished() && !matches!(after, TaskState::UpstreamFailed)
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
        | StoreError::Corrupt { .. }
        | StoreError::Refused { .. } => "unusable",
    }
}

impl Reign {
    /// Shows Prometheus how the installation stands, once a beat: while there are workers something wakes the leader so
    /// often, and without them only what comes in here changes anything.
    pub(super) fn show(&mut self, ear: &Ear) {
        let now = Instant::now();
        if now < self.next_picture && self.peers.is_watching() {
            return;
        }
        self.next_picture = now + BEAT;
        let alive = || self.peers.iter().filter(|(_, peer)| peer.is_alive());
        let cluster = Cluster {
            news_waiting: ear.receiver.len(),
            instances: Cluster::instances(|state| self.engine.instances_in(state)),
            runs: self.engine.run_counts(),
            dags: self.engine.dag_counts(),
            import_errors: self.folders.import_errors(),
            pools: self.engine.pool_uses(0),
            workers_connected: alive().count(),
            workers_silent: self.peers.iter().filter(|(_, peer)| peer.is_silent()).count(),
            slots: alive().map(|(_, peer)| peer.slots).sum(),
            slots_used: alive().map(|(worker, _)| self.engine.attempts_on(worker).len()).sum(),
            services: self.supervisor.replicas().map(Replica::state).collect(),
        };
        self.metrics.stands(cluster);
    }
}

impl Collector for LeaderMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let cluster = self.cluster();
        let Some(cluster) = cluster.as_ref() else { return Ok(()) };
        let mut picture = Picture::new(encoder);
        let help = "News of workers, pages and the DAG folder that waits for the next turn";
        picture.gauge("windlass_scheduler_news_waiting", help, cluster.news_waiting as f64)?;
        let instances = OPEN.iter().zip(cluster.instances);
        let instances = instances.map(|(state, count)| ([("state", state.name())], f64::from(count)));
        picture.gauges("windlass_task_instances", "Task instances of unfinished DagRuns, by state", instances)?;
        let RunCounts { queued, running } = cluster.runs;
        let runs = [("queued", queued), ("running", running)].map(|(state, count)| ([("state", state)], count as f64));
        picture.gauges("windlass_dag_runs", "DagRuns that have not ended", runs)?;
        let DagCounts { active, paused } = cluster.dags;
        let dags = [("active", active), ("paused", paused)].map(|(state, count)| ([("state", state)], count as f64));
        picture.gauges("windlass_dags", "DAGs that a file defines", dags)?;
        let help = "Errors in DAG files, as the UI lists them";
        picture.gauge("windlass_dag_import_errors", help, cluster.import_errors as f64)?;
        cluster.show_pools(&mut picture)?;
        cluster.show_workers(&mut picture)
    }
}

impl Cluster {
    /// Counts instances by a function of their state.
    pub(super) fn instances(of: impl Fn(TaskState) -> u32) -> [u32; OPEN.len()] {
        OPEN.map(of)
    }

    fn show_pools(&self, picture: &mut Picture<'_>) -> Result<(), std::fmt::Error> {
        let limited = self.pools.iter().filter_map(|pool| Some((&pool.name, pool.total?)));
        let totals = limited.map(|(name, total)| ([("pool", name.as_str())], f64::from(total)));
        picture.gauges("windlass_pool_slots", "Slots of a pool; none is shown for a pool without limit", totals)?;
        let used = self.pools.iter().flat_map(|pool| {
            let slots = pool.slots;
            let uses = [
                ("running", slots.running),
                ("queued", slots.queued),
                ("deferred", slots.deferred),
                ("scheduled", slots.scheduled),
            ];
            uses.map(|(state, count)| ([("pool", pool.name.as_str()), ("state", state)], f64::from(count)))
        });
        let help = "Slots of a pool that are taken, or asked for when scheduled, by the state of their tasks";
        picture.gauges("windlass_pool_slots_used", help, used)
    }

    fn show_workers(&self, picture: &mut Picture<'_>) -> Result<(), std::fmt::Error> {
        let workers = [("connected", self.workers_connected), ("silent", self.workers_silent)];
        let workers = workers.map(|(state, count)| ([("state", state)], count as f64));
        picture.gauges("windlass_cluster_workers", "Workers that the leader waits for or hears", workers)?;
        let help = "Slots of all workers that are connected";
        picture.gauge("windlass_cluster_slots", help, f64::from(self.slots))?;
        let help = "Attempts on all workers that are connected";
        picture.gauge("windlass_cluster_attempts", help, self.slots_used as f64)?;
        let states = ServiceState::ALL.iter().map(|state| {
            let count = self.services.iter().filter(|of| *of == state).count();
            ([("state", state.name())], count as f64)
        });
        picture.gauges("windlass_services", "Replicas of services, by state", states)
    }
}
