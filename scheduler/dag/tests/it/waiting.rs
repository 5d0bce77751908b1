//! The operators that ask or wait for something outside of their run: HTTP, other DAGs, sensors.

use expect_test::expect;
use model::{
    Operator,
    operator::{HttpMethod, HttpPayload, HttpTarget, Poking, TriggerDate},
};

use crate::support::{assert_canonical, operator, refused};

#[test]
fn airflows_class_paths_mean_the_same() {
    for (path, keys) in [
        ("airflow.providers.standard.sensors.filesystem.FileSensor", "filepath: /x"),
        ("airflow.providers.http.sensors.http.HttpSensor", "endpoint: x"),
        ("airflow.providers.common.sql.sensors.sql.SqlSensor", "conn_id: pg, sql: SELECT 1"),
        ("airflow.providers.standard.sensors.external_task.ExternalTaskSensor", "external_dag_id: y"),
        ("airflow.providers.http.operators.http.HttpOperator", "endpoint: x"),
        ("airflow.providers.http.operators.http.SimpleHttpOperator", "endpoint: x"),
        ("airflow.providers.standard.operators.trigger_dagrun.TriggerDagRunOperator", "trigger_dag_id: y"),
    ] {
        let by_path = operator(&format!("operator: {path}, {keys}"));
        assert_eq!(by_path, operator(&format!("operator: {}, {keys}", by_path.name())), "{path}");
    }
}

#[test]
fn absent_keys_have_airflows_defaults() {
    let Operator::FileSensor(sensor) = operator("operator: file_sensor, filepath: /x") else { panic!("a sensor") };
    assert_eq!((sensor.poking.poke_interval_secs, sensor.poking.timeout_secs), (60.0, 604_800.0));
    assert_eq!(sensor.poking, Poking::default());
    let Operator::HttpSensor(sensor) = operator("operator: http_sensor, endpoint: a/b") else { panic!("a sensor") };
    let http_default = HttpTarget::Connection { http_conn_id: "http_default".into(), endpoint: "a/b".into() };
    assert_eq!((sensor.request.target, sensor.request.method), (http_default, HttpMethod::Get));
    assert_eq!(sensor.response_error_codes_allowlist, [404]);
    let Operator::Http(http) = operator("operator: http, url: 'https://x.test', data: {a: 1}") else { panic!("http") };
    assert_eq!(http.request.method, HttpMethod::Post);
    assert_eq!(http.request.payload, HttpPayload::Data(serde_json::json!({"a": 1})));
    assert!(http.request.options.check_response && http.request.options.verify);
}

#[test]
fn a_triggered_runs_date_is_now_none_or_what_a_template_gives() {
    let date = |key: &str| match operator(&format!("operator: trigger_dag_run, trigger_dag_id: y{key}")) {
        Operator::TriggerDagRun(task) => task.logical_date,
        other => panic!("{other:?}"),
    };
    assert_eq!(date(""), TriggerDate::Now);
    assert_eq!(date(", logical_date: null"), TriggerDate::None);
    assert_eq!(date(", logical_date: '{{ ds }}'"), TriggerDate::At("{{ ds }}".into()));
}

#[test]
fn every_operator_comes_back_from_its_canonical_form() {
    assert_canonical(&[
        "operator: http, url: 'https://x.test/{{ ds }}', method: PUT, json: [1, {a: b}], headers: {X-Key: 1}, log_response: true, extra_options: {timeout: 5s, verify: false, max_redirects: 0}",
        "operator: http, http_conn_id: api, endpoint: /v1, data: 'a=b', response_check: '{{ response.ok }}', response_filter: '{{ response.json().id }}'",
        "operator: http_sensor, endpoint: /x, request_params: {day: '{{ ds }}'}, response_error_codes_allowlist: ['404', 503], mode: poke",
        "operator: file_sensor, filepath: 'in/**/*.csv', fs_conn_id: fs, recursive: true, mode: reschedule, poke_interval: 10s, timeout: 2h, soft_fail: true, exponential_backoff: true, max_wait: 5m",
        "operator: sql_sensor, conn_id: pg, sql: 'SELECT :n', parameters: {n: 1}, success: '{{ value > 1 }}', failure: '{{ value < 0 }}', fail_on_empty: true, never_fail: true",
        "operator: external_task_sensor, external_dag_id: y, external_task_ids: [b, c], execution_delta: 1h, failed_states: [failed, upstream_failed], skipped_states: skipped, check_existence: true, silent_fail: true",
        "operator: external_task_sensor, external_dag_id: y, allowed_states: [success, failed], deferrable: true",
        "operator: trigger_dag_run, trigger_dag_id: y, trigger_run_id: r, conf: {a: '{{ ds }}'}, logical_date: null, reset_dag_run: true, wait_for_completion: true, poke_interval: 5s, allowed_states: [success, failed], failed_states: []",
        "operator: trigger_dag_run, trigger_dag_id: y, wait_for_completion: true, deferrable: true",
        "operator: trigger_dag_run, trigger_dag_id: y, logical_date: 2026-01-31T06:00:00Z, skip_when_already_exists: true, fail_when_dag_is_paused: true",
    ]);
}

#[test]
fn mistakes_are_refused_with_their_place() {
    expect![[r#"
        dags/x.yaml:3:5: tasks[0]: filepath is missing
        dags/x.yaml:4:61: tasks[1].mode: mode: deferred is no mode; deferrable: true waits without a slot
        dags/x.yaml:5:61: tasks[2].mode: expected one of poke, reschedule, found "pokes"; did you mean "poke"?
        dags/x.yaml:5:68: tasks[2].poke_intervall: unknown field; did you mean "poke_interval"?
        dags/x.yaml:6:67: tasks[3].deferrable: deferrable: true and mode: reschedule are two ways to wait without a slot; keep one
        dags/x.yaml:7:84: tasks[4].never_fail: soft_fail and never_fail are both true; keep one
        dags/x.yaml:8:70: tasks[5].poke_interval: expected at least 100ms between two looks
        dags/x.yaml:9:73: tasks[6].endpoint: url is the whole address: keep it, or http_conn_id with endpoint
        dags/x.yaml:10:87: tasks[7].response_error_codes_allowlist[0]: expected a status from 400 to 599, found the number 200
        dags/x.yaml:11:39: tasks[8].url: expected a URL that begins with http:// or https://, or a template
        dags/x.yaml:12:55: tasks[9].method: expected one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, found "get"; did you mean "GET"?
        dags/x.yaml:13:75: tasks[10].headers.a b: a header's name has only letters, digits and -
        dags/x.yaml:14:56: tasks[11].json: data and json are both given; keep one
        dags/x.yaml:15:72: tasks[12].extra_options.timeout: expected a duration longer than 0
        dags/x.yaml:15:75: tasks[12].extra_options.verfy: unknown field; did you mean "verify"?
        dags/x.yaml:16:61: tasks[13].trigger_dag_id: dag_id "a/b" is not valid: use 1 to 250 characters of A-Z a-z 0-9 _.-
        dags/x.yaml:17:94: tasks[14].conf: expected a mapping, or a template that gives one, found the number 3
        dags/x.yaml:18:81: tasks[15].allowed_states[0]: expected one of queued, running, success, failed, found "sucess"; did you mean "success"?
        dags/x.yaml:19:5: tasks[16]: failed stands in allowed_states and in failed_states
        dags/x.yaml:20:86: tasks[17].allowed_states: expected one of queued, running, success, failed, found "skipped"
    "#]].assert_eq(&refused(&[
        "operator: file_sensor",
        "operator: file_sensor, filepath: /x, mode: deferred",
        "operator: file_sensor, filepath: /x, mode: pokes, poke_intervall: 3",
        "operator: file_sensor, filepath: /x, deferrable: true, mode: reschedule",
        "operator: file_sensor, filepath: /x, soft_fail: true, never_fail: true",
        "operator: file_sensor, filepath: /x, poke_interval: 1ms",
        "operator: http_sensor, url: 'http://x.test', endpoint: /y",
        "operator: http_sensor, endpoint: x, response_error_codes_allowlist: [200]",
        "operator: http, url: x.test",
        "operator: http, endpoint: x, method: get",
        "operator: http, endpoint: x, data: [1], headers: {'a b': 1}",
        "operator: http, endpoint: x, data: a, json: {}",
        "operator: http, endpoint: x, extra_options: {timeout: 0, verfy: false}",
        "operator: trigger_dag_run, trigger_dag_id: a/b",
        "operator: trigger_dag_run, trigger_dag_id: y, logical_date: tomorrow, conf: 3",
        "operator: trigger_dag_run, trigger_dag_id: y, allowed_states: [sucess]",
        "operator: trigger_dag_run, trigger_dag_id: y, allowed_states: [failed]",
        "operator: external_task_sensor, external_dag_id: y, allowed_states: skipped",
        "operator: external_task_sensor, external_dag_id: y, external_task_id: b, failed_states: success",
    ]));
}

#[test]
fn who_waits_without_a_slot_says_so() {
    for (text, defers) in [
        ("operator: file_sensor, filepath: /x, deferrable: true", true),
        ("operator: time_delta_sensor, delta: 1h, deferrable: true, mode: poke", true),
        ("operator: sql_sensor, conn_id: pg, sql: SELECT 1, deferrable: false", false),
        ("operator: trigger_dag_run, trigger_dag_id: y, wait_for_completion: true, deferrable: true", true),
        // As in Airflow: without a wait there is nothing to defer.
        ("operator: trigger_dag_run, trigger_dag_id: y, deferrable: true", false),
    ] {
        assert_eq!(operator(text).defers(), defers, "{text}");
    }
    let refused = refused(&["operator: bash, bash_command: x, deferrable: true"]);
    let says = "tasks[0].deferrable: only sensors and trigger_dag_run wait without a slot; leave it out";
    assert!(refused.contains(says), "{refused}");
}

#[test]
fn a_function_has_to_be_named() {
    expect![[r#"
        dags/x.yaml:3:5: tasks[0]: python_callable is missing: module.function, or python_callable_file and python_callable_name
        dags/x.yaml:4:5: tasks[1]: python_callable is missing: module.function, or python_callable_file and python_callable_name
        dags/x.yaml:5:5: tasks[2]: python_callable is missing: module.function, or python_callable_file and python_callable_name
    "#]].assert_eq(&refused(&[
        "operator: airflow.providers.standard.operators.python.BranchPythonOperator",
        "operator: airflow.operators.python.PythonOperator",
        "operator: ShortCircuitOperator",
    ]));
}

#[test]
fn time_sensors_name_a_moment_or_how_long_after_the_run() {
    assert_canonical(&[
        "operator: DateTimeSensor, target_time: '{{ data_interval_end.replace(hour=6) }}', poke_interval: 5s",
        "operator: date_time_sensor, target_time: 2026-01-31T06:00:00",
        "operator: airflow.sensors.time_delta.TimeDeltaSensor, delta: 90m, soft_fail: true",
    ]);
    let problems = refused(&[
        "operator: date_time_sensor, target_time: tomorrow",
        "operator: time_delta_sensor, delta: soon",
        "operator: time_delta_sensor",
    ]);
    for says in ["target_time: expected a date such as", "delta: expected a duration such as", "delta is missing"] {
        assert!(problems.contains(says), "{problems}");
    }
}
