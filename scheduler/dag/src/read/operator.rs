//! Operators and their own keys. Texts that are templates are stored as they are; nothing here renders one.

use std::collections::BTreeMap;

use model::{
    Operator,
    operator::{Bash, Branch, Python, PythonSource, ShortCircuit, SkipReach, Sql, SqlOutput, SqlParameters, SqlSource},
};

use super::{
    asking, callable, docker,
    fields::{Fields, Item},
    http, kafka, sensor, service,
    task::positive,
    trigger,
};
use crate::{
    files::FileSet,
    keys::{self, OPERATORS, OPERATORS_NOT_YET, OperatorKeys},
    problem::Problems,
    yaml::Value,
};

/// The exit code that means skipped, as in Airflow.
const SKIP_EXIT_CODE: i32 = 99;

/// Which operator a task names.
pub(super) fn keys_of(fields: &Fields<'_>, problems: &mut Problems) -> Option<&'static OperatorKeys> {
    let item = fields.required("operator", problems)?;
    let name = item.text(problems)?;
    if let Some(operator) = keys::operator(&name) {
        let calls =
            operator.name == "python" && keys::python::FUNCTION_KEYS.iter().any(|key| fields.take(key).is_some());
        return if calls { keys::operator(keys::python::CALLABLE) } else { Some(operator) };
    }
    let known = OPERATORS.iter().map(|operator| operator.name).collect::<Vec<_>>().join(", ");
    if let Some(instead) = keys::python_instead(&name) {
        return item
            .fail(format!("operator {name} calls a Python function, which YAML does not have: {instead}"), problems);
    }
    if OPERATORS_NOT_YET.contains(&name.as_str()) || name.contains('.') || name.ends_with("Operator") {
        return item.fail(format!("operator {name} is not supported yet; there are {known}"), problems);
    }
    let suggestion = problems.did_you_mean(&name, OPERATORS.iter().map(|operator| operator.name));
    problems.add_with(&item.place, format!("operator {name:?} is not known; there are {known}"), suggestion);
    None
}

/// Reads an operator's own keys.
pub(super) fn read(
    operator: &OperatorKeys,
    fields: &Fields<'_>,
    files: &mut FileSet<'_>,
    problems: &mut Problems,
) -> Option<Operator> {
    let missing = operator.required.iter().filter(|name| fields.required(name, problems).is_none()).count();
    if missing > 0 {
        return None;
    }
    match operator.name {
        "empty" => Some(Operator::Empty),
        "latest_only" => Some(Operator::LatestOnly),
        "bash" => bash(fields, problems).map(Operator::Bash),
        "python" => python(fields, files, problems).map(Operator::Python),
        "sql" => sql(fields, files, problems).map(Operator::Sql),
        "sql_check" => sql(fields, files, problems).map(Operator::SqlCheck),
        "service" => service::read(fields, problems).map(Operator::Service),
        "docker" => docker::read(fields, problems).map(Box::new).map(Operator::Docker),
        "branch" => Some(Operator::Branch(Branch { follow: text(fields, "follow", problems)? })),
        "short_circuit" => short_circuit(fields, problems).map(Operator::ShortCircuit),
        "http" => http::read(fields, problems).map(Operator::Http),
        "trigger_dag_run" => trigger::read(fields, problems).map(Operator::TriggerDagRun),
        "file_sensor" => sensor::file(fields, problems).map(Operator::FileSensor),
        "http_sensor" => sensor::http(fields, problems).map(Operator::HttpSensor),
        "sql_sensor" => sensor::sql(fields, files, problems).map(Operator::SqlSensor),
        "external_task_sensor" => sensor::external_task(fields, problems).map(Operator::ExternalTaskSensor),
        "kafka_produce" => kafka::produce(fields, problems).map(Operator::KafkaProduce),
        "kafka_consume" => kafka::consume(fields, problems).map(Operator::KafkaConsume),
        "kafka_sensor" => kafka::sensor(fields, problems).map(Operator::KafkaSensor),
        "kafka_topic" => kafka::topic_task(fields, problems).map(Operator::KafkaTopic),
        "kafka_lag" => kafka::lag(fields, problems).map(Operator::KafkaLag),
        "date_time_sensor" => sensor::date_time(fields, problems).map(Operator::DateTimeSensor),
        "time_delta_sensor" => sensor::time_delta(fields, problems).map(Operator::TimeDeltaSensor),
        "approval" => asking::approval(fields, problems).map(Box::new).map(Operator::Approval),
        "choice" => asking::choice(fields, problems).map(Box::new).map(Operator::Choice),
        keys::python::CALLABLE => callable::read(fields, files, problems).map(Box::new).map(Operator::PythonCallable),
        other => unreachable!("the table of operators has no {other}"),
    }
}

fn bash(fields: &Fields<'_>, problems: &mut Problems) -> Option<Bash> {
    let skip = fields.all("skip_on_exit_code");
    Some(Bash {
        bash_command: text(fields, "bash_command", problems)?,
        env: optional(fields, "env", |item| item.environment(problems))?,
        pass_env: optional(fields, "pass_env", |item| item.patterns(problems))?,
        append_env: optional(fields, "append_env", |item| item.truth(problems))?,
        cwd: text_option(fields, "cwd", problems)?,
        skip_on_exit_code: match skip.first() {
            Some(item) => exit_codes(item, problems)?,
            None => vec![SKIP_EXIT_CODE],
        },
    })
}

/// One exit code or a list of them.
pub(super) fn exit_codes(item: &Item<'_>, problems: &mut Problems) -> Option<Vec<i32>> {
    match item.node.value {
        Value::List(_) => {
            let items = item.list("a list of exit codes", problems)?;
            items.iter().map(|item| item.whole(0..=255, problems)).collect()
        }
        _ => Some(vec![item.whole(0..=255, problems)?]),
    }
}

fn python(fields: &Fields<'_>, files: &mut FileSet<'_>, problems: &mut Problems) -> Option<Python> {
    let source = match (fields.take("script"), fields.take("python")) {
        (Some(item), None) => PythonSource::Script(files.add(&item.text(problems)?, &item.place, problems)?),
        (None, Some(item)) => PythonSource::Inline(item.text(problems)?),
        (Some(_), Some(second)) => return second.fail("script and python are both given; keep one", problems),
        (None, None) => {
            problems.add(&fields.place, "script is missing: the code's file, or the code itself below python");
            return None;
        }
    };
    Some(Python {
        source,
        args: optional(fields, "args", |item| item.text_list(problems))?,
        env: optional(fields, "env", |item| item.environment(problems))?,
        pass_env: optional(fields, "pass_env", |item| item.patterns(problems))?,
        python_bin: text_option(fields, "python_bin", problems)?,
    })
}

fn sql(fields: &Fields<'_>, files: &mut FileSet<'_>, problems: &mut Problems) -> Option<Sql> {
    let conn_id = text(fields, "conn_id", problems)?;
    let items = fields.take("sql")?.text_items(problems)?;
    let mut sources = Vec::new();
    for (text, item) in &items {
        sources.push(sql_source(text, item, files, problems));
    }
    if items.is_empty() {
        problems.add(&fields.place, "sql is empty: expected statements or files");
        return None;
    }
    if let Some(item) = fields.take("split_statements")
        && !item.truth(problems)?
    {
        return item.fail("not supported yet: split_statements: false; statements are always split", problems);
    }
    Some(Sql {
        conn_id,
        sql: sources.into_iter().collect::<Option<_>>()?,
        parameters: parameters(fields, problems)?,
        output: optional(fields, "output", |item| match item.word::<String>(&["none", "rows"], problems)?.as_str() {
            "rows" => Some(SqlOutput::Rows),
            _ => Some(SqlOutput::None),
        })?,
    })
}

/// The bound parameters of SQL.
pub(super) fn parameters(fields: &Fields<'_>, problems: &mut Problems) -> Option<SqlParameters> {
    const WHAT: &str = "a mapping of names to values, or a template that gives one";
    let Some(item) = fields.take("parameters") else { return Some(SqlParameters::default()) };
    match &item.node.value {
        Value::Text(text) if text.contains("{{") || text.contains("{%") => {
            item.text(problems).map(SqlParameters::Template)
        }
        _ => {
            let layer = item.layer(WHAT, problems)?;
            let named = layer.items().map(|(key, item)| Some((key.name.to_string(), item.json(problems)?)));
            named.collect::<Option<BTreeMap<_, _>>>().map(SqlParameters::Named)
        }
    }
}

/// A single line that ends with `.sql` is the name of a file, as in Airflow.
pub(super) fn sql_source(
    text: &str,
    item: &Item<'_>,
    files: &mut FileSet<'_>,
    problems: &mut Problems,
) -> Option<SqlSource> {
    let name = text.trim();
    if name.ends_with(".sql") && !name.contains('\n') {
        return files.add(name, &item.place, problems).map(SqlSource::File);
    }
    Some(SqlSource::Text(text.to_owned()))
}

fn short_circuit(fields: &Fields<'_>, problems: &mut Problems) -> Option<ShortCircuit> {
    let condition = text(fields, "condition", problems)?;
    let reach = match fields.take("ignore_downstream_trigger_rules") {
        Some(item) if !item.truth(problems)? => SkipReach::DirectDownstream,
        Some(_) | None => SkipReach::AllDownstream,
    };
    Some(ShortCircuit { condition, reach })
}

/// The text of a key that must be there.
pub(super) fn text(fields: &Fields<'_>, name: &str, problems: &mut Problems) -> Option<String> {
    fields.take(name)?.text(problems)
}

/// A text that may be absent or empty; none when it is there and wrong.
pub(super) fn text_option(fields: &Fields<'_>, name: &str, problems: &mut Problems) -> Option<Option<String>> {
    let written = optional(fields, name, |item| item.plain_text(problems).map(Some))?;
    Some(written.filter(|text| !text.trim().is_empty()))
}

/// A truth value, or what holds when it is absent.
pub(super) fn truth_or(fields: &Fields<'_>, name: &str, absent: bool, problems: &mut Problems) -> Option<bool> {
    fields.take(name).map_or(Some(absent), |item| item.truth(problems))
}

/// A duration that is not zero, in seconds, or what holds when it is absent.
pub(super) fn seconds_or(fields: &Fields<'_>, name: &str, absent: f64, problems: &mut Problems) -> Option<f64> {
    fields.take(name).map_or(Some(absent), |item| positive(&item, problems).map(|duration| duration.as_secs_f64()))
}

/// The default when the key is absent; none when it is there and wrong.
pub(super) fn optional<'n, T: Default>(
    fields: &Fields<'n>,
    name: &str,
    read: impl FnOnce(&Item<'n>) -> Option<T>,
) -> Option<T> {
    match fields.take(name) {
        Some(item) => read(&item),
        None => Some(T::default()),
    }
}
