//! The format as a JSON Schema, for editors: made from the same tables that reading goes by.

use serde_json::{Map, Value, json};

use crate::keys::{self, Key, NotYet, OPERATORS, Shape};

/// The JSON Schema of a DAG file.
#[must_use]
pub fn json_schema() -> Value {
    let definitions: Map<String, Value> = [
        ("dag", with_not_yet(object(keys::DAG, &[]), &[keys::DAG_NOT_YET])),
        ("group", with_not_yet(object(keys::GROUP, &[]), &[keys::GROUP_NOT_YET])),
        ("task_groups", list_or_mapping("group")),
        ("task", task()),
        ("task_key", task_key()),
        ("tasks", list_or_mapping("task")),
        ("task_defaults", task_defaults(keys::DEFAULTS)),
        ("group_defaults", task_defaults(&[])),
        ("operator", json!({ "enum": operator_names() })),
        ("schedule", schedule()),
        ("params", params()),
        ("asset", json!({ "anyOf": [{ "type": "string" }, asset()] })),
        ("assets", assets()),
        ("outlets", outlets()),
        ("callbacks", callbacks()),
        ("callback", callback()),
        ("webhook", text_or(object(keys::callbacks::WEBHOOK, &[]))),
        ("slack", text_or(object(keys::callbacks::SLACK, &[]))),
        ("email", email()),
        ("command", text_or(object(keys::callbacks::COMMAND, &["bash_command"]))),
        ("python_callback", text_or(object(keys::callbacks::PYTHON, &[]))),
        ("deadlines", deadlines()),
        ("retry_policy", json!({ "type": "array", "items": object(keys::RETRY_RULE, &[]) })),
        ("services", services()),
        ("mounts", json!({ "type": "array", "items": object(keys::docker::MOUNT, &["target"]) })),
        ("messages", messages()),
        ("bytes", json!({ "anyOf": [{ "type": "string" }, { "type": "integer", "minimum": 1 }] })),
        ("ready_when", ready_when()),
        ("run_immediately", json!({ "anyOf": [{ "type": "boolean" }, { "$ref": "#/$defs/duration" }] })),
        ("run_types", json!({ "anyOf": [{ "enum": keys::RUN_TYPES }, { "type": "array", "minItems": 1, "items": { "enum": keys::RUN_TYPES } }] })),
        ("teardown", json!({ "anyOf": [{ "type": "boolean" }, object(keys::TEARDOWN, &[])] })),
        (
            "expand",
            json!({ "type": "object", "minProperties": 1, "additionalProperties": { "$ref": "#/$defs/expand_over" } }),
        ),
        ("expand_over", json!({ "type": ["array", "object", "string"] })),
        ("http_options", object(keys::HTTP_OPTIONS, &[])),
        ("nothing", json!({ "description": "Not supported yet: only nothing.", "enum": [null, false, "", [], {}] })),
        ("backoff", json!({ "anyOf": [{ "type": "boolean" }, { "type": "number", "minimum": 0 }] })),
        (
            "duration",
            json!({ "anyOf": [{ "type": "string" }, { "type": "number", "minimum": 0 }, object_of_python()] }),
        ),
    ]
    .into_iter()
    .map(|(name, schema)| (name.to_owned(), schema))
    .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Windlass DAG file",
        "description": "One DAG with dag_id at the top, or a mapping of dag_id to DAG with an optional default block.",
        "type": "object",
        "if": { "anyOf": [{ "required": ["dag_id"] }, { "required": ["schedule"] }] },
        "then": { "$ref": "#/$defs/dag", "required": ["dag_id", "tasks"] },
        "else": { "additionalProperties": { "$ref": "#/$defs/dag" } },
        "$defs": definitions,
    })
}

fn object(keys: &[Key], required: &[&str]) -> Value {
    let mut schema = json!({ "type": "object", "additionalProperties": false, "properties": properties(keys) });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// What is not there yet may stand in a file as long as it asks for nothing.
fn with_not_yet(mut schema: Value, tables: &[&[NotYet]]) -> Value {
    for (name, _) in tables.iter().copied().flatten() {
        let is_key = schema["properties"].get(*name).is_some();
        let nothing = match *name {
            name if keys::TRUE_ASKS_NOTHING.contains(&name) => json!({ "enum": [null, true] }),
            _ => json!({ "$ref": "#/$defs/nothing" }),
        };
        if !is_key {
            schema["properties"][*name] = nothing;
        }
    }
    schema
}

fn properties<'k>(keys: impl IntoIterator<Item = &'k Key>) -> Value {
    let entry = |key: &Key| {
        let mut schema = shape(key.shape);
        schema["description"] = json!(key.doc);
        (key.name.to_owned(), schema)
    };
    Value::Object(keys.into_iter().map(entry).collect())
}

/// A key without a value is as good as no key, so each also takes null.
fn shape(shape: Shape) -> Value {
    match shape {
        Shape::Text | Shape::TextOrNull => json!({ "type": ["string", "number", "boolean", "null"] }),
        Shape::Date => json!({ "anyOf": [{ "type": ["string", "null"] }, object_of_python()] }),
        Shape::Texts => json!({ "anyOf": [{ "type": ["string", "number", "boolean", "null"] }, text_list()] }),
        Shape::TextList => text_list(),
        Shape::OneOf(words) => json!({ "enum": words }),
        Shape::Bool => json!({ "type": ["boolean", "null"] }),
        Shape::Whole(low, high) => json!({ "type": ["integer", "null"], "minimum": low, "maximum": high }),
        Shape::Number => json!({ "type": ["number", "null"] }),
        Shape::Duration => json!({ "anyOf": [{ "$ref": "#/$defs/duration" }, { "type": "null" }] }),
        Shape::Environment => {
            json!({ "type": ["object", "null"], "additionalProperties": { "type": ["string", "number", "boolean"] } })
        }
        Shape::ExitCodes => {
            let code = json!({ "type": "integer", "minimum": 0, "maximum": 255 });
            json!({ "anyOf": [code, { "type": "array", "items": code }, { "type": "null" }] })
        }
        Shape::ErrorStatuses => {
            let (low, high) = (keys::ERROR_STATUSES.start(), keys::ERROR_STATUSES.end());
            let status =
                json!({ "anyOf": [{ "type": "integer", "minimum": low, "maximum": high }, { "type": "string" }] });
            json!({ "anyOf": [status, { "type": "array", "items": status }, { "type": "null" }] })
        }
        Shape::Any | Shape::List => json!({}),
        Shape::Definition(name) => json!({ "anyOf": [{ "$ref": format!("#/$defs/{name}") }, { "type": "null" }] }),
    }
}

/// What dag-factory's files write as an object of Python.
fn object_of_python() -> Value {
    json!({ "type": "object", "required": ["__type__"] })
}

fn text_list() -> Value {
    json!({ "type": "array", "items": { "type": ["string", "number", "boolean"] } })
}

fn list_or_mapping(name: &str) -> Value {
    let one = json!({ "$ref": format!("#/$defs/{name}") });
    json!({ "anyOf": [{ "type": "array", "items": one }, { "type": "object", "additionalProperties": one }] })
}

fn operator_names() -> Vec<&'static str> {
    OPERATORS.iter().flat_map(|operator| std::iter::once(&operator.name).chain(operator.synonyms)).copied().collect()
}

/// The keys of all tasks, and for each operator which further keys it has.
fn task() -> Value {
    let by_operator: Vec<Value> = OPERATORS
        .iter()
        .map(|operator| {
            let names: Vec<&str> = std::iter::once(operator.name).chain(operator.synonyms.iter().copied()).collect();
            let not_yet = not_yet_of(operator.name).iter().map(|(name, _)| *name);
            let own: Vec<&str> = operator.keys().map(|key| key.name).chain(not_yet).collect();
            json!({
                "if": { "required": ["operator"], "properties": { "operator": { "enum": names } } },
                "then": { "propertyNames": { "anyOf": [{ "$ref": "#/$defs/task_key" }, { "enum": own }] } },
            })
        })
        .collect();
    let schema = json!({
        "type": "object",
        "properties": properties(keys::OWN.iter().chain(keys::TASK).chain(keys::operator_keys())),
        "additionalProperties": false,
        "allOf": by_operator,
    });
    with_not_yet(schema, &[keys::TASK_NOT_YET, keys::docker::NOT_YET])
}

/// The names of the keys that every task may have.
fn task_key() -> Value {
    let own = keys::OWN.iter().chain(keys::TASK).map(|key| key.name);
    let all: Vec<&str> = own.chain(keys::TASK_NOT_YET.iter().map(|(name, _)| *name)).collect();
    json!({ "enum": all })
}

/// What one operator will have later.
fn not_yet_of(operator: &str) -> &'static [NotYet] {
    if operator == "docker" { keys::docker::NOT_YET } else { &[] }
}

/// A service is a program or an image.
fn services() -> Value {
    let keys: Vec<Key> = keys::SERVICE.iter().chain(keys::docker::CONTAINER).copied().collect();
    let mut service = object(&keys, &["name"]);
    service["anyOf"] = json!([{ "required": ["command"] }, { "required": ["image"] }]);
    json!({ "type": "array", "minItems": 1, "items": service })
}

/// The messages that are produced, or how many of them are awaited.
fn messages() -> Value {
    let message = json!({ "anyOf": [{ "type": "string" }, object(keys::kafka::MESSAGE, &[])] });
    let number = json!({ "type": "integer", "minimum": 1, "maximum": keys::kafka::MESSAGES_MAX });
    json!({ "anyOf": [{ "type": "string" }, number, { "type": "array", "items": message }] })
}

fn task_defaults(dates: &[Key]) -> Value {
    // A group's defaults are no place for what belongs to the DAG.
    let of_dag = keys::DAG.iter().filter(|key| !dates.is_empty() && keys::IN_DEFAULTS.contains(&key.name));
    let all = keys::TASK.iter().chain(dates).chain(of_dag).chain(keys::operator_keys());
    let schema = json!({ "type": "object", "additionalProperties": false, "properties": properties(all) });
    with_not_yet(schema, &[keys::TASK_NOT_YET, keys::DAG_NOT_YET, keys::DEFAULTS_NOT_YET, keys::docker::NOT_YET])
}

fn schedule() -> Value {
    json!({
        "anyOf": [
            { "type": ["string", "number", "null"] },
            { "type": "array", "items": { "type": "string" }, "minItems": 1 },
            schedule_of("cron"),
            schedule_of("duration"),
            object_of_python(),
            object(&only("or_assets"), &["or_assets"]),
            { "$ref": "#/$defs/assets" },
        ],
    })
}

/// One key of the mapping form of a schedule.
fn only(name: &str) -> Vec<Key> {
    keys::SCHEDULE.iter().filter(|key| key.name == name).copied().collect()
}

/// A mapping with one of the two that say when.
fn schedule_of(kind: &str) -> Value {
    let mut schema = object(keys::SCHEDULE, &[kind]);
    let other = if kind == "cron" { "duration" } else { "cron" };
    schema["not"] = json!({ "required": [other] });
    schema
}

fn params() -> Value {
    json!({
        "type": "object",
        "additionalProperties": {
            "description": "A JSON Schema with default and description, or the default itself.",
        },
    })
}

/// One asset or a list of them.
fn outlets() -> Value {
    let asset = json!({ "$ref": "#/$defs/asset" });
    json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": asset }] })
}

fn asset() -> Value {
    let mut asset = object(keys::OUTLET, &[]);
    asset["properties"]["extra"] = json!({ "type": ["object", "null"] });
    asset
}

/// A condition: an asset, a list of which all have to change, or a mapping with one word that combines further ones.
fn assets() -> Value {
    let mut combined = object(keys::ASSET_COMBINATION, &[]);
    combined["minProperties"] = json!(1);
    combined["maxProperties"] = json!(1);
    let all = json!({ "type": "array", "items": { "$ref": "#/$defs/assets" }, "minItems": 1 });
    json!({ "anyOf": [{ "$ref": "#/$defs/asset" }, all, combined] })
}

/// One callback or a list of them; nothing may be written as false or as an empty text or mapping.
fn callbacks() -> Value {
    let one = json!({ "$ref": "#/$defs/callback" });
    let list = json!({ "type": "array", "items": one, "maxItems": keys::callbacks::CALLBACKS_MAX });
    json!({ "anyOf": [one, list, { "enum": [false, {}] }] })
}

/// A function by its name, one word with what it says, or dag-factory's mapping with further keys.
fn callback() -> Value {
    let mut word = object(keys::callbacks::CALLBACK, &[]);
    word["minProperties"] = json!(1);
    word["maxProperties"] = json!(1);
    let path = keys::callbacks::BY_PATH;
    json!({ "anyOf": [
        { "type": "string" },
        word,
        { "type": "object", "required": [path.name], "properties": properties([&path]) },
    ] })
}

fn email() -> Value {
    let mail = object(keys::callbacks::EMAIL, &["to"]);
    json!({ "anyOf": [{ "type": "string" }, text_list(), mail] })
}

fn deadlines() -> Value {
    let one = object(keys::callbacks::DEADLINE, &["reference", "interval", "callback"]);
    let list = json!({ "type": "array", "items": one, "maxItems": keys::callbacks::DEADLINES_MAX });
    json!({ "anyOf": [one, list, { "enum": [false] }] })
}

fn text_or(mapping: Value) -> Value {
    json!({ "anyOf": [{ "type": "string" }, mapping] })
}

fn ready_when() -> Value {
    json!({ "anyOf": [{ "enum": ["started", "caught_up"] }, object(keys::READY_WHEN, &["metric", "at_least"])] })
}
