//! The sensors: what each looks for, and how all of them wait.

use std::str::FromStr;

use model::{
    DagId, DagRunState, TaskId, TaskState,
    operator::{
        DateTimeSensor, ExternalTaskSensor, FileSensor, HttpMethod, HttpSensor, PokeMode, Poking, SqlSensor,
        TimeDeltaSensor,
    },
};

use super::{
    fields::{Fields, Item},
    http,
    operator::{parameters, seconds_or, sql_source, text, text_option, truth_or},
};
use crate::{
    files::FileSet,
    keys::{ERROR_STATUSES, SENSOR_MODES},
    problem::Problems,
    yaml::Value,
};

/// The status that means "not yet" unless a sensor names others.
const NOT_FOUND: u16 = 404;

/// The shortest pause between two looks: a shorter one would only fill the log.
const POKE_INTERVAL_SECS_MIN: f64 = 0.1;

/// What is said of a word of older files.
const NO_MODE: &str = "mode: deferred is no mode; deferrable: true waits without a slot";

/// Reads `file_sensor`.
pub(super) fn file(fields: &Fields<'_>, problems: &mut Problems) -> Option<FileSensor> {
    Some(FileSensor {
        filepath: text(fields, "filepath", problems)?,
        fs_conn_id: text_option(fields, "fs_conn_id", problems)?,
        recursive: truth_or(fields, "recursive", false, problems)?,
        poking: poking(fields, problems)?,
    })
}

/// Reads `date_time_sensor`.
pub(super) fn date_time(fields: &Fields<'_>, problems: &mut Problems) -> Option<DateTimeSensor> {
    let item = fields.take("target_time")?;
    let target_time = item.text(problems)?;
    // What is no template is read now; without an offset it is UTC.
    if !target_time.contains("{{") && !target_time.contains("{%") {
        item.date(chrono_tz::Tz::UTC, problems)?;
    }
    Some(DateTimeSensor { target_time, poking: poking(fields, problems)? })
}

/// Reads `time_delta_sensor`.
pub(super) fn time_delta(fields: &Fields<'_>, problems: &mut Problems) -> Option<TimeDeltaSensor> {
    let delta_secs = fields.take("delta")?.duration(problems)?.as_secs_f64();
    Some(TimeDeltaSensor { delta_secs, poking: poking(fields, problems)? })
}

/// Reads `http_sensor`.
pub(super) fn http(fields: &Fields<'_>, problems: &mut Problems) -> Option<HttpSensor> {
    Some(HttpSensor {
        request: http::request(fields, HttpMethod::Get, "request_params", problems)?,
        response_check: text_option(fields, "response_check", problems)?,
        response_error_codes_allowlist: match fields.take("response_error_codes_allowlist") {
            Some(item) => statuses(&item, problems)?,
            None => vec![NOT_FOUND],
        },
        poking: poking(fields, problems)?,
    })
}

/// Reads `sql_sensor`.
pub(super) fn sql(fields: &Fields<'_>, files: &mut FileSet<'_>, problems: &mut Problems) -> Option<SqlSensor> {
    let item = fields.take("sql")?;
    let query = item.text(problems)?;
    Some(SqlSensor {
        conn_id: text(fields, "conn_id", problems)?,
        sql: sql_source(&query, &item, files, problems)?,
        parameters: parameters(fields, problems)?,
        success: text_option(fields, "success", problems)?,
        failure: text_option(fields, "failure", problems)?,
        fail_on_empty: truth_or(fields, "fail_on_empty", false, problems)?,
        poking: poking(fields, problems)?,
    })
}

/// Reads `external_task_sensor`.
pub(super) fn external_task(fields: &Fields<'_>, problems: &mut Problems) -> Option<ExternalTaskSensor> {
    let dag_item = fields.take("external_dag_id")?;
    let external_dag_id = id::<DagId>(&dag_item.plain_text(problems)?, &dag_item, problems)?;
    let external_task_ids = match (fields.take("external_task_id"), fields.take("external_task_ids")) {
        (Some(_), Some(second)) => {
            return second.fail("external_task_id and external_task_ids are both given; keep one", problems);
        }
        (Some(item), None) | (None, Some(item)) => {
            let items = item.text_items(problems)?;
            items.iter().map(|(text, item)| id::<TaskId>(text, item, problems)).collect::<Option<Vec<_>>>()?
        }
        (None, None) => Vec::new(),
    };
    let of_run = external_task_ids.is_empty();
    let mut states = |name, absent: &[TaskState]| match fields.take(name) {
        Some(item) if of_run => Some(of_tasks(&states::<DagRunState>(&item, &run_states(), problems)?)),
        Some(item) => states::<TaskState>(&item, &task_states(), problems),
        None => Some(absent.to_vec()),
    };
    let allowed_states = states("allowed_states", &[TaskState::Success])?;
    let failed_states = states("failed_states", &[])?;
    let skipped_states = states("skipped_states", &[])?;
    let both = |state: &TaskState| {
        [&allowed_states, &failed_states, &skipped_states].iter().filter(|list| list.contains(state)).count() > 1
    };
    if let Some(state) = TaskState::ALL.iter().find(|state| both(state)) {
        problems.add(&fields.place, format!("{state} stands in two of allowed_states, failed_states, skipped_states"));
        return None;
    }
    Some(ExternalTaskSensor {
        external_dag_id,
        external_task_ids,
        execution_delta_secs: match fields.either(["execution_delta", "execution_delta_secs"], problems) {
            Some(item) => item.duration(problems)?.as_secs_f64(),
            None => 0.0,
        },
        allowed_states,
        failed_states,
        skipped_states,
        check_existence: truth_or(fields, "check_existence", false, problems)?,
        poking: poking(fields, problems)?,
    })
}

/// One state or a list of them.
pub(super) fn states<S: FromStr>(item: &Item<'_>, words: &[&'static str], problems: &mut Problems) -> Option<Vec<S>> {
    let items = item.text_items(problems)?;
    items.iter().map(|(_, item)| item.word(words, problems)).collect::<Vec<_>>().into_iter().collect()
}

/// The states of a run, by name.
pub(super) fn run_states() -> Vec<&'static str> {
    DagRunState::ALL.iter().map(|state| state.name()).collect()
}

fn task_states() -> Vec<&'static str> {
    TaskState::ALL.iter().filter(|state| **state != TaskState::NoStatus).map(|state| state.name()).collect()
}

/// A run's states are also names of task states.
fn of_tasks(states: &[DagRunState]) -> Vec<TaskState> {
    let of = |state: &DagRunState| match state {
        DagRunState::Queued => TaskState::Queued,
        DagRunState::Running => TaskState::Running,
        DagRunState::Success => TaskState::Success,
        DagRunState::Failed => TaskState::Failed,
    };
    states.iter().map(of).collect()
}

fn id<I: FromStr<Err = model::InvalidId>>(text: &str, item: &Item<'_>, problems: &mut Problems) -> Option<I> {
    text.parse().map_err(|why: model::InvalidId| problems.add(&item.place, why.to_string())).ok()
}

/// How a sensor waits.
pub(super) fn poking(fields: &Fields<'_>, problems: &mut Problems) -> Option<Poking> {
    let mode = mode(fields, problems)?;
    let absent = Poking::default();
    let poking = Poking {
        poke_interval_secs: interval(fields, absent.poke_interval_secs, problems)?,
        timeout_secs: seconds_or(fields, "timeout", absent.timeout_secs, problems)?,
        exponential_backoff: truth_or(fields, "exponential_backoff", absent.exponential_backoff, problems)?,
        max_wait_secs: match fields.take("max_wait") {
            Some(item) => Some(super::task::positive(&item, problems)?.as_secs_f64()),
            None => None,
        },
        soft_fail: truth_or(fields, "soft_fail", absent.soft_fail, problems)?,
        silent_fail: truth_or(fields, "silent_fail", absent.silent_fail, problems)?,
        never_fail: truth_or(fields, "never_fail", absent.never_fail, problems)?,
        mode,
    };
    if let (true, true, Some(item)) = (poking.soft_fail, poking.never_fail, fields.take("never_fail")) {
        return item.fail("soft_fail and never_fail are both true; keep one", problems);
    }
    Some(poking)
}

/// The pause between two looks.
pub(super) fn interval(fields: &Fields<'_>, absent: f64, problems: &mut Problems) -> Option<f64> {
    let secs = seconds_or(fields, "poke_interval", absent, problems)?;
    match fields.take("poke_interval") {
        Some(item) if secs < POKE_INTERVAL_SECS_MIN => item.fail("expected at least 100ms between two looks", problems),
        Some(_) | None => Some(secs),
    }
}

/// `deferrable: true` is a way to wait of its own, beside those that `mode` names.
fn mode(fields: &Fields<'_>, problems: &mut Problems) -> Option<PokeMode> {
    let mode = named_mode(fields, problems)?;
    match (fields.take("deferrable"), mode) {
        (Some(item), mode) if item.truth(problems)? => match mode {
            PokeMode::Reschedule => item
                .fail("deferrable: true and mode: reschedule are two ways to wait without a slot; keep one", problems),
            PokeMode::Poke | PokeMode::Deferrable => Some(PokeMode::Deferrable),
        },
        (Some(_) | None, mode) => Some(mode),
    }
}

fn named_mode(fields: &Fields<'_>, problems: &mut Problems) -> Option<PokeMode> {
    let Some(item) = fields.take("mode") else { return Some(PokeMode::Poke) };
    match item.text(problems)?.as_str() {
        "deferred" => item.fail(NO_MODE, problems),
        _ => item.word::<String>(SENSOR_MODES, problems).map(|word| match word.as_str() {
            "reschedule" => PokeMode::Reschedule,
            _ => PokeMode::Poke,
        }),
    }
}

/// Statuses as numbers or texts: Airflow writes texts.
fn statuses(item: &Item<'_>, problems: &mut Problems) -> Option<Vec<u16>> {
    let items = match item.node.value {
        Value::List(_) => item.list("a list of HTTP statuses", problems)?,
        _ => vec![item.clone()],
    };
    let mut read = |item: &Item<'_>| {
        let status = item.plain_text(problems)?.parse::<u16>().ok();
        match status.filter(|status| ERROR_STATUSES.contains(&i64::from(*status))) {
            Some(status) => Some(status),
            None => item.expected("a status from 400 to 599", problems),
        }
    };
    items.iter().map(&mut read).collect()
}
