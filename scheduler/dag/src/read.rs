//! From the YAML tree to a [`Dag`](crate::Dag): every form that the format allows, brought to one.
//!
//! Whatever is wrong is noted with its place, and reading goes on, so that a file shows all of its problems. A DAG with a
//! problem in it, or in the `default` block that it inherits from, is left out; the others of its file are not.

mod dag;
mod docker;
mod fields;
mod group;
mod http;
mod kafka;
mod operator;
mod params;
mod schedule;
mod sensor;
mod service;
mod task;
mod trigger;
mod value;

use crate::{
    compiled::{CompiledDag, DagFile},
    files::ReadFile,
    keys,
    problem::{FieldPath, Place, Problems},
    yaml::{Node, Value},
};
use fields::{Item, Layer};
pub(crate) use group::{Dependency, Group};
pub(crate) use task::Draft;

/// The block of a file that its DAGs inherit from.
const DEFAULT_BLOCK: &str = "default";

/// Reads all DAGs of a file.
pub(crate) fn read_file(
    file: &DagFile,
    root: &Node,
    files: &dyn ReadFile,
    problems: &mut Problems,
) -> Vec<CompiledDag> {
    let place = Place { at: root.at, path: FieldPath::default() };
    let Value::Map(entries) = &root.value else {
        problems.add(&place, format!("expected a DAG, a mapping with dag_id and tasks; found {}", root.value.kind()));
        return Vec::new();
    };
    if is_one_dag(entries) {
        let layers = vec![Layer::of(entries, FieldPath::default())];
        let source = dag::Source { file, name: None, layers };
        return dag::read(source, &place, files, problems).into_iter().collect();
    }
    let default = default_layer(entries, problems);
    let mut dags = Vec::new();
    for (key, node) in entries.iter().filter(|(key, _)| key.name != DEFAULT_BLOCK) {
        let path = FieldPath::default().key(&key.name);
        let item = Item { node, place: Place { at: key.at, path } };
        let Some(own) = item.layer("a DAG, a mapping with tasks", problems) else { continue };
        let layers = std::iter::once(own).chain(default.clone()).collect();
        let source = dag::Source { file, name: Some(&key.name), layers };
        dags.extend(dag::read(source, &item.place, files, problems));
    }
    if entries.is_empty() {
        problems.add(&place, "the file defines no DAG");
    }
    dags
}

/// A file is one DAG when it has that DAG's own keys at the top; otherwise its keys are ids of DAGs.
fn is_one_dag(entries: &[(crate::yaml::Key, Node)]) -> bool {
    let has = |name: &str| entries.iter().any(|(key, _)| key.name == name);
    let all_mappings = entries.iter().all(|(_, node)| matches!(node.value, Value::Map(_)));
    has("dag_id") || (has("tasks") && !all_mappings) || has("schedule")
}

fn default_layer<'n>(entries: &'n [(crate::yaml::Key, Node)], problems: &mut Problems) -> Option<Layer<'n>> {
    let (key, node) = entries.iter().find(|(key, _)| key.name == DEFAULT_BLOCK)?;
    let item = Item { node, place: Place { at: key.at, path: FieldPath::default().key(DEFAULT_BLOCK) } };
    let layer = item.layer("a mapping of what the DAGs of this file inherit", problems)?;
    fields::check_keys(&layer, &[keys::DAG], keys::DAG_NOT_YET, problems);
    Some(layer)
}
