//! The REST API, told from the document that clients read (`/openapi.json`): every operation by its subject with path, right,
//! parameters, body and answers, and the types that these have.
//!
//! The document does not change while the program runs, so what is told of it is made once.

use std::{collections::BTreeMap, sync::OnceLock};

use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Frame, Place, error::PageResult, segment, show as print, words::count};
use crate::{app::App, auth::Principal, http::query::Query};

/// Operations without a subject.
const NO_TAG: &str = "Other";
/// Where the document has its types.
const TYPES: &str = "#/components/schemas/";

/// What the page shows.
#[derive(Serialize, JsonSchema)]
pub struct View {
    frame: Frame,
    version: &'static str,
    search: String,
    found: String,
    /// Whether a search has narrowed it.
    narrowed: bool,
    groups: Vec<Group>,
    types: &'static [Type],
}

/// The operations of a subject.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Group {
    name: String,
    anchor: String,
    operations: Vec<Operation>,
}

/// An operation.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Operation {
    name: String,
    method: String,
    path: String,
    summary: String,
    about: String,
    /// The right that it asks for; none when everybody may.
    right: Option<String>,
    params: Vec<Member>,
    body: Vec<Piece>,
    answers: Vec<Answer>,
}

/// A parameter, or a member of a type.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Member {
    name: String,
    /// Where a parameter stands.
    place: String,
    kind: Vec<Piece>,
    required: bool,
    about: String,
}

/// An answer by its status.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Answer {
    status: String,
    about: String,
    kind: Vec<Piece>,
}

/// A type that has a name.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Type {
    name: String,
    about: String,
    members: Vec<Member>,
    /// What it is when it has no members.
    kind: Vec<Piece>,
}

/// A part of the words of a type: text, or the name of another type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
struct Piece {
    text: String,
    url: Option<String>,
}

impl Piece {
    fn word(text: impl Into<String>) -> Self {
        Self { text: text.into(), url: None }
    }
}

/// What is told of the document.
#[derive(Debug)]
struct Docs {
    groups: Vec<Group>,
    types: Vec<Type>,
}

static DOCS: OnceLock<Docs> = OnceLock::new();

/// `GET /docs?q=…`.
pub async fn show(
    State(app): State<App>,
    Extension(who): Extension<Principal>,
    headers: HeaderMap,
    query: Query,
) -> PageResult<Response> {
    let docs = DOCS.get_or_init(|| Docs::of(app.document));
    let search = query.text("q").unwrap_or_default().trim().to_owned();
    let groups = narrowed(&docs.groups, &search.to_lowercase());
    let view = View {
        frame: Frame::new(&app, &who, Place::Docs, "REST API").await?,
        version: env!("CARGO_PKG_VERSION"),
        found: count(groups.iter().map(|group| group.operations.len()).sum(), "operation"),
        narrowed: !search.is_empty(),
        search,
        groups,
        types: &docs.types,
    };
    Ok(print(&headers, &view)?)
}

/// The operations that have a text somewhere in their name, path, words or subject.
fn narrowed(groups: &[Group], wanted: &str) -> Vec<Group> {
    let has = |text: &str| text.to_lowercase().contains(wanted);
    let fits = |one: &Operation| {
        [&one.name, &one.path, &one.summary, &one.about, &one.method].into_iter().any(|text| has(text))
    };
    let of_group = |group: &Group| {
        let whole = has(&group.name);
        let operations: Vec<Operation> = group.operations.iter().filter(|one| whole || fits(one)).cloned().collect();
        (!operations.is_empty()).then(|| Group { operations, ..group.clone() })
    };
    groups.iter().filter_map(of_group).collect()
}

impl Docs {
    fn of(document: &Value) -> Self {
        let mut groups: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
        for (path, item) in members(&document["paths"]) {
            for (method, operation) in item.as_object().into_iter().flatten().filter(|(_, one)| one.is_object()) {
                let tag = operation["tags"][0].as_str().unwrap_or(NO_TAG).to_owned();
                groups.entry(tag).or_default().push(Operation::of(path, method, operation));
            }
        }
        let group = |(name, operations): (String, Vec<Operation>)| {
            let anchor = format!("tag-{}", segment(&name.to_lowercase().replace(' ', "-")));
            Group { name, anchor, operations }
        };
        let types = members(&document["components"]["schemas"]).map(|(name, schema)| Type::of(name, schema)).collect();
        Self { groups: groups.into_iter().map(group).collect(), types }
    }
}

impl Operation {
    fn of(path: &str, method: &str, operation: &Value) -> Self {
        let params = operation["parameters"].as_array().into_iter().flatten();
        let answers = members(&operation["responses"]).map(|(status, answer)| Answer {
            status: status.clone(),
            about: text_of(&answer["description"]),
            kind: content(answer),
        });
        Self {
            name: text_of(&operation["operationId"]),
            method: method.to_ascii_uppercase(),
            path: path.to_owned(),
            summary: text_of(&operation["summary"]),
            about: text_of(&operation["description"]),
            right: operation["security"]
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|one| one.as_object().into_iter().flatten())
                .find_map(|(_, rights)| Some(rights.get(0)?.as_str()?.replace('_', " "))),
            params: params
                .map(|param| Member {
                    name: text_of(&param["name"]),
                    place: text_of(&param["in"]),
                    kind: kind(&param["schema"]),
                    required: param["required"] == true,
                    about: text_of(&param["description"]),
                })
                .collect(),
            body: content(&operation["requestBody"]),
            answers: answers.collect(),
        }
    }
}

impl Type {
    fn of(name: &str, schema: &Value) -> Self {
        let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
        let inside: Vec<Member> = members(&schema["properties"])
            .map(|(name, inner)| Member {
                name: name.clone(),
                place: String::new(),
                kind: kind(inner),
                required: required.iter().any(|one| one == name.as_str()),
                about: text_of(&inner["description"]),
            })
            .collect();
        let kind = if inside.is_empty() { kind(schema) } else { Vec::new() };
        Self { name: name.to_owned(), about: text_of(&schema["description"]), members: inside, kind }
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What a body is, in each form in which it may come.
fn content(of: &Value) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for (form, inner) in members(&of["content"]) {
        if !pieces.is_empty() {
            pieces.push(Piece::word(" or "));
        }
        pieces.extend(kind(&inner["schema"]));
        if form != "application/json" {
            pieces.push(Piece::word(format!(" ({form})")));
        }
    }
    pieces
}

/// A schema in words; types that have names are links.
fn kind(schema: &Value) -> Vec<Piece> {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.strip_prefix(TYPES)) {
        return vec![Piece { text: name.to_owned(), url: Some(format!("#type-{}", segment(name))) }];
    }
    for several in ["anyOf", "oneOf", "allOf"] {
        if let Some(list) = schema[several].as_array() {
            return joined(list.iter().map(kind));
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> =
            values.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect();
        return vec![Piece::word(values.join(" | "))];
    }
    match &schema["type"] {
        Value::Array(kinds) => joined(kinds.iter().map(|name| {
            let mut one = schema.clone();
            one["type"] = name.clone();
            kind(&one)
        })),
        Value::String(name) if name == "array" => {
            let mut pieces = vec![Piece::word("list of ")];
            pieces.extend(kind(&schema["items"]));
            pieces
        }
        Value::String(name) if name == "object" && schema["additionalProperties"].is_object() => {
            let mut pieces = vec![Piece::word("object of ")];
            pieces.extend(kind(&schema["additionalProperties"]));
            pieces
        }
        Value::String(name) => {
            let word = match schema["format"].as_str() {
                Some("date-time") => "date and time",
                Some("uuid") => "UUID",
                _ => name.as_str(),
            };
            vec![Piece::word(word)]
        }
        _ => vec![Piece::word("any JSON")],
    }
}

/// Alternatives, parted by "or".
fn joined(alternatives: impl Iterator<Item = Vec<Piece>>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for one in alternatives {
        if !pieces.is_empty() {
            pieces.push(Piece::word(" or "));
        }
        pieces.extend(one);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(schema: &Value) -> String {
        kind(schema).into_iter().map(|piece| piece.text).collect()
    }

    #[test]
    fn a_schema_is_told_in_words() {
        let reference = json!({"$ref": "#/components/schemas/PoolResponse"});
        assert_eq!(
            kind(&reference),
            [Piece { text: "PoolResponse".to_owned(), url: Some("#type-PoolResponse".to_owned()) }]
        );
        for (schema, expected) in [
            (json!({"type": "array", "items": reference}), "list of PoolResponse"),
            (json!({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}), "date and time or null"),
            (json!({"type": ["integer", "null"]}), "integer or null"),
            (json!({"type": "string", "enum": ["queued", "failed"]}), "queued | failed"),
            (json!({"type": "object", "additionalProperties": {"type": "integer"}}), "object of integer"),
            (json!({}), "any JSON"),
        ] {
            assert_eq!(words(&schema), expected);
        }
    }

    #[test]
    fn every_operation_and_every_type_of_the_document_is_told() {
        let document = json!({
            "paths": {"/a/{id}": {
                "get": {"operationId": "get_a", "tags": ["A thing"], "summary": "Get A", "security": [{"token": ["read"]}],
                    "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}],
                    "responses": {"200": {"description": "Successful Response",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/A"}}}}}},
                "post": {"operationId": "log_in", "security": [{}],
                    "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/A"}}}}},
            }},
            "components": {"schemas": {"A": {"type": "object", "required": ["x"], "properties": {"x": {"type": "integer"}, "y": {}}}}},
        });
        let docs = Docs::of(&document);
        let [thing, other] = docs.groups.as_slice() else { panic!("{docs:?}") };
        assert_eq!(
            (thing.name.as_str(), thing.anchor.as_str(), other.name.as_str()),
            ("A thing", "tag-a-thing", NO_TAG)
        );
        let get = &thing.operations[0];
        assert_eq!((get.method.as_str(), get.right.as_deref(), get.params.len()), ("GET", Some("read"), 1));
        assert_eq!(get.answers[0].kind[0].url.as_deref(), Some("#type-A"));
        assert_eq!((other.operations[0].right.as_deref(), other.operations[0].body[0].text.as_str()), (None, "A"));
        let [a] = docs.types.as_slice() else { panic!("{docs:?}") };
        assert_eq!(a.members.iter().map(|one| one.required).collect::<Vec<_>>(), [true, false]);
        assert_eq!(narrowed(&docs.groups, "get_a").len(), 1);
        assert_eq!(narrowed(&docs.groups, "a thing")[0].operations.len(), 1);
        assert!(narrowed(&docs.groups, "nothing").is_empty());
    }
}
