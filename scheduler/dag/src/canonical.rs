//! The canonical form of a DAG: the same text for the same meaning, whatever the file looked like.
//!
//! It is a DAG file again, and loading it gives the same DAG. What equals the default is left out, what is derived
//! (weights, owners) too. A version's identity is the hash of this text and of the files that it names.

mod asking;
mod assets;
mod callbacks;
mod docker;
mod emit;
mod kafka;
mod operator;
mod waiting;

use std::time::Duration;

use chrono::SecondsFormat;
use model::{RetryAction, RetryRule, Timestamp, TriggerRule, WeightRule};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    compiled::{Catchup, CronTimetable, Dag, DagFile, DeltaTimetable, Overlap, Param, RunImmediately, Schedule, Task},
    expand::{Expand, ExpandBy, Over},
    scopes::Phase,
};

/// A mapping that leaves out what need not be said.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    /// Says it.
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// Says it when it is there.
    fn some(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    /// Says it when it is not what everybody expects.
    fn unless<T: Into<Value> + PartialEq>(&mut self, name: &str, value: T, default: &T) {
        if value != *default {
            self.put(name, value);
        }
    }

    /// Says it when there is something in it.
    fn list(&mut self, name: &str, values: &[impl Clone + Into<Value>]) {
        if !values.is_empty() {
            self.put(name, values.iter().cloned().map(Into::into).collect::<Vec<Value>>());
        }
    }

    fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

/// Any JSON value as a YAML document: reading it back gives the same value.
#[must_use]
pub fn yaml_of(value: &Value) -> String {
    emit::document(value)
}

/// The canonical form.
pub(crate) fn yaml(dag: &Dag) -> String {
    emit::document(&dag_value(dag))
}

/// SHA-256 in hex of the canonical form and the files.
pub(crate) fn content_hash(canonical_yaml: &str, files: &[DagFile]) -> String {
    let mut hash = Sha256::new();
    hash.update(canonical_yaml);
    for file in files {
        // Neither a name nor a hash in hex has a zero byte, so no two lists of files give the same bytes.
        hash.update([0]);
        hash.update(&file.name);
        hash.update([0]);
        hash.update(&file.sha256);
    }
    hex::encode(hash.finalize())
}

/// An operator's own keys.
pub(crate) fn operator_fields(operator: &model::Operator) -> Map<String, Value> {
    let mut fields = Fields::default();
    operator::fields(operator, &mut fields);
    fields.0
}

fn dag_value(dag: &Dag) -> Value {
    let mut fields = Fields::default();
    fields.put("dag_id", dag.dag_id.as_str());
    fields.some("dag_display_name", dag.dag_display_name.clone());
    fields.some("description", dag.description.clone());
    fields.some("doc_md", dag.doc_md.clone());
    fields.list("tags", &dag.tags);
    fields.put("schedule", assets::with_assets(schedule_value(&dag.schedule), dag.assets.as_ref()));
    match dag.relative_start {
        // When it was pinned is no part of what the file says.
        Some(relative) => {
            fields.put("start_date", duration_text(relative.before));
            fields.unless("timezone", relative.timezone.name(), &chrono_tz::Tz::UTC.name());
        }
        None => fields.some("start_date", dag.start_date.map(date_text)),
    }
    fields.some("end_date", dag.end_date.map(date_text));
    fields.put("catchup", dag.catchup == Catchup::All);
    fields.put("is_paused_upon_creation", dag.is_paused_upon_creation);
    fields.put("max_active_runs", dag.max_active_runs);
    fields.put("max_active_tasks", dag.max_active_tasks);
    fields.unless("max_consecutive_failed_dag_runs", dag.max_consecutive_failed_dag_runs, &0);
    fields.some("dagrun_timeout", dag.dagrun_timeout.map(duration_text));
    if let Some(types) = &dag.allowed_run_types {
        fields.put("allowed_run_types", types.iter().map(|one| one.name()).collect::<Vec<_>>());
    }
    fields.unless("overlap", dag.overlap.name(), &Overlap::Queue.name());
    fields.unless("fail_fast", dag.fail_fast, &false);
    callbacks::of_run(&dag.callbacks, &mut fields);
    callbacks::deadlines(&dag.deadlines, &mut fields);
    fields.unless("render_template_as_native_obj", dag.render_template_as_native_obj, &false);
    if !dag.user_defined_macros.is_empty() {
        fields.put("user_defined_macros", dag.user_defined_macros.clone());
    }
    if !dag.params.is_empty() {
        let params = dag.params.iter().map(|(name, param)| (name.clone(), param_value(param)));
        fields.put("params", params.collect::<Map<_, _>>());
    }
    fields.list("files", &dag.files.keys().cloned().collect::<Vec<_>>());
    let groups: Vec<Value> = dag.groups.iter().map(group_value).collect();
    fields.list("task_groups", &groups);
    let tasks: Vec<Value> = dag.tasks.iter().map(|task| task_value(dag, task)).collect();
    fields.put("tasks", tasks);
    fields.into_value()
}

fn schedule_value(schedule: &Schedule) -> Value {
    match schedule {
        Schedule::Never => Value::Null,
        Schedule::Once => json!("@once"),
        Schedule::Continuous => json!("@continuous"),
        Schedule::Delta { every, months, timetable } => {
            let mut fields = Fields::default();
            fields.put("duration", calendar_text(*months, *every));
            fields.put(
                "timetable",
                match timetable {
                    DeltaTimetable::DeltaTrigger => "delta_trigger",
                    DeltaTimetable::DeltaDataInterval => "delta_data_interval",
                },
            );
            fields.into_value()
        }
        Schedule::Cron { expressions, timezone, timetable, ticks } => {
            let mut fields = Fields::default();
            match expressions.as_slice() {
                [one] => fields.put("cron", one.clone()),
                many => fields.put("cron", many.to_vec()),
            }
            fields.put("timezone", timezone.name());
            fields.put(
                "timetable",
                match timetable {
                    CronTimetable::CronTrigger => "cron_trigger",
                    CronTimetable::CronDataInterval => "cron_data_interval",
                },
            );
            fields.some("interval", ticks.interval.map(duration_text));
            match ticks.run_immediately {
                RunImmediately::Always => fields.put("run_immediately", true),
                RunImmediately::Within(lateness) => fields.put("run_immediately", duration_text(lateness)),
                RunImmediately::WhenRecent => {}
            }
            fields.into_value()
        }
    }
}

fn param_value(param: &Param) -> Value {
    let mut fields = match &param.schema {
        Value::Object(schema) => Fields(schema.clone()),
        _ => Fields::default(),
    };
    // A file's order of keywords has no meaning.
    fields.0.sort_keys();
    // An empty mapping would be read as the value.
    if !param.default.is_null() || (fields.0.is_empty() && param.description.is_none()) {
        fields.put("default", param.default.clone());
    }
    fields.some("description", param.description.clone());
    fields.into_value()
}

fn group_value(group: &crate::TaskGroup) -> Value {
    let mut fields = Fields::default();
    match group.group_id.rsplit_once('.') {
        Some((outer, name)) => {
            fields.put("group_name", name);
            fields.put("parent_group_name", outer.rsplit('.').next().unwrap_or(outer));
        }
        None => fields.put("group_name", group.group_id.clone()),
    }
    fields.some("tooltip", group.tooltip.clone());
    if let Some(expand) = &group.expand {
        expand_by(expand, &mut fields);
    }
    fields.into_value()
}

fn task_value(dag: &Dag, task: &Task) -> Value {
    let mut fields = Fields::default();
    let id = task.task_id.as_str();
    let in_group = task.group.as_deref().and_then(|group| id.strip_prefix(group)?.strip_prefix('.'));
    fields.put("task_id", in_group.unwrap_or(id));
    fields.some("task_group_name", task.group.clone());
    fields.put("operator", task.operator.name());
    operator::fields(&task.operator, &mut fields);
    // What its instances get is said by what it is expanded over.
    task.expand.iter().flat_map(|expand| &expand.keys).for_each(|name| drop(fields.0.remove(name)));
    let upstream: Vec<&str> = task.upstream.iter().map(|pos| dag.task(*pos).task_id.as_str()).collect();
    fields.list("dependencies", &upstream);
    expand_fields(task, &mut fields);
    match task.phase {
        Phase::Work => fields.unless("trigger_rule", task.trigger_rule.name(), &TriggerRule::AllSuccess.name()),
        Phase::Setup => {
            fields.put("setup", true);
            fields.unless("trigger_rule", task.trigger_rule.name(), &TriggerRule::AllSuccess.name());
        }
        // Its rule goes without saying, and its setups are the ones directly before it.
        Phase::Teardown { on_failure_fail_dagrun } => {
            fields.put("teardown", true);
            fields.unless("on_failure_fail_dagrun", on_failure_fail_dagrun, &false);
        }
    }
    fields.put("retries", task.retries);
    fields.put("retry_delay", duration_text(task.retry_delay));
    fields.some("retry_exponential_backoff", task.retry_exponential_backoff);
    fields.some("max_retry_delay", task.max_retry_delay.map(duration_text));
    fields.list("retry_policy", &task.retry_policy.iter().map(retry_rule_value).collect::<Vec<_>>());
    fields.some("execution_timeout", task.execution_timeout.map(duration_text));
    fields.some("task_queued_timeout", task.task_queued_timeout.map(duration_text));
    fields.put("pool", task.pool.clone());
    fields.unless("pool_slots", task.pool_slots, &1);
    fields.unless("priority_weight", task.priority_weight, &1);
    fields.unless("weight_rule", task.weight_rule.name(), &WeightRule::Downstream.name());
    fields.some("max_active_tis_per_dag", task.max_active_tis_per_dag);
    fields.some("max_active_tis_per_dagrun", task.max_active_tis_per_dagrun);
    fields.some("start_date", task.start_date.map(date_text));
    fields.some("end_date", task.end_date.map(date_text));
    fields.unless("depends_on_past", task.depends_on_past, &false);
    fields.unless("wait_for_downstream", task.wait_for_downstream, &false);
    fields.unless("ignore_first_depends_on_past", task.ignore_first_depends_on_past, &true);
    fields.unless("wait_for_past_depends_before_skipping", task.wait_for_past_depends_before_skipping, &false);
    fields.unless("do_xcom_push", task.do_xcom_push, &true);
    fields.unless("multiple_outputs", task.multiple_outputs, &false);
    fields.unless("queue", task.queue.clone(), &Dag::DEFAULT_QUEUE.to_owned());
    fields.put("owner", task.owner.clone());
    fields.some("task_display_name", task.task_display_name.clone());
    if !task.params.is_empty() {
        let value =
            |default: &Value| Param { schema: Value::Object(Map::new()), default: default.clone(), description: None };
        let params = task.params.iter().map(|(name, given)| (name.clone(), param_value(&value(given))));
        fields.put("params", params.collect::<Map<_, _>>());
    }
    fields.some("doc_md", task.doc_md.clone());
    fields.list("outlets", &assets::values(&task.outlets));
    fields.list("inlets", &assets::values(&task.inlets));
    callbacks::of_task(&task.callbacks, &mut fields);
    fields.into_value()
}

fn expand_fields(task: &Task, fields: &mut Fields) {
    let Some(expand) = &task.expand else { return };
    if expand.group.is_none() {
        expand_by(expand, fields);
    }
    fields.some("map_index_template", expand.map_index_template.clone());
}

fn expand_by(expand: &Expand, fields: &mut Fields) {
    match &expand.by {
        ExpandBy::Product(inputs) => {
            let inputs = inputs.iter().map(|(name, over)| (name.clone(), over_value(over)));
            fields.put("expand", inputs.collect::<Map<_, _>>());
        }
        ExpandBy::Kwargs(over) => fields.put("expand_kwargs", over_value(over)),
    }
}

fn over_value(over: &Over) -> Value {
    let all = |parts: &[Over]| parts.iter().map(over_value).collect::<Vec<Value>>();
    match over {
        Over::Literal(values) => Value::Array(values.clone()),
        Over::Output(task) => json!(format!("{task}.output")),
        Over::Zip { of, fillvalue: None } => json!({ "zip": all(of) }),
        Over::Zip { of, fillvalue: Some(fill) } => json!({ "zip": all(of), "fillvalue": fill }),
        Over::Concat(parts) => json!({ "concat": all(parts) }),
    }
}

fn retry_rule_value(rule: &RetryRule) -> Value {
    let mut fields = Fields::default();
    fields.list("exit_code", &rule.exit_codes);
    fields.some("log_matches", rule.log_matches.clone());
    match rule.action {
        RetryAction::Fail => fields.put("action", "fail"),
        RetryAction::Retry { delay_secs } => {
            fields.put("action", "retry");
            fields.some("delay", delay_secs.map(operator::seconds_text));
        }
    }
    fields.into_value()
}

fn date_text(date: Timestamp) -> String {
    date.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// `14 months 1d`, or without months the rest alone.
fn calendar_text(months: u32, rest: Duration) -> String {
    match (months, rest) {
        (0, rest) => duration_text(rest),
        (months, Duration::ZERO) => format!("{months} months"),
        (months, rest) => format!("{months} months {}", duration_text(rest)),
    }
}

/// `1d2h3m4s`, with a fraction of a second when there is one.
fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "m")];
    let mut text: String =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    let rest = Duration::new(seconds % 60, duration.subsec_nanos());
    if !rest.is_zero() || text.is_empty() {
        text += &format!("{}s", rest.as_secs_f64());
    }
    text
}
