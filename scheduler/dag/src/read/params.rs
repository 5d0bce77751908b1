//! Params: JSON Schemas with defaults that must keep to them, or values alone.

use serde_json::Value as Json;

use super::{
    fields::{Fields, Item},
    param_words::{self, Form},
    schedule::When,
};
use crate::{compiled::Param, conf, params::Params, problem::Problems, yaml::Value};

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
    let read = |(key, item): (&crate::yaml::Key, Item<'_>)| Some((key.name.to_string(), read(&item, when, problems)?));
    layer.items().filter_map(read).collect()
}

/// A mapping with words of JSON Schema is one, with `default` and `description`; anything else is a default without a schema.
fn read(item: &Item<'_>, when: &When, problems: &mut Problems) -> Option<Param> {
    let value = |default| Param { schema: Json::Object(serde_json::Map::new()), default, description: None };
    let Value::Map(_) = &item.node.value else { return item.json(problems).map(value) };
    match param_words::form(item, problems)? {
        Form::Value => item.json(problems).map(value),
        Form::Schema => schema(item, when, problems),
    }
}

fn schema(item: &Item<'_>, when: &When, problems: &mut Problems) -> Option<Param> {
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
        (Err(conf::Mismatch::Value(_)), None) if when.is_by_itself() => {
            item.fail("default is missing: nobody is asked for it when a scheduled run starts", problems)
        }
        (Ok(()) | Err(conf::Mismatch::Value(_)), _) => Some(param),
    }
}
