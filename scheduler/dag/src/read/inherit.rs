//! What a DAG inherits from the `default` block of its file, as dag-factory merges them: mapping by mapping, and what is
//! written at the DAG has precedence. Lists are taken whole, except that tasks and groups are found by their names whether
//! they stand in a list or in a mapping.

use std::{collections::HashMap, rc::Rc};

use crate::{
    problem::FieldPath,
    yaml::{Key, Node, Value},
};

/// The keys of a DAG whose lists hold named things, and the keys that name those.
const NAMED: [(&str, &[&str]); 2] = [("tasks", &["task_id"]), ("task_groups", &["group_name", "group_id"])];

/// A DAG with what it lacks of the default block. What is merged in keeps the place where it was written.
pub(super) fn merged(own: (&Node, &FieldPath), base: (&Node, &FieldPath)) -> Node {
    let by_name = |key: &str, node: &Node, path: &FieldPath| {
        let names = NAMED.iter().find(|(name, _)| *name == key).map(|(_, names)| *names)?;
        mapping_of(node, names, path)
    };
    merge(own, base, &by_name)
}

type ByName<'f> = &'f dyn Fn(&str, &Node, &FieldPath) -> Option<Node>;

fn merge((own, own_path): (&Node, &FieldPath), (base, base_path): (&Node, &FieldPath), by_name: ByName<'_>) -> Node {
    let (Value::Map(own_entries), Value::Map(base_entries)) = (&own.value, &base.value) else { return own.clone() };
    let mut of_base: HashMap<&str, &Node> = HashMap::new();
    for (key, node) in base_entries.iter() {
        of_base.entry(&*key.name).or_insert(node);
    }
    let mut entries: Vec<(Key, Node)> = Vec::with_capacity(own_entries.len() + base_entries.len());
    for (key, node) in own_entries.iter() {
        let merged = match of_base.remove(&*key.name) {
            None => node.clone(),
            Some(base) => {
                let paths = (own_path.key(&key.name), base_path.key(&key.name));
                let named = by_name(&key.name, node, &paths.0).zip(by_name(&key.name, base, &paths.1));
                let (node, base) = named.as_ref().map_or((node, base), |(node, base)| (node, base));
                merge((node, &paths.0), (base, &paths.1), &|_, _, _| None)
            }
        };
        entries.push((key.clone(), merged));
    }
    // Of a key that stands there twice, the second is refused where the block itself is read.
    for (key, node) in base_entries.iter().filter(|(key, _)| of_base.remove(&*key.name).is_some()) {
        let origin = node.origin.clone().unwrap_or_else(|| base_path.key(&key.name));
        entries.push((key.clone(), Node { origin: Some(origin), ..node.clone() }));
    }
    Node { value: Value::Map(Rc::new(entries)), ..own.clone() }
}

/// A list of named things as a mapping; none when one of them has no name, or it is neither list nor mapping.
fn mapping_of(node: &Node, names: &[&str], path: &FieldPath) -> Option<Node> {
    let items = match &node.value {
        Value::List(items) => items,
        Value::Map(_) => return Some(node.clone()),
        _ => return None,
    };
    let named = items.iter().enumerate().map(|(index, item)| {
        let Value::Map(entries) = &item.value else { return None };
        let (_, name) = entries.iter().find(|(key, _)| names.contains(&&*key.name))?;
        let name = match &name.value {
            Value::Text(text) | Value::Int(_, text) | Value::Float(_, text) => text.clone(),
            _ => return None,
        };
        let origin = Some(item.origin.clone().unwrap_or_else(|| path.item(index)));
        Some((Key { at: item.at, name }, Node { origin, ..item.clone() }))
    });
    Some(Node { value: Value::Map(Rc::new(named.collect::<Option<_>>()?)), ..node.clone() })
}
