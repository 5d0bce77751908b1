//! Params: JSON Schemas with defaults that must keep to them, or values alone.

use model::operator::Asking;
use serde_json::Value as Json;

use super::{
    fields::{Fields, Item},
    param_words::{self, Form},
    schedule::When,
};
use crate::{
    compiled::Param,
    conf,
    params::{Params, as_asked},
    problem::Problems,
    yaml::Value,
};

/// How many params a DAG may have: a form asks for each, and each has a schema to be compiled.
const PARAMS_MAX: usize = 1_000;

/// Reads all params of a DAG.
pub(super) fn read_all(dag: &Fields<'_>, when: &When, problems: &mut Problems) -> Params {
    let Some(item) = dag.take("params") else { return Params::default() };
    let Some(layer) = item.layer("a mapping of names to params", problems) else { return Params::default() };
    let count = layer.items().count();
    if count > PARAMS_MAX {
        problems.add(&item.place, format!("the DAG has {count} params; at most {PARAMS_MAX} are allowed"));
        return Params::default();
    }
    let asked = if when.is_by_itself() { Asked::Nobody } else { Asked::Somebody };
    let read = |(key, item): (&crate::yaml::Key, Item<'_>)| Some((key.name.to_string(), read(&item, asked, problems)?));
    layer.items().filter_map(read).collect()
}

/// Reads the params of a task: their values, as nobody is asked for them.
pub(super) fn of_task(task: &Fields<'_>, problems: &mut Problems) -> serde_json::Map<String, Json> {
    let Some(item) = task.take("params") else { return serde_json::Map::new() };
    let Some(layer) = item.layer("a mapping of names to params", problems) else { return serde_json::Map::new() };
    if layer.items().count() > PARAMS_MAX {
        problems.add(&item.place, format!("at most {PARAMS_MAX} params are allowed"));
        return serde_json::Map::new();
    }
    let read = |(key, item): (&crate::yaml::Key, Item<'_>)| {
        Some((key.name.to_string(), read(&item, Asked::Nobody, problems)?.default))
    };
    layer.items().filter_map(read).collect()
}

/// Whether somebody is asked for a param that has no default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// There is nobody.
    Nobody,
    /// Whoever triggers a run, or answers a question.
    Somebody,
}

/// Reads the params that a question asks for.
pub(super) fn asked(item: &Item<'_>, problems: &mut Problems) -> Option<serde_json::Map<String, Json>> {
    let layer = item.layer("a mapping of names to params", problems)?;
    if layer.items().count() > Asking::PARAMS_MAX {
        return item.fail(format!("at most {} params are allowed", Asking::PARAMS_MAX), problems);
    }
    let mut params = serde_json::Map::new();
    for (key, item) in layer.items() {
        if *key.name == *"_options" {
            return item.fail("a param of a question can not be called _options", problems);
        }
        params.insert(key.name.to_string(), as_asked(read(&item, Asked::Somebody, problems)?));
    }
    Some(params)
}

/// A mapping with words of JSON Schema is one, with `default` and `description`; anything else is a default without a schema.
fn read(item: &Item<'_>, asked: Asked, problems: &mut Problems) -> Option<Param> {
    let value = |default| Param { schema: Json::Object(serde_json::Map::new()), default, description: None };
    let Value::Map(_) = &item.node.value else { return item.json(problems).map(value) };
    match param_words::form(item, problems)? {
        Form::Value => item.json(problems).map(value),
        Form::Schema => schema(item, asked, problems),
    }
}

fn schema(item: &Item<'_>, asked: Asked, problems: &mut Problems) -> Option<Param> {
    let Json::Object(mut schema) = item.json(problems)? else { return None };
    let given = schema.shift_remove("default");
    let description = match schema.shift_remove("description") {
        Some(Json::String(text)) => Some(text),
        Some(Json::Null) | None => None,
        Some(_) => return item.fail("expected description to be text", problems),
    };
    let param = Param { schema: Json::Object(schema), default: given.clone().unwrap_or(Json::Null), description };
    let checked = conf::check_value(&param.schema, &param.default);
    match (checked, given) {
        (Err(conf::Mismatch::Schema(why)), _) => {
            let message = format!("this is not a JSON Schema: {why}; a mapping that is the value stands below default");
            item.fail(message, problems)
        }
        (Err(conf::Mismatch::Value(why)), Some(_)) => {
            item.fail(format!("the default does not fit the schema: {why}"), problems)
        }
        (Err(conf::Mismatch::Value(_)), None) if asked == Asked::Nobody => {
            item.fail("default is missing: nobody is asked for it when a scheduled run starts", problems)
        }
        (Ok(()) | Err(conf::Mismatch::Value(_)), _) => Some(param),
    }
}
