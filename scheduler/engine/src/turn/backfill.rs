//! Backfills: runs for the dates of a range, made a few at a time and started under a limit of their own.
//!
//! **States.** A backfill that is not over is in memory with its row; its DAG has one at most. The row says how far it is: the
//! interval that it has looked at last (its cursor), how many dates that were, and whether any is left. A date that it
//! looks at gets a run, or has one that runs again, or is passed over with the reason; each leaves a row, written in the
//! turn that moves the cursor. When every date was looked at and no run of it waits or is running, it is over.
//!
//! **What always holds.** (1) Never are more than [`WAITING_MAX`](crate::memory::backfills::WAITING_MAX) of its runs queued, and
//! one turn looks at no more dates than it has asked about: a range is never in memory as a whole. (2) A run goes by the
//! limits of its backfill or of its DAG, never of both: by those of the backfill while that is in its row, which it is not
//! any more when it runs again after the backfill was over. So a run that is queued in a backfill has one that is not over,
//! and neither limit counts a run of the other: what a schedule makes starts as if there were no backfill, and a backfill goes
//! on whatever the schedule makes. (3) For the same slot those two wait in the order in which they have come: a run of a
//! backfill counts from its start and not from its date ([`Run::order_date`](crate::memory::run::Run::order_date)), so that
//! neither a long backfill of old dates nor an endless schedule passes the other for ever.
//!
//! **After a crash** the row says where to go on: dates behind the cursor have their runs or reasons, those before it have
//! neither, because both are one commit.

use std::{collections::BTreeSet, sync::Arc};

use model::{
    BackfillId, CommandId, DagId, DagRunEvent, DagRunState, NotMade, RunKey, RunType, TriggeredBy,
    command::{ClearVersion, CreateBackfill, EndedRuns, Paused},
};
use serde_json::{Value, json};

use super::{
    command::Refusal,
    schedule::{ASKED_AHEAD_MAX, Served},
    trigger::{check_conf, check_type},
};
use crate::{
    BackfillRow, BackfillRunRow, DueRun, Engine, InBackfill, Need, RunRow, backfill,
    memory::{backfills::Backfill, definition::Definition},
    needs::{run_id_at, run_need},
};

/// What came of a date.
enum Seen {
    Run(RunKey),
    Passed(NotMade),
    /// It lacks a fact, or a run key.
    NotYet,
}

impl Engine {
    /// Begins a backfill. Its number is that of the command that asks for it.
    pub(super) fn create_backfill(
        &mut self,
        id: CommandId,
        wish: CreateBackfill,
        user: String,
    ) -> Result<Value, Refusal> {
        let def = self.triggered_version(&wish.dag_id)?;
        backfill::check(&def.dag, &wish, self.now).map_err(|senseless| Refusal::Invalid(senseless.to_string()))?;
        check_type(&def, RunType::Backfill)?;
        check_conf(&def, &wish.conf)?;
        let dag = self.dag_mut(&wish.dag_id);
        if dag.backfill.is_some() {
            return Err(Refusal::Conflict(format!("There is already a running backfill for dag {}", wish.dag_id)));
        }
        let id = BackfillId(id.get());
        let now = self.now;
        self.dag_mut(&wish.dag_id).backfill = Some(Backfill::new(BackfillRow {
            id,
            dag_id: wish.dag_id.clone(),
            from_date: wish.from_date.get(),
            to_date: wish.to_date.get(),
            order: wish.order,
            reprocess_behavior: wish.reprocess_behavior,
            version: wish.version,
            max_active_runs: wish.max_active_runs,
            conf: wish.conf.into_map(),
            is_paused: false,
            triggering_user: Some(user),
            created_at: now,
            updated_at: now,
            completed_at: None,
            cursor: None,
            dates_seen: 0,
            runs_made: 0,
            is_planned: false,
        }));
        self.touch_backfill(&wish.dag_id);
        Ok(json!({ "backfill_id": id }))
    }

    /// Holds a backfill back, or lets it go on. What of it runs is left alone.
    pub(super) fn pause_backfill(&mut self, dag_id: &DagId, id: BackfillId, to: Paused) -> Result<Value, Refusal> {
        let pauses = to == Paused::Paused;
        let row = &mut self.active_backfill(dag_id, id)?.row;
        if row.is_paused != pauses {
            row.is_paused = pauses;
            self.touch_backfill(dag_id);
        }
        Ok(json!({}))
    }

    /// Ends a backfill: its runs that wait fail, as in Airflow; those that are running go on.
    pub(super) fn cancel_backfill(&mut self, dag_id: &DagId, id: BackfillId) -> Result<Value, Refusal> {
        let backfill = self.active_backfill(dag_id, id)?;
        backfill.row.is_paused = true;
        let waiting: Vec<RunKey> = backfill.queued.iter().map(|(_, key)| *key).collect();
        for key in waiting {
            self.end_run(key, DagRunEvent::MarkedFailed);
            let note = &mut self.known_run_mut(key).row.note;
            *note = note.take().or_else(|| Some(format!("backfill {id} was cancelled before the run began")));
        }
        self.end_backfill(dag_id);
        Ok(json!({}))
    }

    fn active_backfill(&mut self, dag_id: &DagId, id: BackfillId) -> Result<&mut Backfill, Refusal> {
        let dag = self.dags.get_mut(dag_id).ok_or_else(|| Refusal::no_dag(dag_id))?;
        let active = dag.backfill.as_mut().filter(|backfill| backfill.row.id == id);
        active.ok_or_else(|| Refusal::Conflict("Backfill is already completed.".to_owned()))
    }

    fn touch_backfill(&mut self, dag_id: &DagId) {
        let now = self.now;
        if let Some(backfill) = &mut self.dag_mut(dag_id).backfill {
            backfill.row.updated_at = now;
            let id = backfill.row.id;
            self.draft.backfills.insert(id, dag_id.clone());
            self.unserved.insert(dag_id.clone());
        }
    }

    /// Its runs that are running go on, and count for no limit of a run any more.
    fn end_backfill(&mut self, dag_id: &DagId) {
        let now = self.now;
        let dag = self.dag_mut(dag_id);
        let Some(Backfill { mut row, running, .. }) = dag.backfill.take() else { return };
        dag.stragglers.extend(running);
        row.completed_at = Some(now);
        row.updated_at = now;
        self.draft.backfills.remove(&row.id);
        self.draft.plan.backfills.push(row);
        self.unserved.insert(dag_id.clone());
    }

    /// Looks at further dates of a DAG's backfill, whether the DAG is paused or not; ends it when nothing of it is left.
    pub(super) fn fill(&mut self, dag_id: &DagId) -> Served {
        while let Some((due, def)) = self.next_to_fill(dag_id) {
            let Some(due) = due else {
                if let Some(backfill) = &mut self.dag_mut(dag_id).backfill {
                    backfill.row.is_planned = true;
                }
                self.touch_backfill(dag_id);
                break;
            };
            if self.draft.is_full() {
                self.leave_rest();
                return Served::NotYet;
            }
            let outcome = match self.see(dag_id, &def, due) {
                Seen::Run(key) => Ok(key),
                Seen::Passed(reason) => Err(reason),
                Seen::NotYet => return Served::NotYet,
            };
            self.move_cursor(dag_id, due, outcome);
        }
        if self.dags.get(dag_id).and_then(|dag| dag.backfill.as_ref()).is_some_and(Backfill::is_over) {
            self.end_backfill(dag_id);
        }
        Served::Wholly
    }

    /// The next date that a DAG's backfill looks at, none when its range has no further one; none at all when it looks at
    /// nothing now.
    pub(crate) fn next_to_fill(&self, dag_id: &DagId) -> Option<(Option<DueRun>, Arc<Definition>)> {
        let dag = self.dags.get(dag_id).filter(|dag| !dag.row.is_stale)?;
        let backfill = dag.backfill.as_ref().filter(|backfill| backfill.wants_runs())?;
        let def = self.versions.get(&dag.row.current)?;
        Some((backfill.row.next(&def.dag.schedule), Arc::clone(def)))
    }

    fn move_cursor(&mut self, dag_id: &DagId, due: DueRun, outcome: Result<RunKey, NotMade>) {
        let Some(backfill) = &mut self.dag_mut(dag_id).backfill else { return };
        let row = &mut backfill.row;
        row.cursor = Some((due.start, due.end));
        row.dates_seen += 1;
        row.runs_made += i32::from(outcome.is_ok());
        let seen =
            BackfillRunRow { backfill: row.id, ordinal: row.dates_seen, logical_date: due.logical_date, outcome };
        self.draft.plan.backfill_runs.push(seen);
        self.touch_backfill(dag_id);
    }

    /// Makes the run of a date, or lets the one that there is run again.
    fn see(&mut self, dag_id: &DagId, def: &Arc<Definition>, due: DueRun) -> Seen {
        let run_id = run_id_at(RunType::Backfill, due.logical_date);
        let dag = self.dag_mut(dag_id);
        let here = dag.dates.get(&due.logical_date).or_else(|| dag.runs.get(&run_id)).copied();
        if let Some(key) = here {
            return self.see_existing(dag_id, key);
        }
        let need = Need::RunExists { dag: dag_id.clone(), run: run_id.clone(), logical_date: Some(due.logical_date) };
        match self.facts.existing(&need).cloned() {
            None => {
                self.ask_what_exists(dag_id, def);
                Seen::NotYet
            }
            Some(None) => self.make_backfill_run(dag_id, def, due, run_id),
            // What this turn has deleted is asked for again in the next.
            Some(Some((key, ..))) if self.draft.plan.runs_dropped.contains(&key) => Seen::NotYet,
            Some(Some((_, existing, state))) => match self.reason_to_pass(dag_id, state) {
                Some(reason) => Seen::Passed(reason),
                None => match self.find_run(dag_id, &existing) {
                    Some(key) => self.see_existing(dag_id, key),
                    // It can not be read, and stays as it is.
                    None if self.facts.is_known(&run_need(dag_id, &existing)) => Seen::Passed(NotMade::AlreadyExists),
                    None => {
                        self.facts.want(run_need(dag_id, &existing));
                        Seen::NotYet
                    }
                },
            },
        }
    }

    /// Why a date with a run in this state is passed over by the DAG's backfill; none when the run is to run again.
    pub(crate) fn reason_to_pass(&self, dag_id: &DagId, state: DagRunState) -> Option<NotMade> {
        let backfill = self.dags.get(dag_id)?.backfill.as_ref()?;
        backfill.row.reprocess_behavior.in_the_way(state)
    }

    fn see_existing(&mut self, dag_id: &DagId, key: RunKey) -> Seen {
        let state = self.known_run(key).row.state;
        if let Some(reason) = self.reason_to_pass(dag_id, state) {
            return Seen::Passed(reason);
        }
        let Some((place, version)) = self.next_place(dag_id) else { return Seen::NotYet };
        let is_idle = self.known_run(key).live == 0;
        if version == ClearVersion::Latest && is_idle {
            self.move_to_latest(key);
        }
        self.draft.touch_run(&self.runs[&key].row);
        let run = self.known_run_mut(key);
        run.row.backfill = Some(place);
        (run.row.run_type, run.row.triggered_by) = (RunType::Backfill, TriggeredBy::Backfill);
        let all: BTreeSet<_> = run.all().collect();
        self.clear_tasks(key, &all, EndedRuns::GoOn);
        Seen::Run(key)
    }

    fn make_backfill_run(&mut self, dag_id: &DagId, def: &Arc<Definition>, due: DueRun, run_id: model::RunId) -> Seen {
        let Some((place, _)) = self.next_place(dag_id) else { return Seen::NotYet };
        let Some(key) = self.draft.run_key() else { return Seen::NotYet };
        let Some(backfill) = &self.dag_mut(dag_id).backfill else { return Seen::NotYet };
        let (conf, triggering_user) = (backfill.row.conf.clone(), backfill.row.triggering_user.clone());
        let row = RunRow {
            run_type: RunType::Backfill,
            triggered_by: TriggeredBy::Backfill,
            triggering_user,
            logical_date: Some(due.logical_date),
            data_interval: Some((due.start, due.end)),
            run_after: due.run_after,
            conf,
            backfill: Some(place),
            ..self.blank_run(key, dag_id, run_id, def)
        };
        self.make_run(row, def);
        Seen::Run(key)
    }

    /// The place of the next run of a DAG's backfill, and the version that one goes on with that runs again.
    fn next_place(&self, dag_id: &DagId) -> Option<(InBackfill, ClearVersion)> {
        let row = &self.dags.get(dag_id)?.backfill.as_ref()?.row;
        let place = InBackfill { id: row.id, ordinal: row.dates_seen + 1, is_first: row.runs_made == 0 };
        Some((place, row.version))
    }

    /// Asks whether the next dates have runs, some at once, as for a schedule that catches up.
    fn ask_what_exists(&mut self, dag_id: &DagId, def: &Definition) {
        let Some(backfill) = self.dags.get(dag_id).and_then(|dag| dag.backfill.as_ref()) else { return };
        let (mut row, schedule) = (backfill.row.clone(), &def.dag.schedule);
        for _ in 0..ASKED_AHEAD_MAX {
            let Some(due) = row.next(schedule) else { return };
            let run = run_id_at(RunType::Backfill, due.logical_date);
            self.facts.want(Need::RunExists { dag: dag_id.clone(), run, logical_date: Some(due.logical_date) });
            row.cursor = Some((due.start, due.end));
        }
    }

    /// Starts the runs of a DAG's backfill that may.
    pub(super) fn start_filled(&mut self, dag_id: &DagId) -> Served {
        while let Some(key) = self.next_of_backfill(dag_id) {
            if self.draft.is_full() {
                self.leave_rest();
                return Served::NotYet;
            }
            self.start_run(key);
        }
        Served::Wholly
    }

    /// The run of a DAG's backfill that may start now.
    pub(crate) fn next_of_backfill(&self, dag_id: &DagId) -> Option<RunKey> {
        self.dags.get(dag_id)?.backfill.as_ref()?.next_to_start()
    }
}
