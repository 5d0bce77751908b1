//! The canonical form of each operator's own keys.

use std::{collections::BTreeMap, time::Duration};

use model::{
    Operator,
    operator::{
        Bash, Python, PythonCallable, PythonSource, ReadyWhen, Returns, ServiceSpec, SkipReach, Sql, SqlOutput,
        SqlParameters, SqlSource,
    },
};
use serde_json::{Map, Value, json};

use super::{Fields, asking, docker, duration_text, kafka, waiting};

/// Says an operator's own keys.
pub(super) fn fields(operator: &Operator, fields: &mut Fields) {
    match operator {
        Operator::Empty | Operator::LatestOnly => {}
        Operator::Bash(bash) => bash_fields(bash, fields),
        Operator::Python(python) => python_fields(python, fields),
        Operator::Sql(sql) | Operator::SqlCheck(sql) => sql_fields(sql, fields),
        Operator::Service(task) => {
            let services: Vec<Value> = task.services.iter().map(service_value).collect();
            fields.put("services", services);
            fields.put("ready_timeout", seconds_text(task.ready_timeout_secs));
        }
        Operator::Docker(keys) => docker::docker_fields(keys, fields),
        Operator::Branch(branch) => fields.put("follow", branch.follow.clone()),
        Operator::ShortCircuit(circuit) => {
            fields.put("condition", circuit.condition.clone());
            let all = circuit.reach == SkipReach::AllDownstream;
            fields.unless("ignore_downstream_trigger_rules", all, &true);
        }
        Operator::Http(task) => waiting::http(task, fields),
        Operator::TriggerDagRun(task) => waiting::trigger_dag_run(task, fields),
        Operator::FileSensor(sensor) => waiting::file_sensor(sensor, fields),
        Operator::HttpSensor(sensor) => waiting::http_sensor(sensor, fields),
        Operator::SqlSensor(sensor) => waiting::sql_sensor(sensor, fields),
        Operator::ExternalTaskSensor(sensor) => waiting::external_task_sensor(sensor, fields),
        Operator::KafkaProduce(task) => kafka::produce(task, fields),
        Operator::KafkaConsume(task) => kafka::consume(task, fields),
        Operator::KafkaSensor(sensor) => kafka::sensor(sensor, fields),
        Operator::KafkaTopic(task) => kafka::topic(task, fields),
        Operator::KafkaLag(task) => kafka::lag(task, fields),
        Operator::PythonCallable(task) => callable_fields(task, fields),
        Operator::Approval(task) => asking::approval(task, fields),
        Operator::Choice(task) => asking::choice(task, fields),
        Operator::DateTimeSensor(sensor) => {
            fields.put("target_time", sensor.target_time.clone());
            waiting::poking(&sensor.poking, fields);
        }
        Operator::TimeDeltaSensor(sensor) => {
            fields.put("delta", seconds_text(sensor.delta_secs));
            waiting::poking(&sensor.poking, fields);
        }
    }
}

fn bash_fields(bash: &Bash, fields: &mut Fields) {
    fields.put("bash_command", bash.bash_command.clone());
    environment(&bash.env, &bash.pass_env, fields);
    fields.unless("append_env", bash.append_env, &false);
    fields.some("cwd", bash.cwd.clone());
    fields.put("skip_on_exit_code", bash.skip_on_exit_code.clone());
}

fn python_fields(python: &Python, fields: &mut Fields) {
    match &python.source {
        PythonSource::Script(name) => fields.put("script", name.clone()),
        PythonSource::Inline(code) => fields.put("python", code.clone()),
    }
    fields.list("args", &python.args);
    environment(&python.env, &python.pass_env, fields);
    fields.some("python_bin", python.python_bin.clone());
}

fn callable_fields(task: &PythonCallable, fields: &mut Fields) {
    fields.put("python_callable_file", task.file.clone());
    fields.put("python_callable_name", task.function.clone());
    fields.list("op_args", &task.op_args);
    if !task.op_kwargs.is_empty() {
        fields.put("op_kwargs", task.op_kwargs.clone());
    }
    fields.some("templates_dict", task.templates_dict.clone());
    match task.returns {
        Returns::Value => {}
        Returns::Follow => fields.put("returns", "follow"),
        Returns::Proceed(reach) => {
            fields.put("returns", "proceed");
            fields.unless("ignore_downstream_trigger_rules", reach == SkipReach::AllDownstream, &true);
        }
    }
    environment(&task.env, &task.pass_env, fields);
    fields.some("python_bin", task.python_bin.clone());
}

fn sql_fields(sql: &Sql, fields: &mut Fields) {
    fields.put("conn_id", sql.conn_id.clone());
    let source = |source: &SqlSource| match source {
        SqlSource::File(text) | SqlSource::Text(text) => Value::from(text.clone()),
    };
    fields.put("sql", sql.sql.iter().map(source).collect::<Vec<_>>());
    match &sql.parameters {
        parameters if parameters.is_empty() => {}
        SqlParameters::Named(named) => fields.put("parameters", named.clone().into_iter().collect::<Map<_, _>>()),
        SqlParameters::Template(template) => fields.put("parameters", template.clone()),
    }
    match sql.output {
        SqlOutput::None => {}
        SqlOutput::Rows => fields.put("output", "rows"),
    }
}

fn service_value(spec: &ServiceSpec) -> Value {
    let mut fields = Fields::default();
    fields.put("name", spec.name.clone());
    fields.list("command", &spec.command);
    if let Some(container) = &spec.container {
        docker::container_fields(container, &mut fields);
    }
    fields.put("replicas", spec.replicas);
    environment(&spec.env, &spec.pass_env, &mut fields);
    fields.put(
        "ready_when",
        match &spec.ready_when {
            ReadyWhen::Started => json!("started"),
            ReadyWhen::CaughtUp => json!("caught_up"),
            ReadyWhen::Metric { name, at_least } => json!({"metric": name, "at_least": at_least}),
        },
    );
    fields.put("stop_timeout", seconds_text(spec.stop_timeout_secs));
    fields.into_value()
}

pub(super) fn environment(env: &BTreeMap<String, String>, pass_env: &[String], fields: &mut Fields) {
    if !env.is_empty() {
        fields.put(
            "env",
            env.iter().map(|(name, text)| (name.clone(), Value::from(text.clone()))).collect::<Map<_, _>>(),
        );
    }
    fields.list("pass_env", pass_env);
}

/// A number of seconds as a duration that reads well.
pub(super) fn seconds_text(seconds: f64) -> String {
    duration_text(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}
