//! Runs that somebody asks for.

use std::sync::Arc;

use chrono::TimeDelta;
use model::{
    DagId, RunId, RunKey, RunType, Timestamp, TriggeredBy,
    command::TriggerDagRun,
    door::{Conf, Instant, Note},
};
use serde_json::{Value, json};

use super::command::Refusal;
use crate::{
    Engine, RunRow,
    assignment::params_of_run,
    memory::definition::Definition,
    needs::{exists_need, run_id_at},
    timetable,
};

impl Engine {
    pub(super) fn trigger(&mut self, trigger: TriggerDagRun, user: Option<String>) -> Result<Value, Refusal> {
        let dag_id = trigger.dag_id.clone();
        let def = self.triggered_version(&dag_id)?;
        let given = trigger.run_id.as_ref().map_or(Ok(()), RunId::may_be_given);
        given.map_err(|error| Refusal::Invalid(error.to_string()))?;
        check_type(&def, trigger.run_type)?;
        check_kind_of_id(&trigger)?;
        check_conf(&def, &trigger.conf)?;
        let existing = exists_need(&trigger).and_then(|need| self.facts.existing(&need).cloned().flatten());
        if let Some((_, run, _)) = existing {
            return Err(already(&dag_id, &run));
        }
        let run_after = trigger.run_after.map_or(self.now, Instant::get);
        let run_id = self.free_run_id(&trigger, run_after)?;
        let logical_date = trigger.logical_date.map(Instant::get);
        let data_interval = match (trigger.data_interval, logical_date) {
            (Some((start, end)), _) => Some((start.get(), end.get())),
            (None, Some(date)) => Some(interval_of(&def, date)?),
            (None, None) => None,
        };
        let key = self.draft.run_key().ok_or_else(|| {
            Refusal::Conflict("no number is left for a new run in this turn; trigger it again".to_owned())
        })?;
        let row = RunRow {
            run_type: trigger.run_type,
            triggered_by: trigger.triggered_by,
            triggering_user: user.filter(|_| is_asked_by_somebody(trigger.triggered_by)),
            logical_date,
            data_interval,
            run_after,
            conf: trigger.conf.into_map(),
            note: trigger.note.map(Note::into_string),
            ..self.blank_run(key, &dag_id, run_id, &def)
        };
        let answer = answer_of(key, &row.run_id);
        self.make_run(row, &def);
        Ok(answer)
    }

    /// The version that runs are made with which somebody asks for.
    pub(super) fn triggered_version(&self, dag_id: &DagId) -> Result<Arc<Definition>, Refusal> {
        let row = &self.dags.get(dag_id).ok_or_else(|| Refusal::no_dag(dag_id))?.row;
        if row.is_stale {
            return Err(Refusal::Conflict(format!(
                "no file defines the DAG {dag_id} any more, so it can not be triggered"
            )));
        }
        self.versions.get(&row.current).cloned().ok_or_else(|| {
            Refusal::Conflict(format!(
                "the current version of the DAG {dag_id} can not be read by this windlass, see what is in quarantine; it can not be triggered"
            ))
        })
    }

    /// The id that was asked for, or one made of the run's type and date: of two in one instant the second is named
    /// after the next microsecond.
    fn free_run_id(&self, trigger: &TriggerDagRun, run_after: Timestamp) -> Result<RunId, Refusal> {
        let dag = self.dags.get(&trigger.dag_id).ok_or_else(|| Refusal::no_dag(&trigger.dag_id))?;
        let same_date = trigger.logical_date.and_then(|date| dag.dates.get(&date.get()));
        if let Some(same) = same_date {
            return Err(already(&trigger.dag_id, &self.known_run(*same).row.run_id));
        }
        let fixed = trigger.run_after.or(trigger.logical_date).map(Instant::get);
        let wanted = trigger.run_id.clone().or_else(|| fixed.map(|at| run_id_at(trigger.run_type, at)));
        match wanted {
            Some(run_id) if dag.runs.contains_key(&run_id) => Err(already(&trigger.dag_id, &run_id)),
            Some(run_id) => Ok(run_id),
            None => {
                let mut at = run_after;
                while dag.runs.contains_key(&run_id_at(trigger.run_type, at)) {
                    at += TimeDelta::microseconds(1);
                }
                Ok(run_id_at(trigger.run_type, at))
            }
        }
    }
}

/// Whether a DAG may have runs of a type.
pub(super) fn check_type(def: &Definition, run_type: RunType) -> Result<(), Refusal> {
    if def.dag.allows(run_type) {
        return Ok(());
    }
    Err(Refusal::Invalid(format!("Dag with dag_id: '{}' does not allow {run_type} runs", def.dag.dag_id)))
}

/// The data that a run by hand of this date covers, by the DAG's schedule.
fn interval_of(def: &Definition, date: Timestamp) -> Result<(Timestamp, Timestamp), Refusal> {
    let (start, end) = timetable::manual_interval(&def.dag.schedule, date);
    match (Instant::new(start), Instant::new(end)) {
        (Ok(start), Ok(end)) => Ok((start.get(), end.get())),
        (Err(_), _) | (_, Err(_)) => Err(Refusal::Invalid(format!(
            "the data interval of {} by the DAG's schedule lies outside of the years 1 to 9999: name another date, or \
             the interval's start and end",
            date.to_rfc3339()
        ))),
    }
}

/// The ids of runs that the schedule, backfills and the like make are theirs, as in Airflow: a run by hand with such an id would
/// stand in the way of the one that is to come.
fn check_kind_of_id(trigger: &TriggerDagRun) -> Result<(), Refusal> {
    let Some(run_id) = &trigger.run_id else { return Ok(()) };
    let is_of = |kind: &&RunType| run_id.as_str().strip_prefix(kind.name()).is_some_and(|rest| rest.starts_with("__"));
    match RunType::ALL.iter().find(is_of) {
        Some(&kind) if kind != RunType::Manual && kind != trigger.run_type => Err(Refusal::Invalid(format!(
            "A {} DAG run cannot use ID '{run_id}' since it is reserved for {kind} runs",
            trigger.run_type
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Checks a run's params against their schemas: the DAG may have changed since the command was accepted.
pub(super) fn check_conf(def: &Definition, conf: &Conf) -> Result<(), Refusal> {
    let params = params_of_run(&def.dag, conf.get());
    for (name, param) in def.dag.params.iter() {
        let value = params.get(name).unwrap_or(&Value::Null);
        if let Err(error) = jsonschema::validate(&param.schema, value) {
            return Err(Refusal::Invalid(format!("the value {value} does not fit the param {name}: {error}")));
        }
    }
    Ok(())
}

/// Whether a person stands behind a door; tasks and schedules trigger in nobody's name.
fn is_asked_by_somebody(door: TriggeredBy) -> bool {
    match door {
        TriggeredBy::Cli | TriggeredBy::RestApi | TriggeredBy::Ui | TriggeredBy::Test => true,
        TriggeredBy::Operator | TriggeredBy::Timetable | TriggeredBy::Asset | TriggeredBy::Backfill => false,
    }
}

fn already(dag_id: &DagId, run: &RunId) -> Refusal {
    Refusal::Conflict(format!("DAGRun with dag_id: '{dag_id}' and run_id: '{run}' or its logical date already exists"))
}

fn answer_of(key: RunKey, run_id: &RunId) -> Value {
    json!({ "run_key": key, "run_id": run_id })
}
