//! The canonical form of the operators that ask or wait for something outside of their run.

use model::{
    DagRunState, TaskState,
    operator::{
        ExternalTaskSensor, FileSensor, Http, HttpMethod, HttpOptions, HttpPayload, HttpRequest, HttpSensor,
        HttpTarget, PokeMode, Poking, SqlParameters, SqlSensor, SqlSource, TriggerDagRunTask, TriggerDate,
    },
};
use serde_json::{Map, Value};

use super::{Fields, operator::seconds_text};

pub(super) fn http(http: &Http, fields: &mut Fields) {
    request(&http.request, HttpMethod::Post, "data", fields);
    fields.some("response_check", http.response_check.clone());
    fields.some("response_filter", http.response_filter.clone());
    fields.unless("log_response", http.log_response, &false);
}

pub(super) fn http_sensor(sensor: &HttpSensor, fields: &mut Fields) {
    request(&sensor.request, HttpMethod::Get, "request_params", fields);
    fields.some("response_check", sensor.response_check.clone());
    fields.put("response_error_codes_allowlist", sensor.response_error_codes_allowlist.clone());
    poking(&sensor.poking, fields);
}

pub(super) fn file_sensor(sensor: &FileSensor, fields: &mut Fields) {
    fields.put("filepath", sensor.filepath.clone());
    fields.some("fs_conn_id", sensor.fs_conn_id.clone());
    fields.unless("recursive", sensor.recursive, &false);
    poking(&sensor.poking, fields);
}

pub(super) fn sql_sensor(sensor: &SqlSensor, fields: &mut Fields) {
    fields.put("conn_id", sensor.conn_id.clone());
    let (SqlSource::File(text) | SqlSource::Text(text)) = &sensor.sql;
    fields.put("sql", text.clone());
    match &sensor.parameters {
        parameters if parameters.is_empty() => {}
        SqlParameters::Named(named) => fields.put("parameters", named.clone().into_iter().collect::<Map<_, _>>()),
        SqlParameters::Template(template) => fields.put("parameters", template.clone()),
    }
    fields.some("success", sensor.success.clone());
    fields.some("failure", sensor.failure.clone());
    fields.unless("fail_on_empty", sensor.fail_on_empty, &false);
    poking(&sensor.poking, fields);
}

pub(super) fn external_task_sensor(sensor: &ExternalTaskSensor, fields: &mut Fields) {
    fields.put("external_dag_id", sensor.external_dag_id.as_str());
    let ids: Vec<&str> = sensor.external_task_ids.iter().map(|id| id.as_str()).collect();
    fields.list("external_task_ids", &ids);
    if sensor.execution_delta_secs > 0.0 {
        fields.put("execution_delta", seconds_text(sensor.execution_delta_secs));
    }
    let names = |states: &[TaskState]| states.iter().map(|state| state.name()).collect::<Vec<_>>();
    fields.put("allowed_states", names(&sensor.allowed_states));
    fields.list("failed_states", &names(&sensor.failed_states));
    fields.list("skipped_states", &names(&sensor.skipped_states));
    fields.unless("check_existence", sensor.check_existence, &false);
    poking(&sensor.poking, fields);
}

pub(super) fn trigger_dag_run(task: &TriggerDagRunTask, fields: &mut Fields) {
    fields.put("trigger_dag_id", task.trigger_dag_id.clone());
    fields.some("trigger_run_id", task.trigger_run_id.clone());
    if !task.conf.is_null() {
        fields.put("conf", task.conf.clone());
    }
    match &task.logical_date {
        TriggerDate::Now => {}
        TriggerDate::None => fields.put("logical_date", Value::Null),
        TriggerDate::At(template) => fields.put("logical_date", template.clone()),
    }
    fields.unless("reset_dag_run", task.reset_dag_run, &false);
    fields.unless("skip_when_already_exists", task.skip_when_already_exists, &false);
    fields.unless("fail_when_dag_is_paused", task.fail_when_dag_is_paused, &false);
    fields.unless("wait_for_completion", task.wait_for_completion, &false);
    fields.unless("deferrable", task.deferrable, &false);
    fields.put("poke_interval", seconds_text(task.poke_interval_secs));
    let names = |states: &[DagRunState]| states.iter().map(|state| state.name()).collect::<Vec<_>>();
    fields.put("allowed_states", names(&task.allowed_states));
    fields.put("failed_states", names(&task.failed_states));
}

pub(super) fn request(request: &HttpRequest, absent: HttpMethod, data_key: &str, fields: &mut Fields) {
    match &request.target {
        HttpTarget::Url(url) => fields.put("url", url.clone()),
        HttpTarget::Connection { http_conn_id, endpoint } => {
            fields.put("http_conn_id", http_conn_id.clone());
            fields.unless("endpoint", endpoint.clone(), &String::new());
        }
    }
    fields.unless("method", request.method.name(), &absent.name());
    if !request.headers.is_empty() {
        let headers = request.headers.iter().map(|(name, text)| (name.clone(), Value::from(text.clone())));
        fields.put("headers", headers.collect::<Map<_, _>>());
    }
    match &request.payload {
        HttpPayload::None => {}
        HttpPayload::Data(data) => fields.put(data_key, data.clone()),
        HttpPayload::Json(body) => fields.put("json", body.clone()),
    }
    if request.options != HttpOptions::default() {
        fields.put("extra_options", options(&request.options));
    }
}

fn options(options: &HttpOptions) -> Value {
    let absent = HttpOptions::default();
    let mut fields = Fields::default();
    fields.unless("timeout", seconds_text(options.timeout_secs), &seconds_text(absent.timeout_secs));
    fields.unless("allow_redirects", options.allow_redirects, &absent.allow_redirects);
    fields.unless("max_redirects", options.max_redirects, &absent.max_redirects);
    fields.unless("check_response", options.check_response, &absent.check_response);
    fields.unless("verify", options.verify, &absent.verify);
    fields.into_value()
}

pub(super) fn poking(poking: &Poking, fields: &mut Fields) {
    fields.put("poke_interval", seconds_text(poking.poke_interval_secs));
    fields.put("timeout", seconds_text(poking.timeout_secs));
    fields.unless("exponential_backoff", poking.exponential_backoff, &false);
    fields.some("max_wait", poking.max_wait_secs.map(seconds_text));
    fields.unless("soft_fail", poking.soft_fail, &false);
    fields.unless("silent_fail", poking.silent_fail, &false);
    fields.unless("never_fail", poking.never_fail, &false);
    match poking.mode {
        PokeMode::Poke => {}
        PokeMode::Reschedule => fields.put("mode", "reschedule"),
        PokeMode::Deferrable => fields.put("deferrable", true),
    }
}
