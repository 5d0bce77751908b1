//! `user_defined_macros`: values that every template of a DAG knows by a name.

use serde_json::{Map, Value as Json};

use super::{
    callable::find_module,
    fields::{Fields, Item},
};
use crate::{files::FileSet, problem::Problems, python_imports::is_dotted, yaml::Value};

/// So many macros a DAG may have: each attempt is sent all of them.
const MACROS_MAX: usize = 1_000;

/// Reads all macros of a DAG; none when something is wrong with one.
pub(super) fn read(fields: &Fields<'_>, files: &mut FileSet<'_>, problems: &mut Problems) -> Option<Map<String, Json>> {
    let Some(item) = fields.take("user_defined_macros") else { return Some(Map::new()) };
    let layer = item.layer("a mapping of names to values", problems)?;
    if layer.items().count() > MACROS_MAX {
        return item.fail(format!("expected at most {MACROS_MAX} macros"), problems);
    }
    let mut macros = Map::new();
    for (key, item) in layer.items() {
        if !is_dotted(&key.name) || key.name.contains('.') {
            return item
                .fail(format!("{:?} is not the name of a macro: use letters, digits and _", &*key.name), problems);
        }
        check(&item, files, problems)?;
        macros.insert(key.name.to_string(), item.json(problems)?);
    }
    Some(macros)
}

/// What dag-factory takes for a function can not be a value: a template would print its name.
fn check(item: &Item<'_>, files: &mut FileSet<'_>, problems: &mut Problems) -> Option<()> {
    match &item.node.value {
        Value::Text(text) if is_dotted(text) => match text.rsplit_once('.') {
            Some((module, _)) if find_module(&module.replace('.', "/"), files).ok().flatten().is_some() => item.fail(
                "this is a Python function, which a template can not call: a macro is a value; let a task call the function",
                problems,
            ),
            Some(_) | None => Some(()),
        },
        Value::Map(_) => {
            let layer = item.layer("a mapping", problems)?;
            layer.items().map(|(_, item)| check(&item, files, problems)).collect()
        }
        _ => Some(()),
    }
}
