//! `expand`, `expand_kwargs` and `partial`: what makes a task many instances.
//!
//! What a task is expanded over is read here and never evaluated: lists of the file, and what other tasks return.

use model::{Operator, TaskId};
use serde_json::Value as Json;

use super::{
    fields::{Fields, Item, Layer},
    given,
    group::Dependency,
};
use crate::{
    expand::{Expand, ExpandBy, INSTANCES_MAX, Over},
    keys::{self, OperatorKeys},
    problem::{Place, Problems},
    yaml::Value,
};

/// What an input may be, for messages.
const FORMS: &str = "a list, a mapping, what a task returns, such as list_parts.output or exactly \
                     {{ ti.xcom_pull(task_ids='list_parts') }}, or these joined by {zip: […]} or {concat: […]}";

/// Names that templates have already, so that an input can not take them.
const TEMPLATE_NAMES: &[&str] = &[
    "conf",
    "conn",
    "dag",
    "dag_run",
    "data_interval_end",
    "data_interval_start",
    "ds",
    "ds_nodash",
    "logical_date",
    "macros",
    "map_index",
    "map_index_template",
    "run_id",
    "task",
    "task_instance",
    "task_instance_key_str",
    "test_mode",
    "ti",
    "try_number",
    "ts",
    "ts_nodash",
    "ts_nodash_with_tz",
    "var",
];

/// An instance has these beside those of its run.
const PARAMS: &str = "params";

/// What was read: the expansion, whose tasks are named as in the file, and what the task comes after because of it.
pub(super) struct Read {
    pub(super) expand: Expand,
    pub(super) sources: Vec<Dependency>,
    /// Where it says what it is expanded over.
    pub(super) place: Place,
}

/// The keys below `partial`, which count as the task's own.
pub(super) fn partial<'n>(alone: &Fields<'n>, problems: &mut Problems) -> Option<Layer<'n>> {
    let item = alone.own("partial")?;
    if alone.own("expand").is_none() && alone.own("expand_kwargs").is_none() {
        return item
            .fail("partial stands beside expand or expand_kwargs; write its keys directly at the task", problems);
    }
    let layer = item.layer("a mapping of keys of the task", problems)?;
    for (key, inner) in layer.items() {
        if keys::OWN.iter().any(|own| own.name == &*key.name) {
            problems.add(&inner.place, "this key stands at the task itself, not below partial");
        } else if alone.own(&key.name).is_some() {
            problems.add(&inner.place, format!("{} is given at the task, too; keep one", key.name));
        } else if let Some(Value::Map(inputs)) = alone.own("expand").map(|item| &item.node.value)
            && inputs.iter().any(|(input, _)| input.name == key.name)
        {
            problems.add(&inner.place, format!("the task is expanded over {}, too; keep one", key.name));
        }
    }
    Some(layer)
}

/// Reads what a task is expanded over; none when it is not, or when that can not be read.
pub(super) fn read(alone: &Fields<'_>, operator: &OperatorKeys, problems: &mut Problems) -> Option<Read> {
    let template = alone.own("map_index_template");
    let mut sources = Vec::new();
    let by = match (alone.own("expand"), alone.own("expand_kwargs")) {
        (None, None) => {
            if let Some(item) = template {
                problems.add(
                    &item.place,
                    "map_index_template names the instances of an expanded task; this one has no expand",
                );
            }
            return None;
        }
        (Some(_), Some(second)) => return second.fail("expand and expand_kwargs are both given; keep one", problems),
        (Some(item), None) => ExpandBy::Product(product(&item, Some(operator), &mut sources, problems)?),
        (None, Some(item)) => ExpandBy::Kwargs(kwargs(&item, Some(operator), &mut sources, problems)?),
    };
    let map_index_template = template.and_then(|item| item.text(problems));
    let expand = Expand { by, map_index_template, keys: Vec::new(), group: None };
    let place = alone.own("expand").or_else(|| alone.own("expand_kwargs")).map(|item| item.place)?;
    if let Some(why) = can_not_be_many(operator.name) {
        problems.add(&place, why);
        return None;
    }
    within_limit(&expand, &place, problems)?;
    Some(Read { expand, sources, place })
}

/// Reads what a group is expanded over; none when it is not.
pub(super) fn read_group(own: &Fields<'_>, problems: &mut Problems) -> Option<Read> {
    let mut sources = Vec::new();
    let by = match (own.own("expand"), own.own("expand_kwargs")) {
        (None, None) => return None,
        (Some(_), Some(second)) => return second.fail("expand and expand_kwargs are both given; keep one", problems),
        (Some(item), None) => ExpandBy::Product(product(&item, None, &mut sources, problems)?),
        (None, Some(item)) => ExpandBy::Kwargs(kwargs(&item, None, &mut sources, problems)?),
    };
    let expand = Expand { by, map_index_template: None, keys: Vec::new(), group: None };
    let place = own.own("expand").or_else(|| own.own("expand_kwargs")).map(|item| item.place)?;
    within_limit(&expand, &place, problems)?;
    Some(Read { expand, sources, place })
}

/// What a task of an expanded group is: as many instances as the group.
pub(super) fn of_group(
    group: &Expand,
    alone: &Fields<'_>,
    operator: &OperatorKeys,
    problems: &mut Problems,
) -> Option<Expand> {
    if let Some(item) = alone.own("expand").or_else(|| alone.own("expand_kwargs")) {
        return item.fail("its group is expanded; a task of it can not be expanded once more", problems);
    }
    if let Some(why) = can_not_be_many(operator.name) {
        problems.add(&alone.place, format!("its group is expanded, and {why}"));
        return None;
    }
    let map_index_template = alone.own("map_index_template").and_then(|item| item.text(problems));
    Some(Expand { map_index_template, ..group.clone() })
}

fn within_limit(expand: &Expand, place: &Place, problems: &mut Problems) -> Option<()> {
    if let Some(length) = expand.length(&|_| Some(0)).filter(|length| *length > INSTANCES_MAX) {
        problems.add(place, format!("this gives {length} instances, and a task may have {INSTANCES_MAX} at most"));
        return None;
    }
    Some(())
}

/// Why a task of some operators is one.
pub(super) fn can_not_be_many(operator: &str) -> Option<String> {
    match operator {
        "branch" | "short_circuit" | "latest_only" => Some(format!(
            "a {operator} task decides for all that follow it, and can not be expanded; expand what follows"
        )),
        "approval" | "choice" => {
            Some(format!("{operator} puts one question, and can not be expanded; expand what follows"))
        }
        "service" => Some("a service task can not be expanded; replicas say how many of a service run".to_owned()),
        _ => None,
    }
}

/// Why nothing can be expanded over what a task returns.
pub(crate) fn leaves_nothing(operator: &Operator, pushes: bool) -> Option<&'static str> {
    match operator {
        Operator::Empty => Some("it is empty"),
        Operator::LatestOnly => Some("it only decides"),
        Operator::Service(_) => Some("it declares services"),
        _ if !pushes => Some("it has do_xcom_push: false"),
        _ => None,
    }
}

fn product(
    item: &Item<'_>,
    operator: Option<&OperatorKeys>,
    sources: &mut Vec<Dependency>,
    problems: &mut Problems,
) -> Option<Vec<(String, Over)>> {
    let layer = item.layer("a mapping of names to what the task is expanded over", problems)?;
    let mut inputs = Vec::new();
    let mut whole = true;
    for (key, item) in layer.items() {
        let name_is_free = check_name(&key.name, operator).map_err(|why| problems.add(&item.place, why)).is_ok();
        let over = over(&item, sources, problems);
        whole &= name_is_free && over.is_some();
        inputs.extend(over.map(|over| (key.name.to_string(), over)));
    }
    if inputs.is_empty() && whole {
        return item.fail("expected at least one name and what the task is expanded over", problems);
    }
    whole.then_some(inputs)
}

/// Each element is a mapping; of those in the file the names are looked at.
fn kwargs(
    item: &Item<'_>,
    operator: Option<&OperatorKeys>,
    sources: &mut Vec<Dependency>,
    problems: &mut Problems,
) -> Option<Over> {
    if let Value::List(_) = &item.node.value {
        for element in item.list("a list of mappings", problems)? {
            let layer = element.layer("a mapping of names to values", problems)?;
            for (key, inner) in layer.items() {
                check_name(&key.name, operator).map_err(|why| problems.add(&inner.place, why)).ok()?;
            }
        }
    }
    over(item, sources, problems)
}

/// Whether an input may have this name: it is a key of the operator, or templates find its element under it. Those of a group, which
/// has no operator, are names in templates of tasks with any.
fn check_name(name: &str, operator: Option<&OperatorKeys>) -> Result<(), String> {
    if operator.is_some_and(|operator| given::is_given(operator, name)) || name == PARAMS {
        return Ok(());
    }
    let is_name =
        name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit());
    if !is_name || name.is_empty() {
        return Err(format!("{name:?} can not be used in a template: use letters, digits and _"));
    }
    if TEMPLATE_NAMES.contains(&name) || name.starts_with("prev_") {
        return Err(format!("templates have {name} already; choose another name"));
    }
    let is_key = |key: &keys::Key| key.name == name;
    match operator {
        None if keys::operator_keys().iter().any(is_key) || keys::TASK.iter().any(is_key) => {
            Err(format!("{name} is a key of tasks; choose another name, and use it in their templates"))
        }
        Some(operator) if operator.keys().any(is_key) && given::other_name(name).is_some() => {
            Err(format!("write {}, which says the same and can be expanded", given::other_name(name).unwrap_or(name)))
        }
        Some(operator) if operator.keys().any(is_key) || keys::TASK.iter().any(is_key) => {
            Err(format!("all instances of a task have one {name}; write it at the task, or below partial"))
        }
        None | Some(_) => Ok(()),
    }
}

fn over(item: &Item<'_>, sources: &mut Vec<Dependency>, problems: &mut Problems) -> Option<Over> {
    match &item.node.value {
        Value::List(_) => match item.json(problems)? {
            Json::Array(values) => Some(Over::Literal(values)),
            _ => None,
        },
        Value::Map(_) => match joined(item, sources, problems) {
            Some(joined) => joined,
            None => match item.json(problems)? {
                Json::Object(entries) => {
                    let pairs = entries.into_iter().map(|(key, value)| Json::Array(vec![Json::String(key), value]));
                    Some(Over::Literal(pairs.collect()))
                }
                _ => None,
            },
        },
        Value::Text(text) => match output(text) {
            Ok(name) => {
                let task = TaskId::new(&name).map_err(|why| problems.add(&item.place, why.to_string())).ok()?;
                sources.push(Dependency { name, place: item.place.clone() });
                Some(Over::Output(task))
            }
            Err(why) => item.fail(why, problems),
        },
        Value::Null | Value::Bool(_) | Value::Int(..) | Value::Float(..) | Value::Refused(_) => {
            item.expected(FORMS, problems)
        }
    }
}

/// `{zip: […]}` and `{concat: […]}`; none for another mapping.
fn joined(item: &Item<'_>, sources: &mut Vec<Dependency>, problems: &mut Problems) -> Option<Option<Over>> {
    let fields = item.fields("a mapping", problems)?;
    let layer = item.layer("a mapping", problems)?;
    let names: Vec<&str> = layer.items().map(|(key, _)| &*key.name).collect();
    let parts = |name: &str, sources: &mut Vec<Dependency>, problems: &mut Problems| {
        let list = fields.own(name)?.list("a list of what is joined", problems)?;
        list.iter().map(|part| over(part, sources, problems)).collect::<Option<Vec<_>>>()
    };
    match names.as_slice() {
        ["zip"] => Some(parts("zip", sources, problems).map(|of| Over::Zip { of, fillvalue: None })),
        ["zip", "fillvalue"] | ["fillvalue", "zip"] => Some((|| {
            let fillvalue = layer.get("fillvalue")?.json(problems)?;
            Some(Over::Zip { of: parts("zip", sources, problems)?, fillvalue: Some(fillvalue) })
        })()),
        ["concat"] => Some(parts("concat", sources, problems).map(Over::Concat)),
        _ => None,
    }
}

/// The task whose return value a text means.
fn output(text: &str) -> Result<String, String> {
    let text = text.trim();
    if let Some(name) = text.strip_suffix(".output") {
        return Ok(name.to_owned());
    }
    let inner = text.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")).map(str::trim);
    let pulled = inner.and_then(|inner| inner.strip_prefix("ti.").or_else(|| inner.strip_prefix("task_instance.")));
    let arguments = pulled.and_then(|call| call.strip_prefix("xcom_pull")).map(str::trim);
    let arguments = arguments.and_then(|call| call.strip_prefix('(')?.strip_suffix(')'));
    let unquoted = |text: &str| {
        let text = text.trim();
        let bare = ['\'', '"'].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
        bare.map(str::to_owned)
    };
    let Some(arguments) = arguments else { return Err(format!("expected {FORMS}, found the text {text:?}")) };
    let mut task = None;
    for argument in arguments.split(',').map(str::trim).filter(|argument| !argument.is_empty()) {
        match argument.split_once('=').map(|(name, value)| (name.trim(), unquoted(value))) {
            Some(("task_ids", Some(name))) => task = Some(name),
            Some(("key", Some(key))) if key == "return_value" => {}
            Some(("key", Some(key))) => {
                return Err(format!("a task is expanded over what another one returns, not over its XCom {key:?}"));
            }
            None if task.is_none() && unquoted(argument).is_some() => task = unquoted(argument),
            _ => return Err(format!("expected exactly {{{{ ti.xcom_pull(task_ids='list_parts') }}}}, found {text:?}")),
        }
    }
    task.ok_or_else(|| format!("expected exactly {{{{ ti.xcom_pull(task_ids='list_parts') }}}}, found {text:?}"))
}
