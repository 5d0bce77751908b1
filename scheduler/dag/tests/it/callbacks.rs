//! Callbacks, mail and deadlines: every form that a file may have, and what each becomes.

use dag::{CompiledDag, DeadlineReference};
use expect_test::{Expect, expect};
use model::{Callback, CallbackEvent};

use crate::support::{Memory, load, messages, one};

fn check(text: &str, expected: Expect) {
    let loaded = load(text);
    assert!(loaded.dags.is_empty(), "a DAG with a problem was not left out");
    expected.assert_eq(&messages(&loaded));
}

/// The only DAG of a text in a folder with these files.
fn one_of(files: &Memory, text: &str) -> CompiledDag {
    let loaded = dag::load("x.yaml", text, files);
    assert!(loaded.errors.is_empty(), "{}", messages(&loaded));
    loaded.dags.into_iter().next().expect("the text has one DAG")
}

fn of_dag(fields: &str) -> String {
    format!("dag_id: x\n{fields}\ntasks: [{{task_id: a, operator: empty}}]")
}

fn canonical(text: &str) -> String {
    let compiled = one(text);
    // It is a DAG file again that means the same.
    assert_eq!(one(&compiled.canonical_yaml).dag, compiled.dag);
    compiled.canonical_yaml
}

#[test]
fn every_form_of_a_callback_is_read_and_has_one_canonical_form() {
    let text = "dag_id: x
on_failure_callback:
  - webhook: https://pager.example.com/x
  - webhook: {conn_id: pager, endpoint: /alert, method: PUT, json: {run: '{{ run_id }}'}, timeout: 5s}
  - slack: '{{ dag.dag_id }} failed'
  - slack: {conn_id: team, channel: '#data', text: no}
  - email: 'a@example.com; b@example.com'
  - email: {to: [a@example.com], subject: S, html_content: <b>x</b>, smtp_conn_id: mail}
  - command: echo failed
  - command: {bash_command: echo, env: {A: 1}, append_env: true}
on_success_callback: {webhook: 'https://x.example.com'}
tasks:
  - task_id: a
    operator: empty
";
    expect![[r##"
        on_success_callback:
          - webhook:
              url: "https://x.example.com"
        on_failure_callback:
          - webhook:
              url: "https://pager.example.com/x"
          - webhook:
              http_conn_id: pager
              endpoint: "/alert"
              method: PUT
              json:
                run: "{{ run_id }}"
              extra_options:
                timeout: "5s"
          - slack:
              slack_conn_id: slack_default
              text: "{{ dag.dag_id }} failed"
          - slack:
              slack_conn_id: team
              text: "no"
              channel: "#data"
          - email:
              smtp_conn_id: smtp_default
              to: ["a@example.com", "b@example.com"]
          - email:
              smtp_conn_id: mail
              to: ["a@example.com"]
              subject: S
              html_content: "<b>x</b>"
          - command:
              bash_command: "echo failed"
          - command:
              bash_command: echo
              env:
                A: "1"
              append_env: true
    "##]]
    .assert_eq(&between(&canonical(text), "on_success_callback", "tasks:"));
}

fn between(text: &str, from: &str, to: &str) -> String {
    let start = text.find(from).expect("the text has its beginning");
    let end = text[start..].find(to).map_or(text.len(), |end| start + end);
    text[start..end].to_owned()
}

#[test]
fn functions_and_notifiers_are_found_by_their_path_and_files_come_along() {
    let files =
        Memory::with(&[("alerts.py", "from lib import send\ndef failed(context): pass\n"), ("lib.py", "send = 1\n")]);
    let text = "dag_id: x
default_args:
  on_failure_callback: alerts.failed
  on_retry_callback_name: failed
  on_retry_callback_file: /usr/local/airflow/dags/alerts.py
tasks:
  - {task_id: a, operator: empty}
  - task_id: b
    operator: empty
    on_failure_callback: null
    on_success_callback: {callback: alerts.failed, channel: '{{ ds }}'}
    on_execute_callback:
      callback: airflow.providers.slack.notifications.slack.send_slack_notification
      slack_conn_id: team
      text: started
    on_skipped_callback: {callback: airflow.providers.smtp.notifications.smtp.SmtpNotifier, to: a@example.com, subject: skipped}
";
    let compiled = one_of(&files, text);
    let (a, b) = (&compiled.dag.tasks[0].callbacks, &compiled.dag.tasks[1].callbacks);
    let [Callback::Python(function)] = a.on_failure.as_slice() else { panic!("{a:?}") };
    assert_eq!((function.file.as_str(), function.function.as_str()), ("alerts.py", "failed"));
    assert_eq!(a.on_retry, a.on_failure);
    assert_eq!((b.on_failure.len(), b.on_retry.len()), (0, 1));
    let [Callback::Python(function)] = b.on_success.as_slice() else { panic!("{b:?}") };
    assert_eq!(function.op_kwargs["channel"], "{{ ds }}");
    assert!(matches!(b.on_execute.as_slice(), [Callback::Slack(slack)] if slack.slack_conn_id == "team"));
    assert!(matches!(b.on_skipped.as_slice(), [Callback::Email(mail)] if mail.subject.as_deref() == Some("skipped")));
    let names: Vec<&str> = compiled.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["alerts.py", "lib.py"]);
    assert!(compiled.dag.tells());
    assert_eq!(one_of(&files, &compiled.canonical_yaml).dag, compiled.dag);
}

#[test]
fn mail_is_sent_as_in_airflow() {
    let of = |fields: &str| {
        let text = format!("dag_id: x\ndefault_args: {{{fields}}}\ntasks: [{{task_id: a, operator: empty}}]");
        let compiled = one(&text);
        let callbacks = &compiled.dag.tasks[0].callbacks;
        (callbacks.on_failure.len(), callbacks.on_retry.len())
    };
    assert_eq!(of("email: a@example.com"), (1, 1));
    assert_eq!(of("email: [a@example.com], email_on_retry: false"), (1, 0));
    assert_eq!(of("email: [a@example.com], email_on_failure: false"), (0, 1));
    assert_eq!(of("email: a@example.com, email_on_retry: false, on_failure_callback: {command: x}"), (2, 0));
    assert_eq!(of("email_on_failure: true"), (0, 0));
    assert_eq!(of("email: []"), (0, 0));
}

#[test]
fn deadlines_have_airflows_references() {
    let text = of_dag(
        "timezone: Europe/Zurich
deadline:
  - {reference: DAGRUN_QUEUED_AT, interval: 1h, callback: {command: x}, name: fast}
  - {reference: logical_date, interval: 6h, callback: {command: x}}
  - {reference: average_runtime, max_runs: 5, interval: 10m, callback: [{command: x}, {webhook: 'https://x.example.com'}]}
  - {reference: 2026-03-01T06:00, interval: 0, callback: {command: x}}",
    );
    let compiled = one(&text);
    let references: Vec<_> = compiled.dag.deadlines.iter().map(|deadline| deadline.reference).collect();
    assert_eq!(
        references,
        [
            DeadlineReference::QueuedAt,
            DeadlineReference::LogicalDate,
            DeadlineReference::AverageRuntime { max_runs: 5, min_runs: 5 },
            DeadlineReference::At("2026-03-01T05:00:00Z".parse().unwrap()),
        ]
    );
    assert_eq!(compiled.dag.callbacks_at(CallbackEvent::DeadlineMissed, None, 2).len(), 2);
    assert_eq!(one(&compiled.canonical_yaml).dag, compiled.dag);
}

#[test]
fn what_can_not_be_done_is_refused_with_its_place() {
    check(
        &of_dag(
            "on_failure_callback: notify
on_success_callback:
  - {webhook: ftp://x}
  - {webhook: {endpoint: x}}
  - {webhook: 'https://x', slack: y}
  - {email: nobody}
  - {email: {subject: x}}
  - {page: x}
  - {callback: airflow.providers.pagerduty.notifications.pagerduty.PagerdutyNotifier}
  - nowhere.at_all
  - {python: {python_callable: a.b, op_args: [1]}}
deadline: {reference: queued, interval: 1h, callback: {command: x}}
sla_miss_callback: f",
        ),
        expect![[r#"
            dags/x.yaml:2:22: on_failure_callback: expected module.function, or a mapping with one of webhook, slack, email, command and python, or a list of these, found the text "notify"
            dags/x.yaml:4:15: on_success_callback[0].webhook: expected a URL that begins with http:// or https://, or a template
            dags/x.yaml:5:6: on_success_callback[1].webhook: url is missing: where it goes, or a connection by conn_id
            dags/x.yaml:6:35: on_success_callback[2].slack: webhook and slack are both given; write a list of two callbacks
            dags/x.yaml:7:13: on_success_callback[3].email: "nobody" is no address such as ann@example.com
            dags/x.yaml:8:6: on_success_callback[4].email: to is missing
            dags/x.yaml:9:5: on_success_callback[5]: expected module.function, or a mapping with one of webhook, slack, email, command and python, or a list of these, found a mapping
            dags/x.yaml:9:6: on_success_callback[5].page: unknown field
            dags/x.yaml:10:16: on_success_callback[6].callback: the notifier airflow.providers.pagerduty.notifications.pagerduty.PagerdutyNotifier is not there; write webhook, slack, email, command or a Python function of your own
            dags/x.yaml:11:5: on_success_callback[7]: there is neither nowhere.py nor nowhere/__init__.py below the DAG folder
            dags/x.yaml:12:32: on_success_callback[8].python.python_callable: there is neither a.py nor a/__init__.py below the DAG folder
            dags/x.yaml:12:37: on_success_callback[8].python.op_args: unknown field; did you mean "op_kwargs"?
            dags/x.yaml:13:23: deadline.reference: expected one of queued_at, logical_date, average_runtime, or a date; found "queued"; did you mean "queued_at"?
            dags/x.yaml:14:1: sla_miss_callback: not supported yet: Airflow 2's sla; write a deadline with its callback
        "#]],
    );
    check(
        "dag_id: x\ntasks: [{task_id: a, operator: empty, on_failure_callback_name: f, sla: 1h, email: x}]",
        expect![[r#"
            dags/x.yaml:2:65: tasks[0].on_failure_callback_name: on_failure_callback_file is missing: the file that holds the function
            dags/x.yaml:2:68: tasks[0].sla: not supported yet: Airflow 2's sla; write the DAG's deadline
            dags/x.yaml:2:84: tasks[0].email: "x" is no address such as ann@example.com
        "#]],
    );
}
