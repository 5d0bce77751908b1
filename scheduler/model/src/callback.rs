//! Callbacks: what is told to the outside when a task or a run comes to something, and how.
//!
//! Texts are Jinja templates; they are rendered in the worker that carries a callback out, and nowhere else.

use serde::{Deserialize, Serialize};

use crate::{
    codes::coded_enum,
    operator::{Bash, HttpRequest, PythonCallable},
};

coded_enum! {
    /// What a callback follows.
    CallbackEvent, "callback event" {
        /// A task has begun to run.
        Execute = 0, "execute";
        /// A task has succeeded.
        Success = 1, "success";
        /// A task has failed, and no try is left.
        Failure = 2, "failure";
        /// A task has failed, and is tried again.
        Retry = 3, "retry";
        /// A task has skipped itself.
        Skipped = 4, "skipped";
        /// A run has succeeded.
        DagSuccess = 5, "dag_success";
        /// A run has failed.
        DagFailure = 6, "dag_failure";
        /// A run has not succeeded by its deadline.
        DeadlineMissed = 7, "deadline_missed";
    }
}

coded_enum! {
    /// How far a notification is.
    NotificationState, "notification state" {
        /// It is to be sent: at once, or when its pause is over.
        Waiting = 0, "waiting";
        /// A worker carries it out.
        Sending = 1, "sending";
        /// It was carried out.
        Sent = 2, "sent";
        /// It could not be carried out, and is not tried again.
        Failed = 3, "failed";
    }
}

impl CallbackEvent {
    /// Whether it is about a run as a whole.
    #[must_use]
    pub const fn is_of_run(self) -> bool {
        match self {
            Self::DagSuccess | Self::DagFailure | Self::DeadlineMissed => true,
            Self::Execute | Self::Success | Self::Failure | Self::Retry | Self::Skipped => false,
        }
    }
}

/// Something that is done when a task or a run comes to something.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Callback {
    /// An HTTP request; with the facts as JSON when it carries nothing of its own.
    Webhook(HttpRequest),
    /// A message to Slack, or to what understands the same.
    Slack(Slack),
    /// A mail.
    Email(Email),
    /// A bash command.
    Command(Bash),
    /// A Python function, called with the context.
    Python(PythonCallable),
}

impl Callback {
    /// Its word in DAG files.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Slack(_) => "slack",
            Self::Email(_) => "email",
            Self::Command(_) => "command",
            Self::Python(_) => "python",
        }
    }

    /// Whether it is tried again after it has failed. What the user's own code has begun is not begun twice for its failure.
    #[must_use]
    pub const fn is_tried_again(&self) -> bool {
        match self {
            Self::Webhook(_) | Self::Slack(_) | Self::Email(_) => true,
            Self::Command(_) | Self::Python(_) => false,
        }
    }
}

/// A message to Slack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slack {
    /// The connection: an incoming webhook, or a token of Slack's API.
    pub slack_conn_id: String,
    /// What is said; a sentence with the facts when absent.
    #[serde(default)]
    pub text: Option<String>,
    /// Where, when the connection does not say it.
    #[serde(default)]
    pub channel: Option<String>,
    /// In whose name.
    #[serde(default)]
    pub username: Option<String>,
    /// Slack's blocks.
    #[serde(default)]
    pub blocks: Option<serde_json::Value>,
    /// Slack's attachments.
    #[serde(default)]
    pub attachments: Option<serde_json::Value>,
}

impl Slack {
    /// The connection that is meant when none is named, as in Airflow.
    pub const CONN_ID: &'static str = "slack_default";
}

/// A mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Email {
    /// The connection of the SMTP server.
    pub smtp_conn_id: String,
    /// To whom.
    pub to: Vec<String>,
    /// To whom else.
    #[serde(default)]
    pub cc: Vec<String>,
    /// To whom without the others knowing.
    #[serde(default)]
    pub bcc: Vec<String>,
    /// From whom; the connection's `from_email` when absent.
    #[serde(default)]
    pub from_email: Option<String>,
    /// Its subject; a sentence with the facts when absent.
    #[serde(default)]
    pub subject: Option<String>,
    /// Its text, plain; the facts when there is neither this nor HTML.
    #[serde(default)]
    pub body: Option<String>,
    /// Its text as HTML.
    #[serde(default)]
    pub html_content: Option<String>,
}

impl Email {
    /// The connection that is meant when none is named, as in Airflow.
    pub const CONN_ID: &'static str = "smtp_default";

    /// A mail with the facts to these addresses.
    #[must_use]
    pub fn with_facts(to: Vec<String>) -> Self {
        Self {
            smtp_conn_id: Self::CONN_ID.to_owned(),
            to,
            cc: Vec::new(),
            bcc: Vec::new(),
            from_email: None,
            subject: None,
            body: None,
            html_content: None,
        }
    }
}
