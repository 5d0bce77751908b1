//! Keys of an operator that each instance of an expanded task has a value of its own for.
//!
//! What the file says of such a key is a stand-in: the operator is read with it, so that everything else about it is checked, and read
//! again with the instance's own values before the instance runs. Values that stand in the file are each tried once here, by the
//! same reader.

use model::Operator;
use serde_json::{Map, Value as Json};

use super::{
    fields::{Fields, Layer},
    operator,
};
use crate::{
    canonical::operator_fields,
    expand::{Expand, ExpandBy, Over},
    files::FileSet,
    keys::{self, OperatorKeys, Shape},
    problem::{FieldPath, Place, Problems},
    yaml::{Key, Node},
};

/// Keys that all instances have in common. Where a task runs, and what of the machine it may see, is not for other tasks to decide;
/// which function it calls belongs to the version, with its file; and what its value decides it decides for the whole task.
const SHARED: &[&str] = &[
    "docker_url",
    "pass_env",
    "mounts",
    "privileged",
    "cap_add",
    "deferrable",
    "mode",
    "python_callable",
    "python_callable_file",
    "python_callable_name",
    "returns",
    "ignore_downstream_trigger_rules",
];

/// Keys that have another name for the same, by which they are expanded.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("external_task_id", "external_task_ids"),
    ("execution_delta_secs", "execution_delta"),
    ("force_pull", "pull_policy"),
];

/// Keys that are no templates, so that text in them means itself.
const AS_THEY_ARE: &[&str] =
    &["python", "script", "output", "conn_id", "http_conn_id", "fs_conn_id", "kafka_config_id"];

/// Whether an operator has a key that instances may have their own values for.
pub(crate) fn is_given(operator: &OperatorKeys, name: &str) -> bool {
    operator.keys().any(|key| key.name == name) && !SHARED.contains(&name) && other_name(name).is_none()
}

/// The name of a key that says the same as this one, and can be expanded.
pub(super) fn other_name(name: &str) -> Option<&'static str> {
    OTHER_NAMES.iter().find(|(known, _)| *known == name).map(|(_, other)| *other)
}

/// How an instance of an expanded task gets values for keys of its operator.
impl Expand {
    /// Whether a name is a key of an operator; any other is a name in templates.
    #[must_use]
    pub fn is_key(operator: &Operator, name: &str) -> bool {
        keys::operator(operator.name()).is_some_and(|operator| is_given(operator, name))
    }

    /// Whether a text in this key is rendered.
    #[must_use]
    pub fn is_template(name: &str) -> bool {
        !AS_THEY_ARE.contains(&name)
    }

    /// The operator of one instance: with these values for the keys that the file leaves open, and for others of its keys.
    ///
    /// # Errors
    /// What is missing or wrong, in a sentence.
    pub fn operator_with(operator: &Operator, open: &[String], given: &Map<String, Json>) -> Result<Operator, String> {
        let Some(known) = keys::operator(operator.name()) else { return Ok(operator.clone()) };
        if let Some(missing) = open.iter().find(|name| !given.contains_key(*name)) {
            let found: Vec<&str> = given.keys().map(String::as_str).collect();
            return Err(format!("its element gives no {missing}; it gives {}", listed(&found)));
        }
        let mut fields = operator_fields(operator);
        for (name, value) in given {
            fields.insert(name.clone(), value.clone());
        }
        let entries = entries_of(&fields, &Place::default());
        let fields = Fields::new(Place::default(), vec![Layer::of(&entries, FieldPath::default())]);
        let mut problems = Problems::of("expand");
        let read = operator::read(known, &fields, &mut FileSet::taken(), &mut problems);
        let report = problems.into_report("");
        match (read, report.errors.first()) {
            (Some(operator), None) => Ok(operator),
            (_, Some(error)) if error.field.is_empty() => Err(error.message.clone()),
            (_, Some(error)) => Err(format!("{}: {}", error.field, error.message)),
            (None, None) => Err("its element can not be read".to_owned()),
        }
    }
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// Reads the operator of an expanded task with something in the place of what its instances get, and tries what stands in the file.
/// The keys that are left open are noted in the expansion.
pub(super) fn operator(
    known: &OperatorKeys,
    fields: &Fields<'_>,
    (expand, place): (&mut Expand, &Place),
    files: &mut FileSet<'_>,
    problems: &mut Problems,
) -> Option<Operator> {
    expand.keys = open_keys(known, fields, expand);
    for name in expand.keys.iter().filter(|name| fields.own(name).is_some()) {
        problems.add(place, format!("{name} is given at the task, too; keep one"));
    }
    let stand_ins: Map<String, Json> =
        expand.keys.iter().map(|name| (name.clone(), stand_in(known, name, expand))).collect();
    if expand.keys.iter().any(|name| name == "script" && literals(expand, name).is_empty()) {
        problems.add(place, "the files of a version are known before its runs: script is given as a list in the file");
        return None;
    }
    let read = |given: &Map<String, Json>, files: &mut FileSet<'_>, problems: &mut Problems| {
        let entries = entries_of(given, place);
        operator::read(known, &fields.below(Layer::of(&entries, place.path.clone())), files, problems)
    };
    let found = read(&stand_ins, files, problems)?;
    for given in tried(known, expand, &stand_ins) {
        read(&given, files, problems)?;
    }
    Some(found)
}

/// The keys that the file leaves open: those that are named, or that every element names; of elements that are known only in
/// a run, those that the operator can not do without.
fn open_keys(known: &OperatorKeys, fields: &Fields<'_>, expand: &Expand) -> Vec<String> {
    let is_key = |name: &&String| is_given(known, name);
    match &expand.by {
        ExpandBy::Product(inputs) => inputs.iter().map(|(name, _)| name).filter(is_key).cloned().collect(),
        ExpandBy::Kwargs(Over::Literal(elements)) => {
            let has = |element: &Json, name: &str| element.get(name).is_some();
            let first = elements.first().and_then(Json::as_object);
            let names = first.into_iter().flat_map(Map::keys).filter(is_key);
            names.filter(|name| elements.iter().all(|element| has(element, name))).cloned().collect()
        }
        ExpandBy::Kwargs(_) => {
            let missing = known.required.iter().filter(|name| fields.take(name).is_none());
            missing.filter(|name| is_given(known, name)).map(|name| (*name).to_owned()).collect()
        }
    }
}

/// The values that the file has for a key.
fn literals<'e>(expand: &'e Expand, name: &str) -> Vec<&'e Json> {
    let mut found = Vec::new();
    match &expand.by {
        ExpandBy::Product(inputs) => {
            inputs.iter().filter(|(known, _)| known == name).for_each(|(_, over)| values_of(over, &mut found));
        }
        ExpandBy::Kwargs(over) => {
            values_of(over, &mut found);
            found = found.into_iter().filter_map(|element| element.get(name)).collect();
        }
    }
    found
}

fn values_of<'o>(over: &'o Over, found: &mut Vec<&'o Json>) {
    match over {
        Over::Literal(values) => found.extend(values),
        Over::Concat(parts) => parts.iter().for_each(|part| values_of(part, found)),
        Over::Output(_) | Over::Zip { .. } => {}
    }
}

/// What is tried: each value of each key, beside stand-ins for the others; of `expand_kwargs` each element.
fn tried(known: &OperatorKeys, expand: &Expand, stand_ins: &Map<String, Json>) -> Vec<Map<String, Json>> {
    let with = |name: &str, value: &Json| {
        let mut given = stand_ins.clone();
        given.insert(name.to_owned(), value.clone());
        given
    };
    match &expand.by {
        ExpandBy::Product(_) => {
            let of_key =
                |name: &String| literals(expand, name).into_iter().map(|value| with(name, value)).collect::<Vec<_>>();
            expand.keys.iter().flat_map(of_key).collect()
        }
        ExpandBy::Kwargs(over) => {
            let mut elements = Vec::new();
            values_of(over, &mut elements);
            let keys_of = |element: &Json| {
                let mut given = stand_ins.clone();
                let own = element.as_object().into_iter().flatten().filter(|(name, _)| is_given(known, name));
                given.extend(own.map(|(name, value)| (name.clone(), value.clone())));
                given
            };
            elements.into_iter().map(keys_of).collect()
        }
    }
}

/// What stands for a key while the operator is read.
fn stand_in(known: &OperatorKeys, name: &str, expand: &Expand) -> Json {
    if let Some(first) = literals(expand, name).first() {
        return (*first).clone();
    }
    match known.keys().find(|key| key.name == name).map(|key| key.shape) {
        Some(Shape::TextList) => Json::from(vec!["expanded"]),
        Some(Shape::List) => Json::Array(Vec::new()),
        Some(Shape::OneOf(words)) => words.first().copied().into(),
        Some(Shape::Bool) => false.into(),
        Some(Shape::Whole(least, _)) => least.into(),
        Some(Shape::Number | Shape::Duration) => 1.into(),
        Some(Shape::Date) => "2026-01-01".into(),
        Some(Shape::Environment | Shape::Any | Shape::Definition(_)) => Json::Object(Map::new()),
        Some(Shape::ExitCodes) => Json::from(vec![99]),
        Some(Shape::ErrorStatuses) => Json::from(vec![404]),
        Some(Shape::Text | Shape::TextOrNull | Shape::Texts) | None => "expanded".into(),
    }
}

fn entries_of(given: &Map<String, Json>, place: &Place) -> Vec<(Key, Node)> {
    let key = |name: &String| Key { at: place.at, name: name.as_str().into() };
    given.iter().map(|(name, value)| (key(name), Node::of_json(value, place.at))).collect()
}
