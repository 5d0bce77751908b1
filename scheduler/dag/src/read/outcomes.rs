//! A file of outcomes: cases, what becomes of attempts in them, and what is expected.

use std::{collections::BTreeMap, time::Duration};

use chrono_tz::Tz;
use model::{DagRunState, TaskId, TaskState, Timestamp, XComValue};
use serde_json::{Map, Value as Json};

use super::fields::{Fields, Item, Layer};
use crate::{
    Dag,
    keys::{Here, outcomes as keys},
    outcomes::{Answered, Case, Expect, Named, Outcome, Told},
    problem::{FieldPath, Place, Problems},
    yaml::{Node, Value},
};

/// The date of a run of which none is told.
const DATE: &str = "2026-01-01T00:00:00Z";
/// How many attempts run at once when nothing is told.
const WORKER_SLOTS: u32 = 1_000;
/// How long an attempt takes when nothing is told.
const DURATION: Duration = Duration::from_secs(1);
/// What a file has to be.
const FILE: &str = "a mapping with tasks and expect, or with cases";

/// Reads all cases of a file.
pub(crate) fn read(root: &Node, dag: &Dag, problems: &mut Problems) -> Vec<Case> {
    let item = Item { node: root, place: Place { at: root.at, path: FieldPath::default() } };
    item.look_through(problems);
    let Some(top) = item.layer(FILE, problems) else { return Vec::new() };
    let fields = Fields::new(item.place.clone(), vec![top.clone()]);
    fields.check_keys(&[keys::CASE, keys::NAME, keys::CASES], &[], Here::Part, problems);
    let Some(cases) = fields.take("cases") else { return case(&fields, &[], dag, problems).into_iter().collect() };
    let items = cases.list("a list of cases", problems).unwrap_or_default();
    if items.len() > keys::CASES_MAX {
        problems.add(&cases.place, format!("expected at most {} cases, found {}", keys::CASES_MAX, items.len()));
        return Vec::new();
    }
    let mut read: Vec<Case> = Vec::new();
    let mut names = std::collections::BTreeSet::new();
    for item in items {
        let Some(own) = item.layer("a case, a mapping with tasks and expect", problems) else { continue };
        let fields = Fields::new(item.place.clone(), vec![own, top.clone()]);
        fields.check_keys(&[keys::CASE, keys::NAME], &[], Here::Part, problems);
        let Some(case) = case(&fields, &["tasks", "pools"], dag, problems) else { continue };
        if !names.insert(case.name.clone()) {
            problems.add(&item.place, format!("a case of this name stands before it: {}", case.name));
        }
        read.push(case);
    }
    read
}

/// One case. `merged` are the keys whose entries of the top of the file count beside its own.
fn case(fields: &Fields<'_>, merged: &[&str], dag: &Dag, problems: &mut Problems) -> Option<Case> {
    let tasks = all_of(fields, "tasks", merged, problems);
    let pools = all_of(fields, "pools", merged, problems);
    let read_name = |item: Item<'_>| item.text(problems);
    let name = if merged.is_empty() { fields.take("name") } else { fields.own("name") };
    let name = match name.map(read_name) {
        Some(name) => name?,
        None if merged.is_empty() => problems.file().to_owned(),
        None => {
            problems.add(&fields.place, "name is missing: each of several cases has one");
            return None;
        }
    };
    let usual_date: Timestamp = DATE.parse().expect("the constant is an instant");
    let date = fields.take("logical_date").map_or(Some(usual_date), |item| item.date(Tz::UTC, problems));
    let slots = fields.take("worker_slots");
    Some(Case {
        name,
        logical_date: date?,
        conf: conf(fields, dag, problems)?,
        pools: pools.iter().filter_map(|(name, item)| Some((name.clone(), pool(item, problems)?))).collect(),
        worker_slots: slots.map_or(Some(WORKER_SLOTS), |item| item.whole(1..=1_000_000, problems))?,
        default_duration: fields.take("default_duration").map_or(Some(DURATION), |item| item.duration(problems))?,
        tasks: named(&tasks, dag, problems)
            .into_iter()
            .filter_map(|(name, item)| {
                let told = tries(&item, &name, dag, problems)?;
                Some((name, told))
            })
            .collect(),
        expect: fields.take("expect").map_or(Some(Expect::default()), |item| expect(&item, dag, problems))?,
    })
}

/// The entries of a mapping: the nearest layer's alone, or those of all layers, of which the nearest counts.
fn all_of<'n>(fields: &Fields<'n>, key: &str, merged: &[&str], problems: &mut Problems) -> Vec<(String, Item<'n>)> {
    let mut found: BTreeMap<String, Item<'n>> = BTreeMap::new();
    let layers = if merged.contains(&key) { fields.all(key) } else { fields.take(key).into_iter().collect() };
    for item in layers {
        let Some(layer) = item.layer("a mapping", problems) else { continue };
        for (name, item) in entries(&layer) {
            found.entry(name).or_insert(item);
        }
    }
    found.into_iter().collect()
}

/// The entries of a mapping; one that holds nothing stands at its key.
fn entries<'n>(layer: &Layer<'n>) -> Vec<(String, Item<'n>)> {
    layer.items().map(|(key, item)| (key.name.to_string(), item)).collect()
}

fn conf(fields: &Fields<'_>, dag: &Dag, problems: &mut Problems) -> Option<Map<String, Json>> {
    let item = fields.take("conf");
    let place = item.as_ref().map_or_else(|| fields.place.clone(), |item| item.place.clone());
    let conf = match item {
        None => Map::new(),
        Some(item) => match item.json(problems)? {
            Json::Object(conf) => conf,
            _ => return item.expected("a mapping of params and their values", problems),
        },
    };
    if let Err(mismatches) = dag.validate_conf(&conf) {
        problems.add(&place, format!("conf: {}", mismatches.join("; ")));
        return None;
    }
    Some(conf)
}

/// The slots of a pool; none for no limit.
fn pool(item: &Item<'_>, problems: &mut Problems) -> Option<Option<u32>> {
    let slots: i64 = item.whole(-1..=i64::from(i32::MAX), problems)?;
    Some(u32::try_from(slots).ok())
}

/// The entries of a mapping whose keys are tasks.
fn named<'n>(found: &[(String, Item<'n>)], dag: &Dag, problems: &mut Problems) -> Vec<(Named, Item<'n>)> {
    let one = |(name, item): &(String, Item<'n>)| Some((task_name(name, &item.place, dag, problems)?, item.clone()));
    found.iter().filter_map(one).collect()
}

/// `load` or `load[2]`.
fn task_name(text: &str, place: &Place, dag: &Dag, problems: &mut Problems) -> Option<Named> {
    let (name, index) = match text.strip_suffix(']').and_then(|text| text.rsplit_once('[')) {
        None => (text, None),
        Some((name, index)) => match index.parse::<u32>() {
            Ok(index) => (name, Some(index)),
            Err(_) => {
                problems.add(place, format!("expected an instance such as {name}[0], found {text}"));
                return None;
            }
        },
    };
    let known = dag.tasks.iter().find(|task| task.task_id.as_str() == name);
    let Some(task) = known else {
        let names = dag.tasks.iter().map(|task| task.task_id.as_str());
        problems.add_with(
            place,
            format!("the DAG {} has no task {name}", dag.dag_id),
            problems.did_you_mean(name, names),
        );
        return None;
    };
    if index.is_some() && task.expand.is_none() {
        problems.add(place, format!("the task {name} is not expanded: it has no instance {text}"));
        return None;
    }
    Some(Named { task_id: task.task_id.clone(), map_index: index })
}

/// What is told of a task: one outcome for every try, or a list of them.
fn tries(item: &Item<'_>, name: &Named, dag: &Dag, problems: &mut Problems) -> Option<Vec<Told>> {
    let items = match &item.node.value {
        Value::List(_) => item.list("a list of outcomes", problems)?,
        _ => vec![item.clone()],
    };
    if items.is_empty() || items.len() > keys::TRIES_MAX {
        return item.fail(format!("expected one to {} outcomes, found {}", keys::TRIES_MAX, items.len()), problems);
    }
    items.iter().map(|item| told(item, name, dag, problems)).collect()
}

fn told(item: &Item<'_>, name: &Named, dag: &Dag, problems: &mut Problems) -> Option<Told> {
    if item.is_scalar() {
        return Some(Told { outcome: outcome(item, problems)?, ..Told::default() });
    }
    let fields = item.fields("an outcome, or a mapping such as {outcome: failed, duration: 5m}", problems)?;
    fields.check_keys(&[keys::ATTEMPT], &[], Here::Part, problems);
    let duration = |key: &str, problems: &mut Problems| {
        fields.take(key).map_or(Some(None), |item| item.duration(problems).map(Some))
    };
    let mut xcoms = xcoms(&fields, problems)?;
    if let Some(returned) = fields.take("returns") {
        xcoms.insert(XComValue::RETURN_VALUE.to_owned(), returned.json(problems)?);
    }
    let answer = match fields.take("answer") {
        Some(item) => Answered::Options(answer(&item, name, dag, problems)?),
        None if fields.is_null("answer") => Answered::Nothing,
        None => Answered::AsUsual,
    };
    Some(Told {
        outcome: fields.take("outcome").map_or(Some(Outcome::Success), |item| outcome(&item, problems))?,
        duration: duration("duration", problems)?,
        reason: fields.take("reason").map_or(Some(None), |item| item.text(problems).map(Some))?,
        exit_code: fields.take("exit_code").map_or(Some(None), |item| item.whole(0..=255, problems).map(Some))?,
        retry_delay: duration("retry_delay", problems)?,
        xcoms,
        follow: match fields.take("follow") {
            Some(item) => Some(follow(&item, dag, problems)?),
            None => None,
        },
        proceed: fields.take("proceed").map_or(Some(None), |item| item.truth(problems).map(Some))?,
        answer,
    })
}

fn outcome(item: &Item<'_>, problems: &mut Problems) -> Option<Outcome> {
    item.word(keys::OUTCOMES, problems)
}

impl std::str::FromStr for Outcome {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text {
            "success" => Self::Success,
            "failed" => Self::Failed,
            "failed_without_retry" => Self::FailedWithoutRetry,
            "skipped" => Self::Skipped,
            "lost" => Self::Lost,
            _ => return Err(()),
        })
    }
}

fn xcoms(fields: &Fields<'_>, problems: &mut Problems) -> Option<BTreeMap<String, Json>> {
    let Some(item) = fields.take("xcoms") else { return Some(BTreeMap::new()) };
    let layer = item.layer("a mapping of keys and values", problems)?;
    entries(&layer).into_iter().map(|(key, item)| Some((key, item.json(problems)?))).collect()
}

/// Each has to be a task or a group of the DAG.
fn follow(item: &Item<'_>, dag: &Dag, problems: &mut Problems) -> Option<Vec<String>> {
    // A branch may follow nothing.
    if matches!(&item.node.value, Value::List(items) if items.is_empty()) {
        return Some(Vec::new());
    }
    let names = item.text_items(problems)?;
    let is_known = |name: &str| {
        dag.tasks.iter().any(|task| task.task_id.as_str() == name)
            || dag.groups.iter().any(|group| group.group_id == name)
    };
    for (name, at) in &names {
        if !is_known(name) {
            return at.fail(format!("the DAG {} has no task or group {name}", dag.dag_id), problems);
        }
    }
    Some(names.into_iter().map(|(name, _)| name).collect())
}

/// Each has to be an option of the question.
fn answer(item: &Item<'_>, name: &Named, dag: &Dag, problems: &mut Problems) -> Option<Vec<String>> {
    let task = dag.tasks.iter().find(|task| task.task_id == name.task_id)?;
    let Some(asking) = task.operator.asking() else {
        return item.fail(format!("the task {} asks nobody", name.task_id), problems);
    };
    let chosen = item.texts(problems)?;
    match asking.check_chosen(&chosen) {
        Ok(()) => Some(chosen),
        Err(why) => item.fail(why, problems),
    }
}

fn expect(item: &Item<'_>, dag: &Dag, problems: &mut Problems) -> Option<Expect> {
    let fields = item.fields("a mapping such as {state: success, tasks: {load: skipped}}", problems)?;
    fields.check_keys(&[keys::EXPECT], &[], Here::Part, problems);
    let of_tasks = |key: &str, problems: &mut Problems| named(&all_of(&fields, key, &[], problems), dag, problems);
    let state: Option<Option<DagRunState>> =
        fields.take("state").map_or(Some(None), |item| item.word(&["success", "failed"], problems).map(Some));
    let names: Vec<&'static str> = TaskState::ALL.iter().map(|state| state.name()).collect();
    let tasks = of_tasks("tasks", problems);
    let tasks: Vec<_> = tasks.into_iter().map(|(name, item)| Some((name, item.word(&names, problems)?))).collect();
    let tries = of_tasks("tries", problems);
    let tries: Vec<_> = tries.into_iter().map(|(name, item)| Some((name, item.whole(0..=10_000, problems)?))).collect();
    let instances = of_tasks("instances", problems);
    let instances: Vec<_> =
        instances.into_iter().map(|(name, item)| Some((name.task_id, item.whole(0..=1_000_000, problems)?))).collect();
    let order = fields.take("order").map_or(Some(Vec::new()), |item| order(&item, dag, problems));
    let ends_within = fields.take("ends_within").map_or(Some(None), |item| item.duration(problems).map(Some));
    Some(Expect {
        state: state?,
        tasks: tasks.into_iter().collect::<Option<_>>()?,
        tries: tries.into_iter().collect::<Option<_>>()?,
        instances: instances.into_iter().collect::<Option<_>>()?,
        order: order?,
        ends_within: ends_within?,
    })
}

fn order(item: &Item<'_>, dag: &Dag, problems: &mut Problems) -> Option<Vec<TaskId>> {
    let items = item.list("a list of tasks", problems)?;
    let one = |item: &Item<'_>| Some(task_name(&item.text(problems)?, &item.place, dag, problems)?.task_id);
    items.iter().map(one).collect()
}
