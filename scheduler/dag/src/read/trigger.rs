//! The operator `trigger_dag_run`.

use chrono_tz::Tz;
use model::{
    DagId, DagRunState,
    operator::{TriggerDagRunTask, TriggerDate},
};

use super::{
    fields::Fields,
    operator::{text, text_option, truth_or},
    sensor::{interval, run_states, states},
};
use crate::{problem::Problems, yaml::Value};

/// Airflow's pause between two looks at a run.
const POKE_INTERVAL_SECS: f64 = 60.0;

/// Reads the operator's keys.
pub(super) fn read(fields: &Fields<'_>, problems: &mut Problems) -> Option<TriggerDagRunTask> {
    let mut states_of = |name, absent| match fields.take(name) {
        Some(item) => states(&item, &run_states(), problems),
        None => Some(vec![absent]),
    };
    let allowed_states = states_of("allowed_states", DagRunState::Success)?;
    let failed_states = states_of("failed_states", DagRunState::Failed)?;
    let task = TriggerDagRunTask {
        trigger_dag_id: dag_id(fields, problems)?,
        trigger_run_id: text_option(fields, "trigger_run_id", problems)?,
        conf: conf(fields, problems)?,
        logical_date: logical_date(fields, problems)?,
        reset_dag_run: truth_or(fields, "reset_dag_run", false, problems)?,
        skip_when_already_exists: truth_or(fields, "skip_when_already_exists", false, problems)?,
        fail_when_dag_is_paused: truth_or(fields, "fail_when_dag_is_paused", false, problems)?,
        wait_for_completion: truth_or(fields, "wait_for_completion", false, problems)?,
        deferrable: truth_or(fields, "deferrable", false, problems)?,
        poke_interval_secs: interval(fields, POKE_INTERVAL_SECS, problems)?,
        allowed_states,
        failed_states,
    };
    if let Some(state) = task.allowed_states.iter().find(|state| task.failed_states.contains(state)) {
        problems.add(&fields.place, format!("{state} stands in allowed_states and in failed_states"));
        return None;
    }
    Some(task)
}

/// A template, or an id that is checked at once.
fn dag_id(fields: &Fields<'_>, problems: &mut Problems) -> Option<String> {
    let id = text(fields, "trigger_dag_id", problems)?;
    if !id.contains("{{")
        && let Err(why) = DagId::new(&id)
    {
        return fields.take("trigger_dag_id")?.fail(why.to_string(), problems);
    }
    Some(id)
}

fn conf(fields: &Fields<'_>, problems: &mut Problems) -> Option<serde_json::Value> {
    let Some(item) = fields.take("conf") else { return Some(serde_json::Value::Null) };
    match item.node.value {
        Value::Map(_) | Value::Text(_) => item.json(problems),
        _ => item.expected("a mapping, or a template that gives one", problems),
    }
}

/// A template, or a date that is checked at once; null is none.
fn logical_date(fields: &Fields<'_>, problems: &mut Problems) -> Option<TriggerDate> {
    let Some(item) = fields.take("logical_date") else {
        return Some(if fields.is_null("logical_date") { TriggerDate::None } else { TriggerDate::Now });
    };
    let text = item.text(problems)?;
    if !text.contains("{{") {
        item.date(Tz::UTC, problems)?;
    }
    Some(TriggerDate::At(text))
}
