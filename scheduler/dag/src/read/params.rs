//! Params: JSON Schemas with defaults that must keep to them.

use serde_json::Value as Json;

use super::fields::{Fields, Item};
use crate::{
    compiled::{Param, Schedule},
    conf,
    params::Params,
    problem::Problems,
    yaml::Value,
};

/// Reads all params of a DAG.
pub(super) fn read_all(dag: &Fields<'_>, schedule: &Schedule, problems: &mut Problems) -> Params {
    let Some(layer) = dag.take("params").and_then(|item| item.layer("a mapping of names to params", problems)) else {
        return Params::default();
    };
    let read =
        |(key, item): (&crate::yaml::Key, Item<'_>)| Some((key.name.to_string(), read(&item, schedule, problems)?));
    layer.items().filter_map(read).collect()
}

/// A mapping is a JSON Schema with `default` and `description`; anything else is a default without a schema.
fn read(item: &Item<'_>, schedule: &Schedule, problems: &mut Problems) -> Option<Param> {
    let json = item.json(problems)?;
    let (Json::Object(mut schema), Value::Map(_)) = (json.clone(), &item.node.value) else {
        return Some(Param { schema: Json::Object(serde_json::Map::new()), default: json, description: None });
    };
    let given = schema.shift_remove("default");
    let description = match schema.shift_remove("description") {
        Some(Json::String(text)) => Some(text),
        Some(_) => return item.fail("expected description to be text", problems),
        None => None,
    };
    let param = Param { schema: Json::Object(schema), default: given.clone().unwrap_or(Json::Null), description };
    let checked = conf::check_value(&param.schema, &param.default);
    match (checked, given) {
        (Err(conf::Mismatch::Schema(why)), _) => item.fail(format!("this is not a JSON Schema: {why}"), problems),
        (Err(conf::Mismatch::Value(why)), Some(_)) => {
            item.fail(format!("the default does not fit the schema: {why}"), problems)
        }
        (Err(conf::Mismatch::Value(_)), None) if *schedule != Schedule::Never => {
            item.fail("default is missing: nobody is asked for it when a scheduled run starts", problems)
        }
        (Ok(()) | Err(conf::Mismatch::Value(_)), _) => Some(param),
    }
}
