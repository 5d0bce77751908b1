//! Callbacks: what is told to the outside when a task or a run comes to something.
//!
//! What stands below `on_failure_callback` and its kin is a text (`module.function`), a mapping with one of the words `webhook`,
//! `slack`, `email`, `command` and `python`, dag-factory's mapping with `callback`, or a list of these.

use model::{
    Callback,
    callback::{Email, Slack},
    operator::{Bash, HttpMethod, HttpOptions, HttpPayload, HttpRequest, HttpTarget, PythonCallable},
};

use super::{
    callable,
    fields::{Fields, Item, Layer, check_keys},
    http,
    operator::{optional, text_option, truth_or},
    task::positive,
};
use crate::{
    compiled::{RunCallbacks, TaskCallbacks},
    files::FileSet,
    keys::{Here, Key, callbacks as keys},
    problem::Problems,
    yaml::Value,
};

/// What may stand there, for messages.
const FORMS: &str =
    "module.function, or a mapping with one of webhook, slack, email, command and python, or a list of these";

/// Airflow's notifiers that have a counterpart.
const SLACK_PATHS: &[&str] = &[
    "airflow.providers.slack.notifications.slack_webhook.send_slack_webhook_notification",
    "airflow.providers.slack.notifications.slack_webhook.SlackWebhookNotifier",
    "airflow.providers.slack.notifications.slack.send_slack_notification",
    "airflow.providers.slack.notifications.slack.SlackNotifier",
    "airflow.providers.slack.notifications.slack_notifier.SlackNotifier",
];
/// The same for mail.
const EMAIL_PATHS: &[&str] = &[
    "airflow.providers.smtp.notifications.smtp.send_smtp_notification",
    "airflow.providers.smtp.notifications.smtp.SmtpNotifier",
];

/// The callbacks of a task, with the mails that `email` asks for.
pub(super) fn of_task(fields: &Fields<'_>, files: &mut FileSet<'_>, problems: &mut Problems) -> TaskCallbacks {
    let mut callbacks = TaskCallbacks {
        on_execute: at(fields, "on_execute_callback", files, problems),
        on_success: at(fields, "on_success_callback", files, problems),
        on_failure: at(fields, "on_failure_callback", files, problems),
        on_retry: at(fields, "on_retry_callback", files, problems),
        on_skipped: at(fields, "on_skipped_callback", files, problems),
    };
    let mut asks = |name: &str| fields.take(name).is_none_or(|item| item.truth(problems).unwrap_or(true));
    let (on_failure, on_retry) = (asks("email_on_failure"), asks("email_on_retry"));
    let to = fields.take("email").and_then(|item| addresses(&item, problems)).unwrap_or_default();
    if !to.is_empty() {
        let mail = Callback::Email(Email::with_facts(to));
        callbacks.on_failure.extend(on_failure.then(|| mail.clone()));
        callbacks.on_retry.extend(on_retry.then_some(mail));
    }
    callbacks
}

/// The callbacks of a DAG.
pub(super) fn of_dag(fields: &Fields<'_>, files: &mut FileSet<'_>, problems: &mut Problems) -> RunCallbacks {
    RunCallbacks {
        on_success: at(fields, "on_success_callback", files, problems),
        on_failure: at(fields, "on_failure_callback", files, problems),
    }
}

/// What is done at one event: what the key says, or the function that dag-factory's two keys name.
fn at(fields: &Fields<'_>, key: &str, files: &mut FileSet<'_>, problems: &mut Problems) -> Vec<Callback> {
    let (name_key, file_key) = (format!("{key}_name"), format!("{key}_file"));
    let (name, file) = (fields.take(&name_key), fields.take(&file_key));
    let own_name = fields.own(&name_key).or_else(|| fields.own(&file_key));
    if let (Some(_), Some(second)) = (fields.own(key), &own_name) {
        problems.add(&second.place, format!("{key} is given, too; keep one"));
        return Vec::new();
    }
    // What stands nearer counts, whichever form it has.
    if let Some(item) = fields.take(key).filter(|_| own_name.is_none()) {
        return read(&item, files, problems).unwrap_or_default();
    }
    match (name, file) {
        (None, None) => Vec::new(),
        (Some(name), Some(file)) => {
            let found = callable::by_file(&file, &name, files, problems);
            found.map(|found| Callback::Python(calling(found))).into_iter().collect()
        }
        (Some(name), None) => {
            problems.add(&name.place, format!("{file_key} is missing: the file that holds the function"));
            Vec::new()
        }
        (None, Some(file)) => {
            problems.add(&file.place, format!("{name_key} is missing: the function's name in the file"));
            Vec::new()
        }
    }
}

/// Reads one callback or a list of them. False asks for none.
pub(super) fn read(item: &Item<'_>, files: &mut FileSet<'_>, problems: &mut Problems) -> Option<Vec<Callback>> {
    match &item.node.value {
        Value::Bool(false) => Some(Vec::new()),
        Value::Text(text) if text.trim().is_empty() => Some(Vec::new()),
        Value::Map(entries) if entries.is_empty() => Some(Vec::new()),
        Value::List(_) => {
            let items = item.list("a list", problems)?;
            if items.len() > keys::CALLBACKS_MAX {
                let most = keys::CALLBACKS_MAX;
                return item.fail(format!("expected at most {most} callbacks, found {}", items.len()), problems);
            }
            let read: Vec<_> = items.iter().map(|item| one(item, files, problems)).collect();
            read.into_iter().collect()
        }
        _ => Some(vec![one(item, files, problems)?]),
    }
}

fn one(item: &Item<'_>, files: &mut FileSet<'_>, problems: &mut Problems) -> Option<Callback> {
    match &item.node.value {
        Value::Text(text) => by_path(text.trim(), item, None, files, problems),
        Value::Map(_) => {
            let layer = item.layer("a callback", problems)?;
            if let Some(path) = layer.get(keys::BY_PATH.name) {
                let text = path.text(problems)?;
                return by_path(text.trim(), &path, Some((item, &layer)), files, problems);
            }
            by_word(item, &layer, files, problems)
        }
        _ => item.expected(FORMS, problems),
    }
}

/// A mapping with one word: `{webhook: …}`.
fn by_word(item: &Item<'_>, layer: &Layer<'_>, files: &mut FileSet<'_>, problems: &mut Problems) -> Option<Callback> {
    check_keys(layer, &[keys::CALLBACK, &[keys::BY_PATH]], &[], Here::Part, problems);
    let mut words = keys::CALLBACK.iter().filter_map(|key| Some((key.name, layer.get(key.name)?)));
    let Some((word, inner)) = words.next() else { return item.expected(FORMS, problems) };
    if let Some((other, second)) = words.next() {
        return second.fail(format!("{word} and {other} are both given; write a list of two callbacks"), problems);
    }
    Some(match word {
        "webhook" => Callback::Webhook(webhook(&inner, problems)?),
        "slack" => Callback::Slack(slack(&inner, problems)?),
        "email" => Callback::Email(email(&inner, problems)?),
        "command" => Callback::Command(command(&inner, problems)?),
        _ => Callback::Python(python(&inner, files, problems)?),
    })
}

/// A function by its path, or a notifier of Airflow; what else the mapping says is what it is given.
fn by_path(
    path: &str,
    item: &Item<'_>,
    mapping: Option<(&Item<'_>, &Layer<'_>)>,
    files: &mut FileSet<'_>,
    problems: &mut Problems,
) -> Option<Callback> {
    let place = mapping.map_or_else(|| item.place.clone(), |(item, _)| item.place.clone());
    let fields = Fields::new(place, mapping.map(|(_, layer)| layer.clone()).into_iter().collect());
    if SLACK_PATHS.contains(&path) {
        fields.check_keys(&[keys::SLACK, &[keys::BY_PATH]], &[], Here::Part, problems);
        return slack_of(&fields, problems).map(Callback::Slack);
    }
    if EMAIL_PATHS.contains(&path) {
        fields.check_keys(&[keys::EMAIL, &[keys::BY_PATH]], &[], Here::Part, problems);
        return email_of(&fields, problems).map(Callback::Email);
    }
    if path.starts_with("airflow.") {
        return item.fail(
            format!("the notifier {path} is not there; write webhook, slack, email, command or a Python function of your own"),
            problems,
        );
    }
    if !path.contains('.') {
        return item.expected(FORMS, problems);
    }
    let mut called = calling(callable::by_name(item, files, problems)?);
    if let Some((item, _)) = mapping {
        called.op_kwargs = callable::mapping(item, problems)?;
        called.op_kwargs.remove(keys::BY_PATH.name);
    }
    Some(Callback::Python(called))
}

/// A function that is given the context and nothing else.
fn calling((file, function): (String, String)) -> PythonCallable {
    PythonCallable {
        file,
        function,
        op_args: Vec::new(),
        op_kwargs: serde_json::Map::new(),
        templates_dict: None,
        returns: model::operator::Returns::Value,
        env: std::collections::BTreeMap::new(),
        pass_env: Vec::new(),
        python_bin: None,
    }
}

fn fields_of<'n>(item: &Item<'n>, what: &str, table: &[Key], problems: &mut Problems) -> Option<Fields<'n>> {
    let fields = item.fields(what, problems)?;
    fields.check_keys(&[table], &[], Here::Part, problems);
    Some(fields)
}

fn webhook(item: &Item<'_>, problems: &mut Problems) -> Option<HttpRequest> {
    if item.is_scalar() {
        return Some(HttpRequest {
            target: HttpTarget::Url(http::url(item.text(problems)?, item, problems)?),
            method: HttpMethod::Post,
            headers: std::collections::BTreeMap::new(),
            payload: HttpPayload::None,
            options: HttpOptions::default(),
        });
    }
    let fields = fields_of(item, "a URL, or a mapping such as {url: …, json: …}", keys::WEBHOOK, problems)?;
    let other = fields.take("conn_id");
    if let (Some(_), Some(second)) = (fields.take("http_conn_id").or_else(|| fields.take("url")), &other) {
        return second.fail("conn_id stands beside url or http_conn_id; keep one", problems);
    }
    let names = ["url", "http_conn_id", "conn_id"];
    if names.iter().all(|name| fields.take(name).is_none()) {
        return item.fail("url is missing: where it goes, or a connection by conn_id", problems);
    }
    let mut request = http::request(&fields, HttpMethod::Post, "body", problems)?;
    if let (Some(conn_id), HttpTarget::Connection { http_conn_id, .. }) = (other, &mut request.target) {
        *http_conn_id = conn_id.text(problems)?;
    }
    if let Some(timeout) = fields.take("timeout") {
        request.options.timeout_secs = positive(&timeout, problems)?.as_secs_f64();
    }
    Some(request)
}

fn slack(item: &Item<'_>, problems: &mut Problems) -> Option<Slack> {
    if item.is_scalar() {
        let text = Some(item.text(problems)?);
        let slack_conn_id = Slack::CONN_ID.to_owned();
        return Some(Slack { slack_conn_id, text, channel: None, username: None, blocks: None, attachments: None });
    }
    slack_of(&fields_of(item, "a text, or a mapping such as {conn_id: …, text: …}", keys::SLACK, problems)?, problems)
}

fn slack_of(fields: &Fields<'_>, problems: &mut Problems) -> Option<Slack> {
    let conn_id = fields.either(["slack_conn_id", "slack_webhook_conn_id", "conn_id"], problems);
    let blocks = |name: &str, problems: &mut Problems| match fields.take(name) {
        Some(item) if matches!(item.node.value, Value::List(_) | Value::Text(_)) => Some(Some(item.json(problems)?)),
        Some(item) => item.expected("a list, or a template that gives one", problems),
        None => Some(None),
    };
    Some(Slack {
        slack_conn_id: match conn_id {
            Some(item) => item.text(problems)?,
            None => Slack::CONN_ID.to_owned(),
        },
        text: text_option(fields, "text", problems)?,
        channel: text_option(fields, "channel", problems)?,
        username: text_option(fields, "username", problems)?,
        blocks: blocks("blocks", problems)?,
        attachments: blocks("attachments", problems)?,
    })
}

fn email(item: &Item<'_>, problems: &mut Problems) -> Option<Email> {
    if item.is_scalar() || matches!(item.node.value, Value::List(_)) {
        return Some(Email::with_facts(some_addresses(item, problems)?));
    }
    email_of(&fields_of(item, "addresses, or a mapping such as {to: …}", keys::EMAIL, problems)?, problems)
}

fn email_of(fields: &Fields<'_>, problems: &mut Problems) -> Option<Email> {
    let to = fields.required("to", problems)?;
    let conn_id = fields.either(["smtp_conn_id", "conn_id"], problems);
    if let (Some(_), Some(second)) = (fields.take("body"), fields.take("html_content")) {
        return second.fail("body and html_content are both given; keep one", problems);
    }
    Some(Email {
        smtp_conn_id: match conn_id {
            Some(item) => item.text(problems)?,
            None => Email::CONN_ID.to_owned(),
        },
        to: some_addresses(&to, problems)?,
        cc: optional(fields, "cc", |item| addresses(item, problems))?,
        bcc: optional(fields, "bcc", |item| addresses(item, problems))?,
        from_email: text_option(fields, "from_email", problems)?,
        subject: text_option(fields, "subject", problems)?,
        body: text_option(fields, "body", problems)?,
        html_content: text_option(fields, "html_content", problems)?,
    })
}

fn some_addresses(item: &Item<'_>, problems: &mut Problems) -> Option<Vec<String>> {
    match addresses(item, problems)? {
        none if none.is_empty() => item.expected("an address", problems),
        some => Some(some),
    }
}

/// Addresses: a text with one or several, or a list of such texts. A template may give several, too.
fn addresses(item: &Item<'_>, problems: &mut Problems) -> Option<Vec<String>> {
    if matches!(&item.node.value, Value::Text(text) if text.trim().is_empty()) {
        return Some(Vec::new());
    }
    let mut found: Vec<String> = Vec::new();
    for (text, item) in item.text_items(problems)? {
        if text.contains("{{") || text.contains("{%") {
            found.push(text);
            continue;
        }
        for address in text.split([',', ';']).map(str::trim).filter(|address| !address.is_empty()) {
            if !address.contains('@') || address.contains(|c: char| c.is_control()) {
                return item.fail(format!("{address:?} is no address such as ann@example.com"), problems);
            }
            found.push(address.to_owned());
        }
    }
    if found.len() > keys::ADDRESSES_MAX {
        let most = keys::ADDRESSES_MAX;
        return item.fail(format!("expected at most {most} addresses, found {}", found.len()), problems);
    }
    Some(found)
}

fn command(item: &Item<'_>, problems: &mut Problems) -> Option<Bash> {
    let bash = |bash_command| Bash {
        bash_command,
        env: std::collections::BTreeMap::new(),
        pass_env: Vec::new(),
        append_env: false,
        cwd: None,
        skip_on_exit_code: Vec::new(),
    };
    if item.is_scalar() {
        return Some(bash(item.text(problems)?));
    }
    let what = "a command, or a mapping such as {bash_command: …}";
    let fields = fields_of(item, what, keys::COMMAND, problems)?;
    let bash_command = fields.required("bash_command", problems)?.text(problems)?;
    Some(Bash {
        env: optional(&fields, "env", |item| item.environment(problems))?,
        pass_env: optional(&fields, "pass_env", |item| item.patterns(problems))?,
        append_env: truth_or(&fields, "append_env", false, problems)?,
        cwd: text_option(&fields, "cwd", problems)?,
        ..bash(bash_command)
    })
}

fn python(item: &Item<'_>, files: &mut FileSet<'_>, problems: &mut Problems) -> Option<PythonCallable> {
    if item.is_scalar() {
        return callable::by_name(item, files, problems).map(calling);
    }
    let what = "module.function, or a mapping such as {python_callable: module.function}";
    let fields = fields_of(item, what, keys::PYTHON, problems)?;
    callable::read(&fields, files, problems)
}
