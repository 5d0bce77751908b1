//! From the YAML tree to a [`Dag`](crate::Dag): every form that the format allows, brought to one.
//!
//! Whatever is wrong is noted with its place, and reading goes on, so that a file shows all of its problems. A DAG with a
//! problem in it, or in the `default` block that it inherits from, is left out; the others of its file are not.

mod asking;
mod assets;
mod callable;
mod callbacks;
mod dag;
mod deadlines;
mod docker;
mod expand;
mod fields;
mod given;
mod group;
mod http;
mod inherit;
mod kafka;
mod macros;
mod objects;
mod operator;
pub(crate) mod outcomes;
mod param_words;
mod params;
mod phase;
mod remarks;
mod schedule;
mod sensor;
mod service;
mod task;
mod trigger;
pub(crate) mod value;

use std::collections::BTreeMap;

use crate::{
    compiled::{CompiledDag, DagFile},
    files::ReadFile,
    keys::{self, Here},
    problem::{FieldPath, Place, Problems},
    yaml::{Key, NODES_MAX, Node, Value},
};
pub(crate) use expand::leaves_nothing;
use fields::{Item, Layer};
pub(crate) use group::{Dependency, Group, Groups};
pub(crate) use task::Draft;
pub use value::parse_duration;

/// The block of a file that its DAGs inherit from.
const DEFAULT_BLOCK: &str = "default";

/// How many nodes the DAGs of a file may inherit together: as many as a file may have.
const INHERITED_NODES_MAX: usize = NODES_MAX;

/// Reads all DAGs of a file.
pub(crate) fn read_file(
    file: &DagFile,
    root: &Node,
    files: &dyn ReadFile,
    problems: &mut Problems,
) -> Vec<CompiledDag> {
    let item = Item { node: root, place: Place { at: root.at, path: FieldPath::default() } };
    let Value::Map(entries) = &root.value else {
        item.look_through(problems);
        if !matches!(root.value, Value::Refused(_)) {
            let message = format!("expected a DAG, a mapping with dag_id and tasks; found {}", root.value.kind());
            problems.add(&item.place, message);
        }
        return Vec::new();
    };
    if is_one_dag(entries) {
        problems.begin_dag();
        item.look_through(problems);
        let source = dag::Source { file, name: None, layer: Layer::of(entries, FieldPath::default()) };
        return dag::read(source, &item.place, files, problems).into_iter().collect();
    }
    if entries.is_empty() {
        problems.add(&item.place, "the file defines no DAG");
    }
    read_several(file, entries, files, problems)
}

/// A file is one DAG when it has that DAG's own keys at the top; otherwise its keys are ids of DAGs.
fn is_one_dag(entries: &[(Key, Node)]) -> bool {
    let has = |name: &str| entries.iter().any(|(key, _)| *key.name == *name);
    let all_mappings = entries.iter().all(|(_, node)| matches!(node.value, Value::Map(_)));
    has("dag_id") || (has("tasks") && !all_mappings) || has("schedule")
}

fn read_several(
    file: &DagFile,
    entries: &[(Key, Node)],
    files: &dyn ReadFile,
    problems: &mut Problems,
) -> Vec<CompiledDag> {
    let top = Layer::of(entries, FieldPath::default());
    problems.share(DEFAULT_BLOCK);
    let (defaults, dags): (Vec<_>, Vec<_>) = top.items().partition(|(key, _)| *key.name == *DEFAULT_BLOCK);
    if let Some(too_much) = too_much(&defaults, dags.len()) {
        problems.add(&defaults[0].1.place, too_much);
        return Vec::new();
    }
    let default = default_block(&defaults, problems);
    // A key that stands there twice spoils the DAG that it names, which is read where it stands first.
    let mut by_name: BTreeMap<&str, Vec<&Item<'_>>> = BTreeMap::new();
    for (key, item) in &dags {
        by_name.entry(&*key.name).or_default().push(item);
    }
    let mut read = Vec::new();
    for (key, item) in &dags {
        let Some(same) = by_name.remove(&*key.name) else { continue };
        problems.begin_dag();
        problems.name_dag(&key.name);
        same.iter().for_each(|item| item.look_through(problems));
        let place = Place { at: key.at, path: item.place.path.clone() };
        let item = Item { node: item.node, place: place.clone() };
        if item.layer("a DAG, a mapping with tasks", problems).is_none() {
            continue;
        }
        let merged = match &default {
            Some(default) => inherit::merged((item.node, &place.path), (default.node, &default.place.path)),
            None => item.node.clone(),
        };
        let Value::Map(entries) = &merged.value else { continue };
        let layer = Layer::of(entries, place.path.clone());
        read.extend(dag::read(dag::Source { file, name: Some(&key.name), layer }, &place, files, problems));
    }
    read
}

/// Why the DAGs can not be read with what they inherit.
fn too_much(defaults: &[(&Key, Item<'_>)], dags: usize) -> Option<String> {
    let inherited = count(defaults.first()?.1.node).saturating_mul(dags);
    (inherited > INHERITED_NODES_MAX)
        .then(|| format!("the DAGs of this file inherit {inherited} nodes; at most {INHERITED_NODES_MAX} are read"))
}

/// The block that the DAGs inherit from, when there is one that can be read.
fn default_block<'n>(found: &[(&Key, Item<'n>)], problems: &mut Problems) -> Option<Item<'n>> {
    found.iter().for_each(|(_, item)| item.look_through(problems));
    let (key, item) = found.first()?;
    let place = Place { at: key.at, path: item.place.path.clone() };
    let item = Item { node: item.node, place };
    let layer = item.layer("a mapping of what the DAGs of this file inherit", problems)?;
    fields::check_keys(&layer, &[keys::DAG], &[keys::DAG_NOT_YET], Here::Dag, problems);
    if let Some(id) = layer.get("dag_id") {
        problems.add(&id.place, "a dag_id is not inherited: each DAG has its own");
    }
    Some(item)
}

fn count(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(count).sum(),
        Value::Map(entries) => entries.iter().map(|(_, node)| 1 + count(node)).sum::<usize>(),
        _ => 0,
    }
}
