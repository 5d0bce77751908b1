//! Tasks: every key that all operators share, with the defaults that Airflow has.

use std::{collections::BTreeSet, time::Duration};

use chrono_tz::Tz;
use model::{Operator, RetryAction, RetryRule, TaskId, Timestamp, TriggerRule, WeightRule, operator::Returns};
use regex::Regex;

use super::{
    assets, callbacks, expand,
    fields::{Fields, Item, Layer, check_keys},
    given,
    group::{self, Dependency, Group, Groups},
    operator, params, phase,
};
use crate::{
    compiled::{Dag, Task},
    files::FileSet,
    keys::{self, Here, LIMIT_MAX, RETRIES_MAX, TRIGGER_RULES, WEIGHT_RULES},
    problem::{Place, Problems},
    scopes::Phase,
    yaml::{Key, Node, Value},
};

/// Airflow's pause before a further try.
const RETRY_DELAY_DEFAULT: Duration = Duration::from_secs(300);

/// The factor of `retry_exponential_backoff: true`.
const BACKOFF_DEFAULT: f64 = 2.0;

/// The largest factor; with it the second pause is already 100 times the first.
const BACKOFF_MAX: f64 = 100.0;

/// The pool of every task that names none.
const POOL_DEFAULT: &str = "default_pool";

/// Who answers for a task that names nobody, as in Airflow.
const OWNER_DEFAULT: &str = "airflow";

/// A task as it was read: names are not resolved, `upstream`, `downstream` and `effective_weight` are still empty.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    /// The task.
    pub(crate) task: Task,
    /// What it comes after.
    pub(crate) dependencies: Vec<Dependency>,
    /// The setups that it tears down, which are among the dependencies.
    pub(crate) setups: Vec<Dependency>,
    /// Where it is.
    pub(crate) place: Place,
}

/// Reads all tasks of a DAG, in the order of the file; none when one of them can not be named.
pub(super) fn read_all(
    dag: &Fields<'_>,
    groups: &Groups<'_>,
    (defaults, zone): (&[Layer<'_>], Tz),
    files: &mut FileSet<'_>,
    problems: &mut Problems,
) -> Option<Vec<Draft>> {
    let Some(item) = dag.take("tasks") else {
        problems.add(&dag.place, "tasks is missing: a DAG has at least one task");
        return None;
    };
    let found = item.named("a list or mapping of tasks", problems);
    if found.is_empty() && matches!(item.node.value, Value::List(_) | Value::Map(_)) {
        problems.add(&item.place, "expected at least one task");
    }
    let mut ids = BTreeSet::new();
    let mut drafts: Vec<Option<Draft>> = Vec::new();
    for (key, item) in found {
        let draft = read(key.map(|key| &*key.name), &item, (groups, defaults, zone), files, problems);
        if let Some(Draft { task, .. }) = &draft {
            let id = task.task_id.as_str();
            let taken = if groups.has(id) {
                Some(format!("{id:?} is a group, too; a task and a group of one DAG have different ids"))
            } else if ids.insert(task.task_id.clone()) {
                None
            } else {
                Some(format!("there are two tasks {id:?}"))
            };
            if let Some(message) = taken {
                let own = item.fields("a task", problems).and_then(|fields| fields.own("task_id"));
                problems.add(&own.map_or_else(|| item.place.clone(), |own| own.place), message);
                continue;
            }
        }
        drafts.push(draft);
    }
    drafts.into_iter().collect()
}

fn read(
    key: Option<&str>,
    item: &Item<'_>,
    (groups, defaults, zone): (&Groups<'_>, &[Layer<'_>], Tz),
    files: &mut FileSet<'_>,
    problems: &mut Problems,
) -> Option<Draft> {
    let own = item.layer("a task, a mapping", problems)?;
    let alone = Fields::new(item.place.clone(), vec![own.clone()]);
    let group = group_of(&alone, groups, problems);
    let inherited = group.iter().flat_map(|group| group.defaults.iter()).chain(defaults).cloned();
    let partial = expand::partial(&alone, problems);
    let inherited = partial.iter().cloned().chain(inherited);
    let fields = Fields::new(item.place.clone(), std::iter::once(own).chain(inherited).collect());
    let task_id = task_id(&alone, key, group, problems);
    let operator_keys = operator::keys_of(&fields, problems);
    // Which keys are right depends on the operator; without a known one that is problem enough.
    if let Some(operator) = operator_keys {
        let tables: Vec<_> = [keys::OWN, keys::TASK].into_iter().chain(operator.tables.iter().copied()).collect();
        let of_operator = if operator.name == "docker" { keys::docker::NOT_YET } else { &[] };
        fields.check_keys(&tables, &[keys::TASK_NOT_YET, of_operator], Here::Task, problems);
        if let Some(partial) = &partial {
            check_keys(partial, &tables, &[keys::TASK_NOT_YET, of_operator], Here::Task, problems);
        }
    }
    if let Some(settings) = fields.take("executor_config") {
        problems
            .warn(&settings.place, "settings of an executor of Airflow's; there is none here, and they change nothing");
    }
    // What variables give goes before what is written.
    let variables = variables_as_arguments(&fields, problems);
    let fields = match variables.as_slice() {
        [] => fields,
        entries => fields.below(Layer::of(entries, item.place.path.clone())),
    };
    let around =
        group.and_then(|group| groups.expanded_around(&group.group_id)).and_then(|group| group.expand.as_ref());
    let of_group = around.zip(operator_keys).map(|(group, keys)| expand::of_group(group, &alone, keys, problems));
    let mut expanded = match of_group {
        Some(_) => None,
        None => operator_keys.and_then(|keys| expand::read(&alone, keys, problems)),
    };
    let is_expanded = alone.own("expand").is_some() || alone.own("expand_kwargs").is_some();
    let operator = operator_keys.and_then(|keys| match &mut expanded {
        Some(read) => given::operator(keys, &fields, (&mut read.expand, &read.place), files, problems),
        // What it is expanded over can not be read, so that it is not known what the operator has.
        None if is_expanded && expand::can_not_be_many(keys.name).is_none() => None,
        None => operator::read(keys, &fields, files, problems),
    });
    let phase::Read { phase, setups } = phase::read(&alone, problems);
    let mut dependencies = group::dependencies(&alone, problems);
    dependencies.extend(setups.iter().cloned());
    let (start_date, end_date) = window(&alone, zone, problems);
    let trigger_rule = trigger_rule(&fields, phase, problems);
    // A task that asks people asks for its params.
    let asks = operator.as_ref().is_some_and(|operator| operator.asking().is_some());
    let params = if asks { serde_json::Map::new() } else { params::of_task(&fields, problems) };
    let task = Task { phase, trigger_rule, start_date, end_date, params, ..shared(&fields, files, problems) };
    let (expand, sources) = expanded.map(|read| (read.expand, read.sources)).unzip();
    let expand = expand.or_else(|| of_group.flatten());
    let waits_for_none = task.trigger_rule == TriggerRule::Always;
    if waits_for_none && expand.as_ref().is_some_and(|expand| expand.group.is_some()) {
        problems.add(&item.place, "its group is expanded, and a task of it can not have the trigger_rule always");
    }
    let decides = matches!(&operator, Some(Operator::PythonCallable(keys)) if keys.returns != Returns::Value);
    if decides && expand.is_some() {
        let message = "a function that decides what follows it decides for the whole task, and can not be expanded; expand what follows";
        problems.add(&item.place, message);
    }
    dependencies.extend(sources.unwrap_or_default());
    let group = group.map(|group| group.group_id.clone());
    let task = Task { task_id: task_id?, operator: operator?, group, expand, ..task };
    Some(Draft { task, dependencies, setups, place: item.place.clone() })
}

fn task_id(
    fields: &Fields<'_>,
    key: Option<&str>,
    group: Option<&Group<'_>>,
    problems: &mut Problems,
) -> Option<TaskId> {
    let item = fields.own("task_id");
    let name = match (&item, key) {
        (Some(item), None) => item.plain_text(problems)?,
        (None, Some(key)) => key.to_owned(),
        (Some(item), Some(key)) => {
            let text = item.plain_text(problems)?;
            if text != key {
                return item.fail(format!("the task stands below the key {key:?}; leave task_id away"), problems);
            }
            text
        }
        (None, None) => {
            problems.add(&fields.place, "task_id is missing");
            return None;
        }
    };
    let place = item.map_or_else(|| fields.place.clone(), |item| item.place);
    let whole = group.map_or_else(|| name.clone(), |group| format!("{}.{name}", group.group_id));
    TaskId::new(&whole).map_err(|why| problems.add(&place, why.to_string())).ok()
}

fn group_of<'g, 'n>(fields: &Fields<'_>, groups: &'g Groups<'n>, problems: &mut Problems) -> Option<&'g Group<'n>> {
    let item = fields.own("task_group_name")?;
    let name = item.text(problems)?;
    let found = groups.find(&name);
    if found.is_none() {
        let names = groups.all.iter().map(|group| group.group_id.as_str());
        problems.add_with(&item.place, format!("there is no group {name:?}"), problems.did_you_mean(&name, names));
    }
    found
}

/// Everything but the id and the operator.
fn shared(fields: &Fields<'_>, files: &mut FileSet<'_>, problems: &mut Problems) -> Task {
    let wait_for_downstream = truth(fields, "wait_for_downstream", false, problems);
    let depends_on_past = truth(fields, "depends_on_past", false, problems);
    Task {
        task_id: TaskId::new("unnamed").expect("letters are a valid id"),
        operator: model::Operator::Empty,
        upstream: Vec::new(),
        downstream: Vec::new(),
        trigger_rule: TriggerRule::AllSuccess,
        start_date: None,
        end_date: None,
        phase: Phase::Work,
        retries: whole(fields, "retries", 0..=RETRIES_MAX, problems).unwrap_or(0),
        retry_delay: duration(fields, ["retry_delay", "retry_delay_sec"], problems).unwrap_or(RETRY_DELAY_DEFAULT),
        retry_exponential_backoff: backoff(fields, problems),
        max_retry_delay: duration(fields, ["max_retry_delay", "max_retry_delay_sec"], problems),
        retry_policy: retry_policy(fields, problems),
        execution_timeout: fields
            .either(["execution_timeout", "execution_timeout_sec", "execution_timeout_secs"], problems)
            .and_then(|item| positive(&item, problems)),
        task_queued_timeout: fields.take("task_queued_timeout").and_then(|item| positive(&item, problems)),
        pool: text(fields, "pool", problems).unwrap_or_else(|| POOL_DEFAULT.to_owned()),
        pool_slots: whole(fields, "pool_slots", 1..=LIMIT_MAX, problems).unwrap_or(1),
        priority_weight: whole(fields, "priority_weight", i32::MIN.into()..=i32::MAX.into(), problems).unwrap_or(1),
        weight_rule: word(fields, "weight_rule", WEIGHT_RULES, problems).unwrap_or(WeightRule::Downstream),
        effective_weight: 0,
        max_active_tis_per_dag: whole(fields, "max_active_tis_per_dag", 1..=LIMIT_MAX, problems),
        max_active_tis_per_dagrun: whole(fields, "max_active_tis_per_dagrun", 1..=LIMIT_MAX, problems),
        depends_on_past: depends_on_past || wait_for_downstream,
        wait_for_downstream,
        ignore_first_depends_on_past: truth(fields, "ignore_first_depends_on_past", true, problems),
        wait_for_past_depends_before_skipping: truth(fields, "wait_for_past_depends_before_skipping", false, problems),
        do_xcom_push: truth(fields, "do_xcom_push", true, problems),
        multiple_outputs: truth(fields, "multiple_outputs", false, problems),
        queue: text(fields, "queue", problems).unwrap_or_else(|| Dag::DEFAULT_QUEUE.to_owned()),
        owner: text(fields, "owner", problems).unwrap_or_else(|| OWNER_DEFAULT.to_owned()),
        task_display_name: fields.take("task_display_name").and_then(|item| item.text_or_none(problems)),
        doc_md: fields.take("doc_md").and_then(|item| item.text_or_none(problems)),
        params: serde_json::Map::new(),
        outlets: assets::of_task(fields, "outlets", problems),
        inlets: assets::of_task(fields, "inlets", problems),
        callbacks: callbacks::of_task(fields, files, problems),
        group: None,
        expand: None,
    }
}

/// The first and the last date whose runs have a task.
fn window(alone: &Fields<'_>, zone: Tz, problems: &mut Problems) -> (Option<Timestamp>, Option<Timestamp>) {
    let date = |name, problems: &mut Problems| alone.own(name).and_then(|item| item.date(zone, problems));
    let (start, end) = (date("start_date", problems), date("end_date", problems));
    if let (Some(first), Some(last)) = (start, end)
        && last < first
        && let Some(item) = alone.own("end_date")
    {
        item.fail::<()>("the end_date is before the start_date; no run would have the task", problems);
    }
    (start, end)
}

/// A teardown has its own rule, which nothing that it inherits changes.
fn trigger_rule(fields: &Fields<'_>, phase: Phase, problems: &mut Problems) -> TriggerRule {
    if !phase.is_teardown() {
        return word(fields, "trigger_rule", TRIGGER_RULES, problems).unwrap_or(TriggerRule::AllSuccess);
    }
    if let Some(item) = fields.own("trigger_rule") {
        item.fail::<()>(
            "a teardown runs when everything between is over and a setup of it has succeeded; leave trigger_rule away",
            problems,
        );
    }
    TriggerRule::AllDoneSetupSuccess
}

fn text(fields: &Fields<'_>, name: &str, problems: &mut Problems) -> Option<String> {
    fields.take(name)?.text(problems)
}

/// dag-factory's `variables_as_arguments`: keys that have the value of an Airflow variable, or what is written where there is none.
/// dag-factory reads them when it reads the file; here they are templates, and so they are read when the task runs.
fn variables_as_arguments(fields: &Fields<'_>, problems: &mut Problems) -> Vec<(Key, Node)> {
    let Some(item) = fields.own("variables_as_arguments") else { return Vec::new() };
    let mut entries = Vec::new();
    for item in item.list("a list such as [{variable: a, attribute: bash_command}]", problems).unwrap_or_default() {
        let Some(pair) = item.fields("a mapping of variable and attribute", problems) else { continue };
        let mut text = |name| pair.required(name, problems).and_then(|item| item.plain_text(problems));
        let (Some(variable), Some(attribute)) = (text("variable"), text("attribute")) else { continue };
        let name = format!("'{}'", variable.replace('\\', "\\\\").replace('\'', "\\'"));
        let template = match fields.take(&attribute).map(|written| written.node.value.clone()) {
            None => format!("{{{{ var.value[{name}] }}}}"),
            Some(Value::Text(written)) => {
                let value = format!("var.value.get({name}, none)");
                format!("{{% if {value} is none %}}{written}{{% else %}}{{{{ {value} }}}}{{% endif %}}")
            }
            Some(_) => {
                problems.add(&item.place, format!("{attribute} is no text, so that no variable can stand for it"));
                continue;
            }
        };
        entries
            .push((Key { at: item.place.at, name: attribute.into() }, Node::of_json(&template.into(), item.place.at)));
    }
    entries
}

fn truth(fields: &Fields<'_>, name: &str, absent: bool, problems: &mut Problems) -> bool {
    fields.take(name).and_then(|item| item.truth(problems)).unwrap_or(absent)
}

fn whole<T: TryFrom<i64>>(
    fields: &Fields<'_>,
    name: &str,
    range: std::ops::RangeInclusive<i64>,
    problems: &mut Problems,
) -> Option<T> {
    fields.take(name)?.whole(range, problems)
}

fn word<T: std::str::FromStr>(
    fields: &Fields<'_>,
    name: &str,
    words: &[&'static str],
    problems: &mut Problems,
) -> Option<T> {
    fields.take(name)?.word(words, problems)
}

fn duration(fields: &Fields<'_>, names: [&str; 2], problems: &mut Problems) -> Option<Duration> {
    fields.either(names, problems)?.duration(problems)
}

/// A duration that is not zero: a timeout of nothing would end everything at once.
pub(super) fn positive(item: &Item<'_>, problems: &mut Problems) -> Option<Duration> {
    match item.duration(problems)? {
        Duration::ZERO => item.fail("expected a duration longer than 0", problems),
        duration => Some(duration),
    }
}

/// True is the factor 2; a number is the factor itself, and 0 is none, as in Airflow.
fn backoff(fields: &Fields<'_>, problems: &mut Problems) -> Option<f64> {
    let item = fields.take("retry_exponential_backoff")?;
    match item.node.value {
        Value::Bool(true) => Some(BACKOFF_DEFAULT),
        Value::Bool(false) => None,
        _ => match item.number(problems)? {
            0.0 => None,
            factor if (1.0..=BACKOFF_MAX).contains(&factor) => Some(factor),
            _ => item.expected(&format!("true, false or a factor from 1 to {BACKOFF_MAX}"), problems),
        },
    }
}

fn retry_policy(fields: &Fields<'_>, problems: &mut Problems) -> Vec<RetryRule> {
    let Some(item) = fields.take("retry_policy") else { return Vec::new() };
    let rules = item.list("a list of rules such as [{exit_code: 75, action: retry, delay: 1m}]", problems);
    let rules = rules.unwrap_or_default();
    if rules.len() > keys::RETRY_RULES_MAX {
        let message = format!("the policy has {} rules; at most {} are allowed", rules.len(), keys::RETRY_RULES_MAX);
        problems.add(&item.place, message);
        return Vec::new();
    }
    rules.iter().filter_map(|item| retry_rule(item, problems)).collect()
}

fn retry_rule(item: &Item<'_>, problems: &mut Problems) -> Option<RetryRule> {
    let fields = item.fields("a rule such as {exit_code: 75, action: retry, delay: 1m}", problems)?;
    fields.check_keys(&[keys::RETRY_RULE], &[], Here::Part, problems);
    let exit_codes = operator::optional(&fields, "exit_code", |item| operator::exit_codes(item, problems))?;
    let log_matches = match fields.take("log_matches") {
        None => None,
        Some(item) => {
            let pattern = item.text(problems)?;
            if let Err(error) = Regex::new(&pattern) {
                let why = error.to_string();
                let why = why.lines().next_back().unwrap_or_default().trim_start_matches("error: ").to_owned();
                return item.fail(format!("{pattern:?} is not a regular expression: {why}"), problems);
            }
            Some(pattern)
        }
    };
    if exit_codes.is_empty() && log_matches.is_none() {
        return item.fail("a rule names an exit_code, or a pattern by log_matches", problems);
    }
    let fails = fields
        .take("action")
        .map_or(Some(false), |item| Some(item.word::<String>(keys::RETRY_ACTIONS, problems)? == "fail"))?;
    let delay = fields.take("delay");
    match (fails, delay) {
        (true, Some(delay)) => delay.fail("nothing follows a rule with action: fail; leave delay away", problems),
        (true, None) => Some(RetryRule { exit_codes, log_matches, action: RetryAction::Fail }),
        (false, delay) => {
            let delay = delay.map_or(Some(None), |item| item.duration(problems).map(Some))?;
            let action = RetryAction::Retry { delay_secs: delay.map(|delay| delay.as_secs_f64()) };
            Some(RetryRule { exit_codes, log_matches, action })
        }
    }
}
