//! Carries callbacks out: a request, a message, a mail, a command or a function, with the context of what has happened.
//!
//! What always holds: a callback is an attempt of no task, and has what an attempt has: templates, connections, masking, and an end
//! within its time. It leaves nothing on this machine but what its own command does, and says nothing that is secret.

mod email;
mod slack;

use std::{path::Path, sync::Arc};

use futures::future::BoxFuture;
use link::{Assignment, Notification, Told};
use model::{
    Callback, EndKind, NotificationId, Operator, operator::Http, operator::HttpPayload, operator::HttpRequest,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::{
    Attempt, Elements, Executor, Host, Masker, Outcome, Stop, WorkerContext, bash, http,
    log::{Log, Overflow},
    python, within_limits,
};

/// The header that tells a notification that comes twice from two of them.
const ID_HEADER: &str = "Idempotency-Key";
/// What a webhook carries that says nothing of its own.
const FACTS: &str = "{{ notification | tojson }}";
/// What is kept of what is said of a try, in characters.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// What has come of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Whether it was carried out.
    pub told: Told,
    /// What is said of it, free of secrets.
    pub message: String,
}

impl Done {
    fn not_now(message: impl Into<String>) -> Self {
        Self { told: Told::NotNow, message: message.into() }
    }
}

/// Carries a notification out on this worker.
pub async fn carry_out(worker: &Arc<WorkerContext>, mut notification: Notification, host: Arc<dyn Host>) -> Done {
    if let Callback::Webhook(HttpRequest { payload: HttpPayload::None, .. }) = &notification.callback {
        // The facts are a text.
        notification.context.native = false;
    }
    let scratch = match worker.workspaces.make() {
        Ok(scratch) => scratch,
        Err(error) => return Done::not_now(format!("the worker could not begin: {error}")),
    };
    let path = scratch.path().join("log.jsonl");
    let masker = Masker::default();
    let log = match Log::open(&path, masker.clone(), Overflow::Fault) {
        Ok(log) => log,
        Err(error) => return Done::not_now(format!("the worker could not begin: {error}")),
    };
    let Notification { notification: id, callback, .. } = &notification;
    let happened = notification.context.macros.clone();
    let (executor, tried_again) = (executor_of(callback.clone(), *id, happened), callback.is_tried_again());
    let attempt = Attempt {
        assignment: assignment(notification),
        elements: Elements::default(),
        log,
        masker: masker.clone(),
        host,
        worker: Arc::clone(worker),
    };
    // It is a task of its own, so that a defect of an executor is the end of this one alone.
    let running = tokio::spawn(async move {
        let stop = Stop::default();
        let outcome = within_limits(&attempt, (&stop, Instant::now()), executor.run(&attempt, &stop)).await;
        attempt.log.flush();
        outcome
    });
    let done = match running.await {
        Ok(outcome) => judge(&outcome, tried_again, &path),
        Err(panic) => Done::not_now(format!("its executor broke down: {panic}")),
    };
    let message: String = masker.mask(&done.message).chars().take(MESSAGE_CHARS_MAX).collect();
    Done { message, ..done }
}

fn judge(outcome: &Outcome, tried_again: bool, log: &Path) -> Done {
    match outcome.kind() {
        EndKind::Success | EndKind::Skipped => Done { told: Told::Yes, message: last_line(log) },
        EndKind::FailedForGood => Done { told: Told::No, message: outcome.reason().to_owned() },
        // A callback asks nobody and waits for nothing.
        EndKind::Failed
        | EndKind::TimedOut
        | EndKind::Killed
        | EndKind::Lost
        | EndKind::Asked
        | EndKind::Rescheduled => {
            let told = if tried_again { Told::NotNow } else { Told::No };
            Done { told, message: outcome.reason().to_owned() }
        }
    }
}

/// The last line of what was written to the log, but for what was rendered.
fn last_line(log: &Path) -> String {
    #[derive(Deserialize)]
    struct Line {
        text: String,
        rendered: Option<serde::de::IgnoredAny>,
    }
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let mut lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines.find(|line| line.rendered.is_none()).map(|line| line.text).unwrap_or_default()
}

fn executor_of(callback: Callback, id: NotificationId, happened: Map<String, Value>) -> Box<dyn Executor> {
    match callback {
        Callback::Webhook(request) => {
            let request = with_facts(request, id);
            let http = Http { request, response_check: None, response_filter: None, log_response: false };
            Box::new(http::HttpExecutor::new(http))
        }
        Callback::Slack(slack) => Box::new(slack::SlackExecutor::new(slack)),
        Callback::Email(email) => Box::new(email::EmailExecutor::new(email, id)),
        Callback::Command(bash) => Box::new(bash::BashExecutor::new(bash)),
        Callback::Python(keys) => Box::new(python::CallableExecutor::of_callback(keys, happened)),
    }
}

/// The request with its id, and with the facts as JSON when it carries nothing of its own.
fn with_facts(mut request: HttpRequest, id: NotificationId) -> HttpRequest {
    let has = |request: &HttpRequest, name: &str| request.headers.keys().any(|own| own.eq_ignore_ascii_case(name));
    if !has(&request, ID_HEADER) {
        request.headers.insert(ID_HEADER.to_owned(), id.to_string());
    }
    if request.payload == HttpPayload::None {
        request.payload = HttpPayload::Data(Value::String(FACTS.to_owned()));
        if !has(&request, "Content-Type") {
            request.headers.insert("Content-Type".to_owned(), "application/json".to_owned());
        }
    }
    request
}

/// What stands for it where attempts are asked.
fn assignment(notification: Notification) -> Assignment {
    Assignment {
        attempt: notification.attempt,
        ti: notification.ti,
        context: notification.context,
        operator: Operator::Empty,
        files: notification.files,
        execution_timeout_secs: Some(notification.timeout_secs),
        do_xcom_push: false,
        multiple_outputs: false,
        retry_policy: Vec::new(),
        mapped: None,
        poked: None,
    }
}

/// Runs what gives an outcome one way or the other until it is asked to stop.
async fn until_stopped(stop: &Stop, work: BoxFuture<'_, Result<Outcome, Outcome>>) -> Outcome {
    tokio::select! {
        outcome = work => outcome.unwrap_or_else(|outcome| outcome),
        cause = stop.requested() => cause.into(),
    }
}
