//! Limits in words: why an instance that may run has no slot.

use std::collections::BTreeSet;

use model::{Capability, DagId, RunKey, Timestamp};

use super::{NAMES_MAX, time::span};
use crate::{
    Engine,
    memory::{
        instance::Place,
        pools::Room,
        ready::{Demand, OnWorker},
        run::Run,
        workers::NoWorker,
    },
    turn::Blocked,
};

/// So many that wait for a pool before a task are counted: the leader answers between turns.
const AHEAD_MAX: usize = 1_000;

impl Engine {
    /// Why a scheduled instance is not queued.
    pub(super) fn why_no_slot(&self, run: &Run, place: Place) -> String {
        let core = run.instance(place.at()).core;
        if core.live {
            let worker = core.worker.map_or_else(String::new, |worker| format!(" on {}", self.workers.name(worker)));
            let why = run.instance(place.at()).extra().reason.map_or_else(String::new, |reason| format!(": {reason}"));
            return format!("it waits for its old attempt{worker} to end{why}");
        }
        let ticket = self.ticket(place);
        let task = run.def.task(place.task);
        match self.worker_for(&ticket) {
            Ok(_) => "it has what it needs, and gets its slot with the next turn".to_owned(),
            Err(Blocked::Pool(room)) => {
                let ahead = self.ready.ahead(&ticket, &task.pool, AHEAD_MAX);
                pool_sentence(&task.pool, task.pool_slots, room, (ahead, self.now))
            }
            Err(Blocked::Run { active }) => {
                format!("its run has {active} of {} active tasks (max_active_tasks)", run.def.dag.max_active_tasks)
            }
            Err(Blocked::Task { active }) => {
                format!("{active} instances of it are active in all runs, as many as max_active_tis_per_dag allows")
            }
            Err(Blocked::TaskInRun { active }) => {
                format!("{active} instances of it are active in its run, as many as max_active_tis_per_dagrun allows")
            }
            Err(Blocked::Worker) => {
                let demand = self.ready.demand(ticket.class);
                worker_sentence(demand, &self.workers.why_none(demand))
            }
        }
    }

    /// Which runs use up a DAG's max_active_runs.
    pub(crate) fn runs_in_the_way(&self, dag: &DagId) -> String {
        let Some(state) = self.dags.get(dag) else { return "its DAG is not known".to_owned() };
        let most = self.versions.get(&state.row.current).map_or(0, |def| def.dag.max_active_runs);
        self.reached_by(&format!("max_active_runs ({most})"), &state.running)
    }

    /// Why a run of a backfill that is not over does not start; none when it is of none.
    pub(super) fn backfill_in_the_way(&self, run: &Run) -> Option<String> {
        let place = run.row.backfill?;
        let backfill = self.dag_of(run.row.key).backfill.as_ref().filter(|backfill| backfill.row.id == place.id)?;
        let id = place.id;
        if backfill.row.is_paused {
            return Some(format!("its backfill {id} is paused"));
        }
        let limit = format!("max_active_runs ({}) of backfill {id}", backfill.row.max_active_runs);
        Some(self.reached_by(&limit, &backfill.running))
    }

    /// What a DAG's backfill is doing; none when it has none that is not over.
    pub(super) fn backfill_sentence(&self, dag: &DagId) -> Option<String> {
        let backfill = self.dags.get(dag)?.backfill.as_ref()?;
        let (row, running, queued) = (&backfill.row, backfill.running.len(), backfill.queued.len());
        let held = if row.is_paused { " is paused:" } else { " has" };
        let more = if row.is_planned { "" } else { ", and dates that it has not looked at" };
        Some(format!(
            "backfill {}{held} {running} of {} runs running, {queued} waiting{more}",
            row.id, row.max_active_runs
        ))
    }

    fn reached_by(&self, limit: &str, running: &BTreeSet<RunKey>) -> String {
        let names: Vec<&str> =
            running.iter().take(NAMES_MAX).map(|key| self.known_run(*key).row.run_id.as_str()).collect();
        if names.is_empty() {
            return "it is next to start".to_owned();
        }
        let more = if running.len() > NAMES_MAX { " and others" } else { "" };
        format!("{limit} is reached by {}{more}", names.join(", "))
    }
}

fn pool_sentence(pool: &str, slots: u32, room: Room, (ahead, now): (usize, Timestamp)) -> String {
    match room {
        Room::Limited { limit, until } => {
            let next = span(until - now);
            format!("pool {pool} starts {limit} at most (rate_limit): the next one in {next}, {ahead} ahead of it")
        }
        Room::Full { used, total } => {
            let wants = if slots > 1 { format!(", it takes {slots}") } else { String::new() };
            let ahead = if ahead < AHEAD_MAX { ahead.to_string() } else { format!("{AHEAD_MAX} or more") };
            format!("pool {pool} is full: {used} of {total} slots{wants}, {ahead} ahead of it")
        }
        Room::TooSmall { total } => format!("it takes {slots} slots, and pool {pool} has only {total}"),
        Room::NoSuchPool => format!("pool {pool} does not exist"),
        Room::Free => format!("pool {pool} has room, and gives it with the next turn"),
    }
}

pub(super) fn worker_sentence(demand: &Demand, reason: &NoWorker) -> String {
    match reason {
        NoWorker::NoneConnected | NoWorker::Queue => {
            format!("no worker is connected that serves queue {}", demand.queue)
        }
        NoWorker::Leaving => {
            format!("every worker that is connected was asked to end; queue {} waits for another one", demand.queue)
        }
        NoWorker::Operator if demand.expands => format!(
            "no worker that serves queue {} knows expanded tasks of the operator {}: they are of an older version; update them",
            demand.queue, demand.operator
        ),
        NoWorker::Operator if demand.reschedules => format!(
            "no worker that serves queue {} knows sensors with mode: reschedule: they are of an older version; update them",
            demand.queue
        ),
        NoWorker::Operator if demand.defers => format!(
            "no worker that serves queue {} knows deferrable: true: they are of an older version; update them",
            demand.queue
        ),
        NoWorker::Operator => format!(
            "no worker that serves queue {} knows the operator {}: they are of an older version; update them",
            demand.queue, demand.operator
        ),
        NoWorker::Capability if demand.capability == Capability::Docker => format!(
            "no worker with docker that serves queue {}: start one where the Docker engine runs, or name an engine by docker_url",
            demand.queue
        ),
        NoWorker::Capability => {
            format!("no worker that serves queue {} can do it: it takes {:?}", demand.queue, demand.capability)
        }
        NoWorker::Busy { used, slots } => match demand.on_worker {
            OnWorker::TakesSlot => {
                format!("all workers that serve queue {} are busy: {used} of {slots} slots", demand.queue)
            }
            OnWorker::TakesNone => format!("no worker that serves queue {} takes it now", demand.queue),
        },
    }
}
