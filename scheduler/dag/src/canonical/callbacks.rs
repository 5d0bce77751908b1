//! The canonical form of callbacks and deadlines.

use model::{
    Callback,
    callback::{Email, Slack},
    operator::{Bash, HttpMethod, PythonCallable},
};
use serde_json::{Value, json};

use super::{Fields, date_text, duration_text, operator, waiting};
use crate::compiled::{Deadline, DeadlineReference, RunCallbacks, TaskCallbacks};

pub(super) fn of_task(callbacks: &TaskCallbacks, fields: &mut Fields) {
    fields.list("on_execute_callback", &values(&callbacks.on_execute));
    fields.list("on_success_callback", &values(&callbacks.on_success));
    fields.list("on_failure_callback", &values(&callbacks.on_failure));
    fields.list("on_retry_callback", &values(&callbacks.on_retry));
    fields.list("on_skipped_callback", &values(&callbacks.on_skipped));
}

pub(super) fn of_run(callbacks: &RunCallbacks, fields: &mut Fields) {
    fields.list("on_success_callback", &values(&callbacks.on_success));
    fields.list("on_failure_callback", &values(&callbacks.on_failure));
}

pub(super) fn deadlines(deadlines: &[Deadline], fields: &mut Fields) {
    fields.list("deadline", &deadlines.iter().map(deadline).collect::<Vec<_>>());
}

fn deadline(deadline: &Deadline) -> Value {
    let mut fields = Fields::default();
    fields.some("name", deadline.name.clone());
    fields.some("description", deadline.description.clone());
    match deadline.reference {
        DeadlineReference::QueuedAt => fields.put("reference", "queued_at"),
        DeadlineReference::LogicalDate => fields.put("reference", "logical_date"),
        DeadlineReference::AverageRuntime { max_runs, min_runs } => {
            fields.put("reference", "average_runtime");
            fields.put("max_runs", max_runs);
            fields.put("min_runs", min_runs);
        }
        DeadlineReference::At(date) => fields.put("reference", date_text(date)),
    }
    fields.put("interval", duration_text(deadline.interval));
    fields.put("callback", values(&deadline.callbacks));
    fields.into_value()
}

fn values(callbacks: &[Callback]) -> Vec<Value> {
    callbacks.iter().map(value).collect()
}

fn value(callback: &Callback) -> Value {
    let mut fields = Fields::default();
    match callback {
        Callback::Webhook(request) => waiting::request(request, HttpMethod::Post, "body", &mut fields),
        Callback::Slack(slack) => slack_fields(slack, &mut fields),
        Callback::Email(email) => email_fields(email, &mut fields),
        Callback::Command(bash) => bash_fields(bash, &mut fields),
        Callback::Python(python) => python_fields(python, &mut fields),
    }
    json!({ callback.kind(): fields.into_value() })
}

fn slack_fields(slack: &Slack, fields: &mut Fields) {
    fields.put("slack_conn_id", slack.slack_conn_id.clone());
    fields.some("text", slack.text.clone());
    fields.some("channel", slack.channel.clone());
    fields.some("username", slack.username.clone());
    fields.some("blocks", slack.blocks.clone());
    fields.some("attachments", slack.attachments.clone());
}

fn email_fields(email: &Email, fields: &mut Fields) {
    fields.put("smtp_conn_id", email.smtp_conn_id.clone());
    fields.list("to", &email.to);
    fields.list("cc", &email.cc);
    fields.list("bcc", &email.bcc);
    fields.some("from_email", email.from_email.clone());
    fields.some("subject", email.subject.clone());
    fields.some("body", email.body.clone());
    fields.some("html_content", email.html_content.clone());
}

fn bash_fields(bash: &Bash, fields: &mut Fields) {
    fields.put("bash_command", bash.bash_command.clone());
    operator::environment(&bash.env, &bash.pass_env, fields);
    fields.unless("append_env", bash.append_env, &false);
    fields.some("cwd", bash.cwd.clone());
}

fn python_fields(python: &PythonCallable, fields: &mut Fields) {
    fields.put("python_callable_file", python.file.clone());
    fields.put("python_callable_name", python.function.clone());
    if !python.op_kwargs.is_empty() {
        fields.put("op_kwargs", python.op_kwargs.clone());
    }
    operator::environment(&python.env, &python.pass_env, fields);
    fields.some("python_bin", python.python_bin.clone());
}
