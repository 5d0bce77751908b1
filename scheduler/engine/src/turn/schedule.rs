//! A DAG's schedule and its limits: which runs are made, and which may start.

use std::sync::Arc;

use dag::Overlap;
use model::{DagId, DagRunState, RunId, RunKey, RunType, Timestamp, TriggeredBy};

use super::deadline::Which;
use crate::{
    DagVersion, DueRun, Engine, Need, RunRow, StoredDag,
    assets::AssetRun,
    memory::{dags::DagState, definition::Definition, run::Run, timers::Timer},
    needs::run_id_at,
    timetable::{self, Restriction},
};

/// Runs that are asked for at once when a schedule catches up: each is a look-up by a unique key before the turn.
pub(super) const ASKED_AHEAD_MAX: usize = 64;

/// Whether a DAG has been served for this turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Served {
    Wholly,
    /// It lacks a fact, a run key, or room in this turn.
    NotYet,
}

/// Whether a schedule's next run could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Run(RunKey),
    /// There is one for its date already.
    Exists,
    NotYet,
}

impl Engine {
    /// Makes the runs that are due, and starts those that may, until nothing more does.
    pub(super) fn serve_dags(&mut self) {
        let mut waiting = Vec::new();
        while let Some(dag) = self.unserved.pop_first() {
            if self.serve(&dag) == Served::NotYet {
                waiting.push(dag);
            }
            self.settle();
        }
        self.unserved.extend(waiting);
    }

    fn serve(&mut self, dag_id: &DagId) -> Served {
        let Some(def) = self.serving(dag_id) else { return self.fill(dag_id) };
        if self.dag_mut(dag_id).newest.is_open() {
            return Served::NotYet;
        }
        let mut served = self.make_due_runs(dag_id, &def);
        if self.make_asset_run(dag_id) == AssetRun::NotYet {
            served = Served::NotYet;
        }
        while let Some((starts_at, key)) = self.next_to_start(dag_id, &def) {
            if starts_at > self.now {
                self.timers.set(starts_at, Timer::Dag(dag_id.clone()));
                break;
            }
            if self.draft.is_full() {
                self.leave_rest();
                return Served::NotYet;
            }
            self.start_run(key);
        }
        // What the schedule makes goes before what a backfill makes of the same date.
        if self.serve_backfill(dag_id) == Served::NotYet { Served::NotYet } else { served }
    }

    /// Makes runs of a DAG's backfill and starts those that may: what starts makes room for further ones that wait.
    fn serve_backfill(&mut self, dag_id: &DagId) -> Served {
        loop {
            if [self.fill(dag_id), self.start_filled(dag_id)].contains(&Served::NotYet) {
                return Served::NotYet;
            }
            if self.next_to_fill(dag_id).is_none() {
                return Served::Wholly;
            }
        }
    }

    /// The version that new runs of a DAG are made with; none when nothing new may start.
    pub(crate) fn serving(&self, dag_id: &DagId) -> Option<Arc<Definition>> {
        let row = &self.dags.get(dag_id)?.row;
        if row.is_paused || row.is_stale || row.is_draining {
            None
        } else {
            self.versions.get(&row.current).map(Arc::clone)
        }
    }

    fn next_to_start(&self, dag_id: &DagId, def: &Definition) -> Option<(Timestamp, RunKey)> {
        let dag = self.dags.get(dag_id)?;
        let is_full = dag.running.len() >= limit(def.dag.max_active_runs);
        dag.queued.first().copied().filter(|_| !is_full)
    }

    /// What a DAG that is not to be served lacks all the same: a run to make or to start, or a timer for it.
    pub(crate) fn unserved_of(&self, dag_id: &DagId) -> Vec<String> {
        let mut lacking = self.unfilled_of(dag_id);
        let Some((def, dag)) = self.serving(dag_id).zip(self.dags.get(dag_id)) else { return lacking };
        if self.asset_run_to_make(dag_id).is_some() {
            lacking.push("its assets have changed, and no run is made for them".to_owned());
        }
        let may_make = dag.may_make(&def);
        let due = self.due(dag_id, &def).filter(|_| may_make).map(|due| ("make", due.run_after));
        let starts = self.next_to_start(dag_id, &def).map(|(at, _)| ("start", at));
        let lacks = |(what, at): (&str, Timestamp)| {
            let has_timer = at > self.now && self.timers.has(at, &Timer::Dag(dag_id.clone()));
            (!has_timer).then(|| format!("it has a run to {what} at {at}, and nothing will look at it then"))
        };
        lacking.extend(due.into_iter().chain(starts).filter_map(lacks));
        lacking
            .extend(self.next_of_backfill(dag_id).map(|key| format!("run {key} of its backfill may start, and waits")));
        lacking
    }

    /// What its backfill could go on with all the same.
    fn unfilled_of(&self, dag_id: &DagId) -> Vec<String> {
        let Some(backfill) = self.dags.get(dag_id).and_then(|dag| dag.backfill.as_ref()) else { return Vec::new() };
        let id = backfill.row.id;
        let mut lacking = Vec::new();
        if self.next_to_fill(dag_id).is_some() {
            lacking.push(format!("backfill {id} could look at a further date"));
        }
        if backfill.is_over() {
            lacking.push(format!("nothing of backfill {id} is left, and it is not over"));
        }
        lacking
    }

    fn make_due_runs(&mut self, dag_id: &DagId, def: &Arc<Definition>) -> Served {
        loop {
            if !self.dag_mut(dag_id).may_make(def) {
                // Served again when one of them ends.
                return Served::Wholly;
            }
            let Some(due) = self.due(dag_id, def) else { return Served::Wholly };
            if due.run_after > self.now {
                self.timers.set(due.run_after, Timer::Dag(dag_id.clone()));
                return Served::Wholly;
            }
            if self.draft.is_full() {
                self.leave_rest();
                return Served::NotYet;
            }
            if def.dag.overlap == Overlap::Skip && self.has_active_run(dag_id) {
                self.pass_over(dag_id, due);
            } else {
                match self.make_scheduled_run(dag_id, def, due) {
                    Made::NotYet => return Served::NotYet,
                    Made::Run(key) if def.dag.overlap == Overlap::CancelOlder => self.cancel_older(dag_id, key),
                    Made::Run(_) | Made::Exists => {}
                }
                self.dag_mut(dag_id).row.passed_over = None;
            }
            self.move_schedule(dag_id, def, due);
        }
    }

    /// A schedule goes on behind a run that was due.
    fn move_schedule(&mut self, dag_id: &DagId, def: &Definition, due: DueRun) {
        let now = self.now;
        let row = &mut self.dag_mut(dag_id).row;
        row.last_interval = Some((due.start, due.end));
        row.next = next_due(def, row.last_interval, now);
        self.draft.dags.insert(dag_id.clone());
    }

    /// The next run of a schedule. A continuous one covers the time until it is made, which nobody knew before.
    fn due(&self, dag_id: &DagId, def: &Definition) -> Option<DueRun> {
        let row = &self.dags.get(dag_id)?.row;
        match def.dag.schedule {
            dag::Schedule::Continuous => next_due(def, row.last_interval, self.now),
            dag::Schedule::Never | dag::Schedule::Once | dag::Schedule::Cron { .. } | dag::Schedule::Delta { .. } => {
                row.next
            }
        }
    }

    fn make_scheduled_run(&mut self, dag_id: &DagId, def: &Arc<Definition>, due: DueRun) -> Made {
        let run_id = run_id_at(RunType::Scheduled, due.run_after);
        let need = Need::RunExists { dag: dag_id.clone(), run: run_id.clone(), logical_date: Some(due.logical_date) };
        let dag = self.dag_mut(dag_id);
        if dag.runs.contains_key(&run_id) || dag.dates.contains_key(&due.logical_date) {
            return Made::Exists;
        }
        match self.facts.existing(&need) {
            Some(Some(_)) => return Made::Exists,
            Some(None) => {}
            None => {
                self.ask_ahead(dag_id, def, due);
                return Made::NotYet;
            }
        }
        let Some(key) = self.draft.run_key() else { return Made::NotYet };
        let row = RunRow {
            run_type: RunType::Scheduled,
            triggered_by: TriggeredBy::Timetable,
            logical_date: Some(due.logical_date),
            data_interval: Some((due.start, due.end)),
            run_after: due.run_after,
            ..self.blank_run(key, dag_id, run_id, def)
        };
        self.make_run(row, def);
        Made::Run(key)
    }

    /// Asks whether a due run exists, and with it whether those exist that are due after it: one question a turn would
    /// make catching up slow.
    fn ask_ahead(&mut self, dag_id: &DagId, def: &Definition, due: DueRun) {
        let room = active_runs_max(def).saturating_sub(self.dag_mut(dag_id).unfinished_runs());
        let mut next = Some(due);
        for _ in 0..room.clamp(1, ASKED_AHEAD_MAX) {
            let Some(due) = next.filter(|due| due.run_after <= self.now) else { return };
            let run = run_id_at(RunType::Scheduled, due.run_after);
            self.facts.want(Need::RunExists { dag: dag_id.clone(), run, logical_date: Some(due.logical_date) });
            next = next_due(def, Some((due.start, due.end)), self.now);
        }
    }

    /// A run's row before anything is known of it.
    pub(crate) fn blank_run(&self, key: RunKey, dag_id: &DagId, run_id: RunId, def: &Definition) -> RunRow {
        RunRow {
            key,
            dag_id: dag_id.clone(),
            run_id,
            run_type: RunType::Manual,
            triggered_by: TriggeredBy::RestApi,
            triggering_user: None,
            version: def.id,
            state: DagRunState::Queued,
            logical_date: None,
            data_interval: None,
            run_after: self.now,
            queued_at: self.now,
            started_at: None,
            ended_at: None,
            conf: serde_json::Map::new(),
            note: None,
            clear_number: 0,
            backfill: None,
        }
    }

    /// A new run waits for its start. Runs that follow its date ask anew for the one before them.
    pub(crate) fn make_run(&mut self, row: RunRow, def: &Arc<Definition>) {
        let (key, dag_id, date) = (row.key, row.dag_id.clone(), row.logical_date);
        self.draft.runs.insert(key);
        self.insert_run(Run::new(row, Arc::clone(def)));
        self.set_deadlines(key, Which::All);
        self.follow_newest(key);
        self.unserved.insert(dag_id.clone());
        let Some(date) = date else { return };
        let later = (std::ops::Bound::Excluded(date), std::ops::Bound::Unbounded);
        let later: Vec<RunKey> = self.dag_mut(&dag_id).dates.range(later).map(|(_, next)| *next).collect();
        for next in later {
            let RunRow { state, run_type, .. } = self.known_run(next).row;
            if state == DagRunState::Running {
                self.ask_previous(next);
            }
            // A run by hand need not be the previous one of those behind it.
            if run_type != RunType::Manual {
                break;
            }
        }
    }

    /// A version is current from now on; its schedule is computed anew, as at each parse.
    pub(super) fn version_stored(&mut self, version: &DagVersion) {
        let def = self.learn_version(version);
        let dag_id = def.dag.dag_id.clone();
        let now = self.now;
        let is_new = !self.dags.contains_key(&dag_id);
        let dag = self.dags.entry(dag_id.clone()).or_insert_with(|| DagState::new(first_sight(&def)));
        let before = (is_new, dag.row.clone());
        let old = std::mem::replace(&mut dag.row.current, def.id);
        dag.row.is_stale = false;
        dag.row.next = next_due(&def, dag.row.last_interval, now);
        if before != (false, dag.row.clone()) {
            self.draft.dags.insert(dag_id.clone());
        }
        self.doubtful.insert(old);
        self.watch_failures(&dag_id);
        self.follow_assets(&dag_id);
        self.unserved.insert(dag_id);
    }

    pub(super) fn dag_gone(&mut self, dag_id: &DagId) {
        if let Some(dag) = self.dags.get_mut(dag_id)
            && !dag.row.is_stale
        {
            dag.row.is_stale = true;
            self.draft.dags.insert(dag_id.clone());
        }
    }

    /// Lets a DAG's schedule and runs go on. Its next run is computed anew: what came due in the pause does not
    /// count unless the DAG has catchup.
    pub(super) fn unpause(&mut self, dag_id: &DagId) {
        self.look_anew(dag_id);
        for run in self.dag_mut(dag_id).all_running().collect::<Vec<_>>() {
            let memory = self.known_run_mut(run);
            let parked = std::mem::take(&mut memory.parked);
            memory.dirty.extend(parked);
            self.unsettled.insert(run);
        }
    }

    /// Computes the next run of a schedule anew: what came due meanwhile does not count unless the DAG has catchup.
    pub(super) fn look_anew(&mut self, dag_id: &DagId) {
        let now = self.now;
        let Some(def) = self.dags.get(dag_id).and_then(|dag| self.versions.get(&dag.row.current)).cloned() else {
            return;
        };
        let row = &mut self.dag_mut(dag_id).row;
        row.next = next_due(&def, row.last_interval, now);
        self.draft.dags.insert(dag_id.clone());
        self.unserved.insert(dag_id.clone());
    }
}

impl DagState {
    /// Whether its limits let its schedule make a run that is due. Where it decides itself what becomes of runs that overlap, always:
    /// what is due is decided when it is.
    pub(crate) fn may_make(&self, def: &Definition) -> bool {
        match def.dag.overlap {
            Overlap::Queue => self.unfinished_runs() < active_runs_max(def),
            Overlap::Skip | Overlap::CancelOlder => true,
        }
    }
}

/// How many runs of a schedule may be unfinished before it makes no more.
pub(crate) fn active_runs_max(def: &Definition) -> usize {
    match def.dag.schedule {
        dag::Schedule::Continuous => 1,
        dag::Schedule::Never | dag::Schedule::Once | dag::Schedule::Cron { .. } | dag::Schedule::Delta { .. } => {
            limit(def.dag.max_active_runs)
        }
    }
}

/// The run that a DAG's schedule makes after the last one; none when it may make none.
pub(crate) fn next_due(
    def: &Definition,
    last_interval: Option<(Timestamp, Timestamp)>,
    now: Timestamp,
) -> Option<DueRun> {
    if !def.dag.allows(RunType::Scheduled) {
        return None;
    }
    timetable::next(&def.dag.schedule, &restriction(def), last_interval, now)
}

/// A DAG's bounds.
pub(crate) fn restriction(def: &Definition) -> Restriction {
    // Where the DAG has no date of its own, those of its tasks say from when on, and until when, there is something to run.
    let tasks = &def.dag.tasks;
    let ends: Option<Vec<Timestamp>> = tasks.iter().map(|task| task.end_date).collect();
    Restriction {
        earliest: def.dag.start_date.or(tasks.iter().filter_map(|task| task.start_date).min()),
        latest: def.dag.end_date.or(ends.and_then(|ends| ends.into_iter().max())),
        catchup: def.dag.catchup,
    }
}

pub(crate) fn limit(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn first_sight(def: &Definition) -> StoredDag {
    StoredDag::new(def.dag.dag_id.clone(), def.id, def.dag.is_paused_upon_creation)
}
