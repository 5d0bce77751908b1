//! Callbacks, mail and deadlines: what may stand below `on_failure_callback` and its kin.

use model::operator::HttpMethod;

use super::{
    Key, Shape, key,
    operators::{ENV, PASS_ENV},
};

/// So many callbacks may follow one event of a task or a run.
pub(crate) const CALLBACKS_MAX: usize = 20;

/// So many deadlines a DAG may have.
pub(crate) const DEADLINES_MAX: usize = 20;

/// So many addresses a mail may go to.
pub(crate) const ADDRESSES_MAX: usize = 100;

/// The runs that an average is taken of when nothing is said, as in Airflow.
pub(crate) const AVERAGE_RUNS: u32 = 10;

/// What may stand where callbacks do.
pub(super) const CALLBACKS: Shape = Shape::Definition("callbacks");

/// The kinds of callbacks: one of these keys.
pub(crate) const CALLBACK: &[Key] = &[
    key("webhook", Shape::Definition("webhook"), "An HTTP request: a URL, or a mapping."),
    key("slack", Shape::Definition("slack"), "A message to Slack: its text, or a mapping."),
    key("email", Shape::Definition("email"), "A mail: addresses, or a mapping."),
    key("command", Shape::Definition("command"), "A bash command, or a mapping; a worker runs it."),
    key("python", Shape::Definition("python_callback"), "A Python function: module.function, or a mapping."),
];

/// A mapping that names a function or a notifier of Airflow, as dag-factory has it; further keys are what it is given.
pub(crate) const BY_PATH: Key = key("callback", Shape::Text, "A Python function, or a notifier of Airflow.");

/// Keys of a webhook.
pub(crate) const WEBHOOK: &[Key] = &[
    key("url", Shape::Text, "A whole URL; a template."),
    key("http_conn_id", Shape::Text, "A connection with host, login and headers, in place of a URL."),
    key("conn_id", Shape::Text, "Another word for http_conn_id."),
    key("endpoint", Shape::Text, "The path below the connection's host; a template."),
    key("method", Shape::OneOf(HttpMethod::NAMES), "POST when absent."),
    key("headers", Shape::Environment, "Headers beside those of the connection; templates."),
    key("body", Shape::Any, "A mapping, sent as a form, or a text; the facts as JSON when there is no body."),
    key("json", Shape::Any, "A body in JSON; texts are templates."),
    key("timeout", Shape::Duration, "How long the exchange may take; 60s when absent."),
    key("extra_options", Shape::Definition("http_options"), "How the request is made."),
];

/// Keys of a message to Slack.
pub(crate) const SLACK: &[Key] = &[
    key("slack_conn_id", Shape::Text, "The connection: a webhook or a token; slack_default when absent."),
    key("slack_webhook_conn_id", Shape::Text, "Another word for slack_conn_id."),
    key("conn_id", Shape::Text, "Another word for slack_conn_id."),
    key("text", Shape::Text, "What is said; a template. A sentence with the facts when absent."),
    key("channel", Shape::Text, "Where; a template. A token needs it."),
    key("username", Shape::Text, "In whose name."),
    key("blocks", Shape::Any, "Slack's blocks; texts are templates."),
    key("attachments", Shape::Any, "Slack's attachments; texts are templates."),
];

/// Keys of a mail.
pub(crate) const EMAIL: &[Key] = &[
    key("smtp_conn_id", Shape::Text, "The connection of the SMTP server; smtp_default when absent."),
    key("conn_id", Shape::Text, "Another word for smtp_conn_id."),
    key("to", Shape::Texts, "Addresses; templates."),
    key("cc", Shape::Texts, "Further addresses."),
    key("bcc", Shape::Texts, "Addresses that the others do not see."),
    key("from_email", Shape::Text, "The sender; the connection's from_email when absent."),
    key("subject", Shape::Text, "Its subject; a template."),
    key("body", Shape::Text, "Its text; a template. The facts when there is neither this nor html_content."),
    key("html_content", Shape::Text, "Its text as HTML; a template."),
];

/// Keys of a command.
pub(crate) const COMMAND: &[Key] = &[
    key("bash_command", Shape::Text, "The command; a template."),
    ENV,
    PASS_ENV,
    key("append_env", Shape::Bool, "Whether env adds to the standard environment."),
    key("cwd", Shape::Text, "Its working directory; a fresh one when absent."),
];

/// Keys of a Python function.
pub(crate) const PYTHON: &[Key] = &[
    key("python_callable", Shape::Text, "The function: module.function, a module below the DAG folder."),
    key("python_callable_file", Shape::Text, "The file that holds the function, below the DAG folder."),
    key("python_callable_name", Shape::Text, "The function's name in that file."),
    key("op_kwargs", Shape::Any, "A mapping of what it is given beside the context; texts are templates."),
    ENV,
    PASS_ENV,
    key("python_bin", Shape::Text, "The interpreter; the worker's python3 when absent."),
];

/// Keys of a deadline.
pub(crate) const DEADLINE: &[Key] = &[
    key("name", Shape::Text, "What it is called."),
    key("description", Shape::Text, "What it is for."),
    key("reference", Shape::Text, "What it is counted from: queued_at, logical_date, average_runtime, or a date."),
    key("interval", Shape::Duration, "How long after that."),
    key("callback", CALLBACKS, "What is done when the run has not succeeded by then."),
    key("max_runs", Shape::Whole(1, 1_000), "Of so many runs the average is taken; 10 when absent."),
    key("min_runs", Shape::Whole(1, 1_000), "And of no fewer; max_runs when absent."),
];

/// The words for what a deadline is counted from.
pub(crate) const REFERENCES: &[&str] = &["queued_at", "logical_date", "average_runtime"];
