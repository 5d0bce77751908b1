//! The `service` operator: long-running programs that a task declares.

use std::time::Duration;

use model::{
    container::Container,
    operator::{ReadyWhen, ServiceSpec, ServiceTask},
};

use super::{
    docker,
    fields::{Fields, Item},
    operator::optional,
    task::positive,
};
use crate::{
    keys::{self, Here, REPLICAS_MAX},
    problem::Problems,
    yaml::Value,
};

const READY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(120);
const STOP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// The words of `ready_when`; a mapping with a metric is its third form.
const READY_WORDS: [&str; 2] = ["started", "caught_up"];

/// The longest name: it is part of log file names.
const NAME_LENGTH_MAX: usize = 100;

/// Reads the operator's keys.
pub(super) fn read(fields: &Fields<'_>, problems: &mut Problems) -> Option<ServiceTask> {
    let item = fields.take("services")?;
    let services: Vec<_> = item.list("a list of services", problems)?.iter().map(|item| spec(item, problems)).collect();
    if services.is_empty() {
        return item.fail("expected at least one service", problems);
    }
    let ready_timeout = seconds(fields, "ready_timeout", READY_TIMEOUT_DEFAULT, problems)?;
    Some(ServiceTask { services: services.into_iter().collect::<Option<_>>()?, ready_timeout_secs: ready_timeout })
}

fn spec(item: &Item<'_>, problems: &mut Problems) -> Option<ServiceSpec> {
    let fields = item.fields("a service, a mapping with name and command", problems)?;
    fields.check_keys(&[keys::SERVICE, keys::docker::CONTAINER], &[keys::docker::NOT_YET], Here::Part, problems);
    let name_item = fields.required("name", problems);
    let container = container(&fields, problems);
    let command_item = match fields.take("image") {
        Some(_) => fields.take("command"),
        None => Some(fields.required("command", problems)?),
    };
    let name = name_item.and_then(|item| name(&item, problems));
    let command = match command_item {
        Some(item) => command(&item, problems),
        None => Some(Vec::new()),
    };
    let replicas = match fields.take("replicas") {
        Some(item) => item.whole(1..=REPLICAS_MAX, problems)?,
        None => 1,
    };
    Some(ServiceSpec {
        name: name?,
        command: command?,
        container: container?,
        replicas,
        env: optional(&fields, "env", |item| item.environment(problems))?,
        pass_env: optional(&fields, "pass_env", |item| item.patterns(problems))?,
        ready_when: optional(&fields, "ready_when", |item| ready_when(item, problems))?,
        stop_timeout_secs: seconds(&fields, "stop_timeout", STOP_TIMEOUT_DEFAULT, problems)?,
    })
}

/// The container that a service with an image runs in; other keys of containers have no meaning without one.
fn container(fields: &Fields<'_>, problems: &mut Problems) -> Option<Option<Box<Container>>> {
    if fields.take("image").is_some() {
        for name in ["docker_conn_id", "docker_url"] {
            if let Some(item) = fields.take(name) {
                return item.fail(
                    "not supported yet: another engine or a registry's login for services; pull the image beforehand",
                    problems,
                );
            }
        }
        return docker::container(fields, problems).map(Box::new).map(Some);
    }
    match keys::docker::CONTAINER.iter().find_map(|key| fields.take(key.name)) {
        Some(item) => item.fail("only a service with an image has this; image is missing", problems),
        None => Some(None),
    }
}

fn name(item: &Item<'_>, problems: &mut Problems) -> Option<String> {
    let text = item.text(problems)?;
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if plain && text.len() <= NAME_LENGTH_MAX {
        return Some(text);
    }
    item.fail(format!("a service's name has at most {NAME_LENGTH_MAX} of A-Z a-z 0-9 _ and -"), problems)
}

fn command(item: &Item<'_>, problems: &mut Problems) -> Option<Vec<String>> {
    if let Value::Text(_) = item.node.value {
        return item.fail("expected a list: [program, argument, …]; no shell takes it apart", problems);
    }
    match item.text_list(problems)? {
        command if command.first().is_some_and(|program| !program.trim().is_empty()) => Some(command),
        _ => item.fail("expected a program and its arguments, found an empty list", problems),
    }
}

fn ready_when(item: &Item<'_>, problems: &mut Problems) -> Option<ReadyWhen> {
    match &item.node.value {
        Value::Text(word) => match &**word {
            "started" => Some(ReadyWhen::Started),
            "caught_up" => Some(ReadyWhen::CaughtUp),
            _ => {
                let message = format!("expected started, caught_up or {{metric: …, at_least: …}}, found {word:?}");
                problems.add_with(&item.place, message, problems.did_you_mean(word, READY_WORDS));
                None
            }
        },
        _ => {
            let fields = item.fields("started, caught_up or {metric: …, at_least: …}", problems)?;
            fields.check_keys(&[keys::READY_WHEN], &[], Here::Part, problems);
            let (metric, at_least) = (fields.required("metric", problems), fields.required("at_least", problems));
            Some(ReadyWhen::Metric { name: metric?.text(problems)?, at_least: at_least?.number(problems)? })
        }
    }
}

fn seconds(fields: &Fields<'_>, name: &str, absent: Duration, problems: &mut Problems) -> Option<f64> {
    let duration = match fields.take(name) {
        Some(item) => positive(&item, problems)?,
        None => absent,
    };
    Some(duration.as_secs_f64())
}
