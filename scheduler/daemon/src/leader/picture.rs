//! How the installation stands: copied out of the leader's memory once a second, for scrapes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use engine::{DagCounts, PoolUse, RunCounts};
use metrics::Picture;
use model::{ServiceState, TaskState};

use super::{
    Ear,
    questions::Sight,
    reign::{BEAT, Reign},
};
use crate::services::Replica;

/// A leader that has shown nothing new for so long hangs: what it showed last is not told any more.
const SIGHT_GOOD_FOR: Duration = Duration::from_secs(10);

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

/// How the installation stands, as the leader has it in memory.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) news_waiting: usize,
    pub(super) instances: [u32; OPEN.len()],
    pub(super) runs: RunCounts,
    pub(super) dags: DagCounts,
    pub(super) import_errors: usize,
    pub(super) quarantined: u64,
    pub(super) pools: Vec<PoolUse>,
    pub(super) workers_connected: usize,
    pub(super) workers_silent: usize,
    pub(super) slots: u32,
    pub(super) slots_used: u32,
    pub(super) services: Vec<ServiceState>,
}

impl Cluster {
    /// Writes all of it to a scrape.
    pub(super) fn show(&self, mut picture: Picture<'_>) -> Result<(), std::fmt::Error> {
        let help = "News of workers, and hints of the inbox, that wait for the next turn";
        picture.gauge("windlass_scheduler_news_waiting", help, self.news_waiting as f64)?;
        let instances = OPEN.iter().zip(self.instances);
        let instances = instances.map(|(state, count)| ([("state", state.name())], f64::from(count)));
        picture.gauges("windlass_task_instances", "Task instances of unfinished DagRuns, by state", instances)?;
        let RunCounts { queued, running } = self.runs;
        let runs = [("queued", queued), ("running", running)].map(|(state, count)| ([("state", state)], count as f64));
        picture.gauges("windlass_dag_runs", "DagRuns that have not ended", runs)?;
        let DagCounts { active, paused } = self.dags;
        let dags = [("active", active), ("paused", paused)].map(|(state, count)| ([("state", state)], count as f64));
        picture.gauges("windlass_dags", "DAGs that a file defines", dags)?;
        let help = "Errors in DAG files, as the UI lists them";
        picture.gauge("windlass_dag_import_errors", help, self.import_errors as f64)?;
        let help = "What the leader could not take in, and holds until a person releases it";
        picture.gauge("windlass_quarantine_entries", help, self.quarantined as f64)?;
        self.show_pools(&mut picture)?;
        self.show_workers(&mut picture)
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
        let help = "Attempts that take a slot on all workers that are connected";
        picture.gauge("windlass_cluster_attempts", help, f64::from(self.slots_used))?;
        let states = ServiceState::ALL.iter().map(|state| {
            let count = self.services.iter().filter(|of| *of == state).count();
            ([("state", state.name())], count as f64)
        });
        picture.gauges("windlass_services", "Replicas of services, by state", states)
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
            instances: OPEN.map(|state| self.engine.instances_in(state)),
            runs: self.engine.run_counts(),
            dags: self.engine.dag_counts(),
            import_errors: self.folders.import_errors(),
            quarantined: self.quarantined,
            pools: self.engine.pool_uses(0),
            workers_connected: alive().count(),
            workers_silent: self.peers.iter().filter(|(_, peer)| peer.is_silent()).count(),
            slots: alive().map(|(_, peer)| peer.slots).sum(),
            slots_used: alive().map(|(worker, _)| self.engine.slots_used_on(worker)).sum(),
            services: self.supervisor.replicas().map(Replica::state).collect(),
        };
        self.metrics.stands(cluster);
        let good_until = self.peers.is_watching().then(|| now + SIGHT_GOOD_FOR);
        ear.questions.show(Sight { view: Arc::new(self.cluster()), good_until });
    }
}
