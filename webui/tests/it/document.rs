//! Our OpenAPI document: that it holds what Airflow's clients rely on, and that what is answered is as it says.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock, Mutex},
};

use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// Facts of Airflow's REST API; `airflow_facts.py` beside it makes them.
static FACTS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../data/airflow_facts.json")).unwrap());

/// An operation: method, path, and what the document says of it.
type Operation = (&'static str, &'static str, &'static Map<String, Value>);

/// Operations that declare themselves: those that declare no shape of an answer are written in the table of rights.
fn declared() -> impl Iterator<Item = Operation> {
    operations().filter(|(.., operation)| operation.contains_key("tags"))
}

fn operations() -> impl Iterator<Item = Operation> {
    let paths = windlass_webui::openapi()["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, item)| {
        item.as_object()
            .unwrap()
            .iter()
            .map(move |(method, of)| (method.as_str(), path.as_str(), of.as_object().unwrap()))
    })
}

/// What a pointer within the document leads to.
fn resolved(schema: &Value) -> &Value {
    match schema["$ref"].as_str() {
        Some(place) => resolved(windlass_webui::openapi().pointer(place.trim_start_matches('#')).expect(place)),
        None => schema,
    }
}

/// The alternatives of a schema, without nestings.
fn alternatives(schema: &'static Value) -> Vec<&'static Value> {
    let schema = resolved(schema);
    let parts = ["anyOf", "oneOf", "allOf"].iter().find_map(|word| schema[*word].as_array());
    parts.map_or_else(|| vec![schema], |parts| parts.iter().flat_map(alternatives).collect())
}

/// The types of one alternative: `string`, `instant`, `null` …; none of what may be anything.
fn types(schema: &Value) -> Vec<&str> {
    let word = |kind: &'static str, name: &str| if name == "string" && kind == "date-time" { "instant" } else { "" };
    let format = if schema["format"] == "date-time" { "date-time" } else { "" };
    let named = |name: &'_ str| word(format, name) == "instant";
    match &schema["type"] {
        Value::String(name) if named(name) => vec!["instant"],
        Value::String(name) => vec![name],
        Value::Array(names) => {
            names.iter().filter_map(Value::as_str).map(|name| if named(name) { "instant" } else { name }).collect()
        }
        _ => Vec::new(),
    }
}

/// The alternatives of a short text: what stands in brackets stays together.
fn parts(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let is_border = |sign: char| {
        depth += i32::from(sign == '[') - i32::from(sign == ']');
        sign == '|' && depth == 0
    };
    text.split(is_border).collect()
}

/// Which way values go: what we answer has to be what clients expect, what clients send has to be what we take.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Out,
    In,
}

/// The differences of our schema from what Airflow says of one.
struct Comparison {
    way: Way,
    seen: BTreeSet<String>,
    faults: Vec<String>,
}

impl Comparison {
    fn fault(&mut self, place: &str, what: impl std::fmt::Display) {
        self.faults.push(format!("{place}: {what}"));
    }

    /// Compares with a short text such as `[PoolResponse]` or `instant|null`.
    fn kinds(&mut self, place: &str, theirs: &str, ours: &'static Value) {
        let parts = parts(theirs);
        if parts.contains(&"any") {
            return;
        }
        let ours = alternatives(ours);
        let mut expected: BTreeSet<&str> = BTreeSet::new();
        let items: Vec<&str> = parts.iter().filter_map(|part| part.strip_prefix('[')?.strip_suffix(']')).collect();
        if !items.is_empty() {
            expected.insert("array");
            for list in ours.iter().filter(|one| types(one).contains(&"array")) {
                self.kinds(&format!("{place}[]"), &items.join("|"), &list["items"]);
            }
        }
        for part in parts.into_iter().filter(|part| !part.starts_with('[')) {
            match &FACTS["schemas"][part] {
                Value::Null => drop(expected.insert(part)),
                Value::Array(words) => {
                    expected.insert("string");
                    self.words(place, words, &ours);
                }
                // The name of a value that may be anything.
                Value::String(_) => return,
                members => {
                    expected.insert("object");
                    if self.seen.insert(format!("{place} {part}")) && place.matches('.').count() < 8 {
                        let objects: Vec<_> =
                            ours.iter().filter(|one| types(one).contains(&"object")).copied().collect();
                        self.members(place, members.as_object().unwrap(), &objects);
                    }
                }
            }
        }
        self.types(place, &expected, &ours);
    }

    fn types(&mut self, place: &str, expected: &BTreeSet<&str>, ours: &[&'static Value]) {
        let ours: BTreeSet<&str> = ours.iter().flat_map(|one| types(one)).collect();
        let fits = |kind: &str, among: &BTreeSet<&str>| {
            among.contains(kind)
                || (kind == "integer" && among.contains("number"))
                || (kind == "instant" && among.contains("string"))
        };
        let wrong: Vec<&str> = match self.way {
            Way::Out => ours.iter().copied().filter(|kind| !fits(kind, expected)).collect(),
            Way::In => expected.iter().copied().filter(|kind| !ours.is_empty() && !fits(kind, &ours)).collect(),
        };
        if !wrong.is_empty() {
            self.fault(place, format_args!("{wrong:?}: Airflow has {expected:?}, we have {ours:?}"));
        }
    }

    fn words(&mut self, place: &str, theirs: &[Value], ours: &[&Value]) {
        let ours: Vec<&Value> = ours.iter().filter_map(|one| one["enum"].as_array()).flatten().collect();
        let wrong: Vec<&Value> = match self.way {
            Way::Out => ours.iter().filter(|word| !theirs.contains(word)).copied().collect(),
            Way::In => theirs.iter().filter(|word| !ours.is_empty() && !ours.contains(word)).collect(),
        };
        if !wrong.is_empty() {
            self.fault(place, format_args!("{wrong:?} on one side only"));
        }
        if self.way == Way::Out && ours.is_empty() {
            self.fault(place, "it is an enum in Airflow, and any text here");
        }
    }

    fn members(&mut self, place: &str, theirs: &Map<String, Value>, ours: &[&'static Value]) {
        // Of several objects the one that is most like theirs is meant; what it lacks may stand in one that it is made of.
        let likeness = |ours: &&&'static Value| {
            let names = ours["properties"].as_object().map(|all| all.keys().collect::<Vec<_>>()).unwrap_or_default();
            let known = |name: &&&String| theirs.contains_key(**name) || theirs.contains_key(&format!("{name}?"));
            let same = names.iter().filter(known).count();
            (same, std::cmp::Reverse(names.len() - same))
        };
        let Some(best) = ours.iter().max_by_key(likeness) else { return };
        let properties: BTreeMap<&str, &'static Value> = ours
            .iter()
            .chain([best])
            .filter_map(|one| one["properties"].as_object())
            .flat_map(|all| all.iter().map(|(name, of)| (name.as_str(), of)))
            .collect();
        let needed = |one: &Value, name: &str| one["required"].as_array().is_some_and(|all| all.contains(&json!(name)));
        let is_of_best = |name: &str| best["properties"].get(name).is_some();
        let required = |name: &str| {
            if is_of_best(name) { needed(best, name) } else { ours.iter().any(|one| needed(one, name)) }
        };
        for (name, kind) in theirs.iter().filter(|(name, _)| *name != "!") {
            let (name, needed) = name.strip_suffix('?').map_or((name.as_str(), true), |name| (name, false));
            let place = format!("{place}.{name}");
            let Some(property) = properties.get(name) else {
                self.fault(&place, "it is missing here");
                continue;
            };
            match self.way {
                Way::Out if needed && !required(name) => self.fault(&place, "it is always there in Airflow"),
                Way::In if !needed && required(name) => self.fault(&place, "it may be left out in Airflow"),
                Way::Out | Way::In => {}
            }
            self.kinds(&place, kind.as_str().unwrap(), property);
        }
        if self.way == Way::Out && theirs.contains_key("!") {
            let more = |name: &&str| !theirs.contains_key(*name) && !theirs.contains_key(&format!("{name}?"));
            let more: Vec<&str> = properties.keys().copied().filter(more).collect();
            if !more.is_empty() {
                self.fault(place, format_args!("Airflow's clients break on more members: {more:?}"));
            }
        }
    }
}

fn differences(way: Way, place: &str, theirs: &str, ours: &'static Value) -> Vec<String> {
    let mut comparison = Comparison { way, seen: BTreeSet::new(), faults: Vec::new() };
    comparison.kinds(place, theirs, ours);
    comparison.faults
}

/// The names of query parameters, and whether they have to be there.
fn query_of(operation: &Map<String, Value>) -> BTreeMap<&str, bool> {
    let all = operation.get("parameters").and_then(Value::as_array).into_iter().flatten();
    let in_query = all.filter(|one| one["in"] == "query");
    in_query.map(|one| (one["name"].as_str().unwrap(), one["required"] == true)).collect()
}

fn faults_of(method: &str, path: &str, operation: &'static Map<String, Value>) -> Vec<String> {
    let id = operation["operationId"].as_str().unwrap();
    let theirs = &FACTS["operations"][id];
    if theirs.is_null() {
        let own = ["/api/v2/quarantine", "/api/v2/dagBundles", "/api/v2/notifications", "/api/v2/forecast"];
        // Airflow tells of deadlines by the private interface of its pages.
        let is_own = own.iter().any(|own| path.starts_with(own)) || path.contains("/control");
        return if is_own || path.ends_with("/deadlines") {
            Vec::new()
        } else {
            vec![format!("{id}: Airflow has no such operation")]
        };
    }
    let mut faults = Vec::new();
    if (theirs["method"].as_str(), theirs["path"].as_str()) != (Some(method), Some(path)) {
        faults.push(format!("{id}: {method} {path} is {} {} in Airflow", theirs["method"], theirs["path"]));
    }
    let query = query_of(operation);
    for name in theirs["query"].as_array().unwrap().iter().filter_map(Value::as_str) {
        let (name, needed) = name.strip_suffix('?').map_or((name, true), |name| (name, false));
        match query.get(name) {
            None => faults.push(format!("{id}?{name}: it is missing here")),
            Some(true) if !needed => faults.push(format!("{id}?{name}: it may be left out in Airflow")),
            Some(_) => {}
        }
    }
    for (status, schema) in theirs["answers"].as_object().unwrap() {
        let Some(ours) = operation["responses"].get(status) else {
            faults.push(format!("{id} {status}: it is not declared here"));
            continue;
        };
        if let (Some(schema), true) = (schema.as_str(), status.starts_with('2')) {
            let ours = &ours["content"]["application/json"]["schema"];
            faults.extend(differences(Way::Out, &format!("{id} {status}"), schema, ours));
        }
    }
    if let (Some(schema), Some(ours)) = (theirs["body"].as_str(), operation.get("requestBody")) {
        let ours = &ours["content"]["application/json"]["schema"];
        faults.extend(differences(Way::In, &format!("{id} body"), schema, ours));
    } else if theirs["body"].is_string() {
        faults.push(format!("{id}: Airflow takes a body"));
    }
    faults
}

#[test]
fn what_is_declared_holds_what_airflow_declares() {
    let faults: Vec<String> =
        declared().flat_map(|(method, path, operation)| faults_of(method, path, operation)).collect();
    assert!(declared().count() >= 41, "pools, runs and task instances at least declare themselves");
    assert!(faults.is_empty(), "{} differences:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn what_stands_in_brackets_stays_together() {
    assert_eq!(parts("[A|B]|null"), ["[A|B]", "null"]);
    assert_eq!(parts("[[A|B]]"), ["[[A|B]]"]);
}

#[test]
fn a_difference_is_seen() {
    static WRONG: LazyLock<Value> = LazyLock::new(|| {
        json!({"type": "object", "required": ["name", "slots", "include_deferred"], "properties": {
            "name": {"type": ["string", "null"]}, "slots": {"type": "string"}, "include_deferred": {"type": "boolean"},
        }})
    });
    let out = differences(Way::Out, "", "PoolResponse", &WRONG);
    assert!(out.iter().any(|fault| fault.starts_with(".name: [\"null\"]")), "{out:?}");
    assert!(out.iter().any(|fault| fault.starts_with(".slots: [\"string\"]")), "{out:?}");
    assert!(out.iter().any(|fault| fault.starts_with(".team_name: it is missing")), "{out:?}");
    assert_eq!(parts("[string|[any]]|null"), ["[string|[any]]", "null"]);
    let into = differences(Way::In, "", "PoolBody", &WRONG);
    assert!(into.iter().any(|fault| fault.starts_with(".include_deferred: it may be left out")), "{into:?}");
}

/// The declared operation that a concrete path is of; where several fit, the one with the fewest parts left open.
fn operation_at(method: &str, path: &str) -> Option<&'static Map<String, Value>> {
    let path = path.split('?').next().unwrap_or_default();
    let fits = |template: &str| {
        let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
        let ends_open = template.last().is_some_and(|part| *part == "{variable_key}");
        (template.len() == path.len() || (ends_open && path.len() > template.len()))
            && template.iter().zip(&path).all(|(part, given)| part.starts_with('{') || part == given)
    };
    operations()
        .filter(|(of, template, _)| of.eq_ignore_ascii_case(method) && fits(template))
        .min_by_key(|(_, template, _)| template.matches('{').count())
        .map(|(.., operation)| operation)
        .filter(|operation| operation.contains_key("tags"))
}

/// By operation and status.
type Validators = BTreeMap<(String, String), Arc<Validator>>;

/// Panics unless an answer is one that its operation declares. `path` is the whole one, from `/api/v2` on.
pub fn check_answer(method: &str, path: &str, status: u16, answer: Option<&Value>) {
    static VALIDATORS: LazyLock<Mutex<Validators>> = LazyLock::new(Mutex::default);
    let Some(operation) = operation_at(method, path) else { return };
    let id = operation["operationId"].as_str().unwrap();
    // Everything can fail, and a mistake of ours is no part of what is promised.
    if status == 500 {
        return;
    }
    let declared = &operation["responses"][&status.to_string()];
    assert!(declared.is_object(), "{id} answers {status}, and does not declare it: {answer:?}");
    let (schema, Some(answer)) = (&declared["content"]["application/json"]["schema"], answer) else { return };
    assert!(!schema.is_null(), "{id} answers {status} with a body, and declares none");
    let key = (id.to_owned(), status.to_string());
    let known = VALIDATORS.lock().unwrap().get(&key).cloned();
    let validator = known.unwrap_or_else(|| {
        let whole = json!({ "allOf": [schema], "components": windlass_webui::openapi()["components"] });
        let made = Arc::new(jsonschema::draft202012::options().should_validate_formats(true).build(&whole).unwrap());
        VALIDATORS.lock().unwrap().insert(key, made.clone());
        made
    });
    let faults: Vec<String> =
        validator.iter_errors(answer).map(|error| format!("{}: {error}", error.instance_path)).collect();
    assert!(faults.is_empty(), "{method} {path} {status}: {faults:#?} in {answer:#}");
}

/// Everything that a value holds, itself first.
fn within(value: &'static Value) -> Vec<&'static Value> {
    let inner: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(members) => members.values().collect(),
        _ => Vec::new(),
    };
    std::iter::once(value).chain(inner.into_iter().flat_map(within)).collect()
}

#[test]
fn the_document_is_whole() {
    let document = windlass_webui::openapi();
    for place in within(document).into_iter().filter_map(|value| value.get("$ref")?.as_str()) {
        assert!(document.pointer(place.trim_start_matches('#')).is_some(), "{place} leads nowhere");
    }
    let mut ids = BTreeSet::new();
    for (method, path, operation) in declared() {
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id), "{id} is the name of two operations");
        let parameters = operation.get("parameters").and_then(Value::as_array).into_iter().flatten();
        let in_path: BTreeSet<&str> =
            parameters.filter(|one| one["in"] == "path").map(|one| one["name"].as_str().unwrap()).collect();
        let open: BTreeSet<&str> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        assert_eq!(in_path, open, "{method} {path}");
        let secured = operation["security"].as_array().unwrap();
        let statuses = operation["responses"].as_object().unwrap();
        let is_open = secured == &[json!({})];
        // A login is open to everybody, and refuses a wrong password.
        let may_refuse = !is_open || ["create_token", "create_token_cli"].contains(&id);
        assert_eq!(may_refuse, statuses.contains_key("401"), "{id}: who may be refused is told so");
    }
}
