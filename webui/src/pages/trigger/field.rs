//! A param's JSON Schema as a field of a form.

use dag::{Param, Params};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{
    super::words::Clock,
    read::{Mistakes, local_text},
};
use crate::auth::form::PageForm;

/// Params are sent under their name behind this, so that none collides with a field of ours.
pub(super) const PREFIX: &str = "param.";
/// Choices of one field; a longer enum is typed as JSON.
const CHOICES_MAX: usize = 500;

/// Fields under a common title; the first section has none.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Section {
    title: String,
    fields: Vec<Field>,
}

/// A param as a field.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Field {
    name: String,
    /// How it is sent.
    field: String,
    label: String,
    kind: Kind,
    value: String,
    choices: Vec<Choice>,
    examples: Vec<String>,
    description: Option<String>,
    hint: Option<String>,
    is_required: bool,
    min: Option<String>,
    max: Option<String>,
    step: &'static str,
    min_length: Option<u64>,
    max_length: Option<u64>,
    mistake: Option<String>,
}

/// One value of an enum.
#[derive(Debug, Serialize, JsonSchema)]
struct Choice {
    /// The value as JSON text.
    value: String,
    label: String,
    chosen: bool,
}

/// What a field looks like, and how what is typed is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A line.
    Text,
    /// Several lines.
    LongText,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// A box to tick.
    Flag,
    /// One of several values.
    Choice,
    /// A day.
    Date,
    /// A day and a time, in the reader's zone.
    DateTime,
    /// A time of day.
    Time,
    /// Everything else.
    Json,
}

/// The schema's types; without any, that of the default.
fn types(param: &Param) -> Vec<&str> {
    match param.schema.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => match &param.default {
            Value::String(_) => vec!["string"],
            Value::Number(_) => vec!["number"],
            Value::Bool(_) => vec!["boolean"],
            Value::Null | Value::Array(_) | Value::Object(_) => Vec::new(),
        },
    }
}

/// Whether nothing is a value, too.
pub(super) fn is_nullable(param: &Param) -> bool {
    types(param).contains(&"null") || values(param).is_some_and(|values| values.contains(&Value::Null))
}

fn values(param: &Param) -> Option<&Vec<Value>> {
    param.schema.get("enum").and_then(Value::as_array).filter(|values| values.len() <= CHOICES_MAX)
}

/// How a param is shown and read.
pub(super) fn kind(param: &Param) -> Kind {
    if values(param).is_some() {
        return Kind::Choice;
    }
    let types = types(param);
    let mut others = types.iter().copied().filter(|one| *one != "null");
    let format = param.schema.get("format").and_then(Value::as_str).unwrap_or_default();
    match (others.next(), others.next()) {
        (Some("string"), None) => match format {
            "date" => Kind::Date,
            "date-time" => Kind::DateTime,
            "time" => Kind::Time,
            "multiline" => Kind::LongText,
            _ if param.default.as_str().is_some_and(|text| text.contains('\n')) => Kind::LongText,
            _ => Kind::Text,
        },
        (Some("integer"), None) => Kind::Integer,
        (Some("number"), None) => Kind::Number,
        (Some("boolean"), None) if types.len() == 1 => Kind::Flag,
        (Some("boolean"), None) => Kind::Choice,
        _ => Kind::Json,
    }
}

/// A value as its field shows it.
pub(super) fn text_of(value: &Value, kind: Kind, clock: Clock) -> String {
    match (value, kind) {
        (Value::Null, Kind::Choice) => "null".to_owned(),
        (Value::Null, _) => String::new(),
        (Value::String(text), Kind::Text | Kind::LongText | Kind::Date | Kind::Time) => text.clone(),
        (Value::String(text), Kind::DateTime) => local_text(text, clock),
        (Value::Array(_) | Value::Object(_), Kind::Json) => serde_json::to_string_pretty(value).unwrap_or_default(),
        (other, _) => other.to_string(),
    }
}

/// The fields of all params by section, in the order of their names.
pub fn sections(params: &Params, typed: Option<&PageForm>, mistakes: &Mistakes, clock: Clock) -> Vec<Section> {
    let mut sections = vec![Section { title: String::new(), fields: Vec::new() }];
    for (name, param) in params.iter() {
        let title = param.schema.get("section").and_then(Value::as_str).unwrap_or_default();
        let at = sections.iter().position(|section| section.title == title).unwrap_or_else(|| {
            sections.push(Section { title: title.to_owned(), fields: Vec::new() });
            sections.len() - 1
        });
        sections[at].fields.push(field(name, param, typed, mistakes.get(name).cloned(), clock));
    }
    sections.retain(|section| !section.fields.is_empty());
    sections
}

fn field(name: &str, param: &Param, typed: Option<&PageForm>, mistake: Option<String>, clock: Clock) -> Field {
    let kind = kind(param);
    let sent = format!("{PREFIX}{name}");
    let value = typed.map_or_else(|| text_of(&param.default, kind, clock), |form| form.text(&sent).to_owned());
    let text = |key: &str| param.schema.get(key).and_then(Value::as_str).map(str::to_owned);
    let whole = |key: &str| param.schema.get(key).and_then(Value::as_u64);
    let number = |key: &str| param.schema.get(key).filter(|bound| bound.is_number()).map(Value::to_string);
    let needs_text = whole("minLength").is_some_and(|least| least > 0) || param.default.is_null();
    Field {
        name: name.to_owned(),
        label: text("title").unwrap_or_else(|| name.to_owned()),
        choices: choices(param, kind, &value),
        examples: examples(param),
        description: param.description.clone().or_else(|| text("description_md")),
        hint: hint(param),
        is_required: !is_nullable(param)
            && match kind {
                Kind::Text | Kind::LongText => needs_text,
                Kind::Flag | Kind::Json => false,
                Kind::Integer | Kind::Number | Kind::Choice | Kind::Date | Kind::DateTime | Kind::Time => true,
            },
        min: number("minimum"),
        max: number("maximum"),
        step: if kind == Kind::Integer { "1" } else { "any" },
        min_length: whole("minLength"),
        max_length: whole("maxLength"),
        mistake,
        field: sent,
        kind,
        value,
    }
}

/// The values of an enum, or of a boolean that may be nothing, too.
fn choices(param: &Param, kind: Kind, value: &str) -> Vec<Choice> {
    if kind != Kind::Choice {
        return Vec::new();
    }
    let own = [Value::Null, Value::Bool(true), Value::Bool(false)];
    let values: &[Value] = values(param).map_or(&own, Vec::as_slice);
    let display = param.schema.get("values_display");
    let label = |one: &Value| match (display.and_then(|names| names.get(plain(one))).and_then(Value::as_str), one) {
        (Some(label), _) => label.to_owned(),
        (None, Value::Null) => "(nothing)".to_owned(),
        (None, one) => plain(one),
    };
    let choice = |one: &Value| {
        let json = one.to_string();
        Choice { chosen: json == value, label: label(one), value: json }
    };
    values.iter().map(choice).collect()
}

/// A text bare, everything else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn examples(param: &Param) -> Vec<String> {
    let examples = param.schema.get("examples").and_then(Value::as_array);
    examples.into_iter().flatten().take(CHOICES_MAX).map(plain).collect()
}

/// The bounds in words, so that they are known before something is refused.
fn hint(param: &Param) -> Option<String> {
    let words = [
        ("minimum", "at least"),
        ("exclusiveMinimum", "more than"),
        ("maximum", "at most"),
        ("exclusiveMaximum", "less than"),
        ("multipleOf", "a multiple of"),
        ("minLength", "characters, at least"),
        ("maxLength", "characters, at most"),
        ("minItems", "entries, at least"),
        ("maxItems", "entries, at most"),
        ("pattern", "matches"),
    ];
    let found = words.iter().filter_map(|(key, word)| Some(format!("{word} {}", plain(param.schema.get(key)?))));
    let hint = found.collect::<Vec<_>>().join(", ");
    (!hint.is_empty()).then_some(hint)
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;
    use serde_json::json;

    use super::*;

    fn param(schema: Value, default: Value) -> Param {
        Param { schema, default, description: None }
    }

    #[test]
    fn a_schema_decides_what_a_field_looks_like() {
        let kinds = [
            (json!({"type": "string"}), Kind::Text),
            (json!({"type": ["string", "null"]}), Kind::Text),
            (json!({"type": "string", "format": "date-time"}), Kind::DateTime),
            (json!({"type": ["null", "string"], "format": "date"}), Kind::Date),
            (json!({"type": "string", "format": "multiline"}), Kind::LongText),
            (json!({"type": "integer"}), Kind::Integer),
            (json!({"type": ["number", "null"]}), Kind::Number),
            (json!({"type": "boolean"}), Kind::Flag),
            (json!({"type": ["boolean", "null"]}), Kind::Choice),
            (json!({"enum": [1, "a", null]}), Kind::Choice),
            (json!({"type": "array"}), Kind::Json),
            (json!({"type": ["string", "integer"]}), Kind::Json),
            (json!({}), Kind::Json),
        ];
        for (schema, expected) in kinds {
            assert_eq!(kind(&param(schema.clone(), Value::Null)), expected, "{schema}");
        }
        assert_eq!(kind(&param(json!({}), json!("text"))), Kind::Text);
        assert_eq!(kind(&param(json!({}), json!("two\nlines"))), Kind::LongText);
        assert_eq!(kind(&param(json!({}), json!(true))), Kind::Flag);
    }

    #[test]
    fn a_field_has_its_label_its_bounds_and_its_choices() {
        let clock = Clock { now: chrono::Utc::now(), zone: Tz::UTC };
        let schema = json!({"enum": ["a", 2], "title": "Which", "values_display": {"a": "The first"}});
        let shown = field("which", &param(schema, json!("a")), None, Some("wrong".to_owned()), clock);
        let labels: Vec<_> =
            shown.choices.iter().map(|one| (one.value.as_str(), one.label.as_str(), one.chosen)).collect();
        assert_eq!((shown.label.as_str(), shown.mistake.as_deref()), ("Which", Some("wrong")));
        assert_eq!(labels, [("\"a\"", "The first", true), ("2", "2", false)]);
        let bounded =
            field("n", &param(json!({"type": "integer", "minimum": 1, "maximum": 5}), json!(3)), None, None, clock);
        assert_eq!(bounded.hint.as_deref(), Some("at least 1, at most 5"));
        assert!(bounded.is_required && bounded.min.as_deref() == Some("1") && bounded.value == "3");
        assert!(!field("n", &param(json!({"type": ["integer", "null"]}), Value::Null), None, None, clock).is_required);
    }
}
