//! Tells a param's JSON Schema from a mapping that is its value, and a misspelt word from both.
//!
//! A mapping without any word of JSON Schema is a value. One that has some is a schema, and then every other word in it is a
//! mistake: JSON Schema itself would ignore it.

use super::fields::{Item, Layer};
use crate::{
    problem::{Place, Problems},
    yaml::Value,
};

/// The words of JSON Schema, and those that Airflow's forms know beside them.
const WORDS: &[&str] = &[
    "default",
    "description",
    "title",
    "type",
    "enum",
    "const",
    "format",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "items",
    "prefixItems",
    "additionalItems",
    "contains",
    "minContains",
    "maxContains",
    "minItems",
    "maxItems",
    "uniqueItems",
    "unevaluatedItems",
    "properties",
    "patternProperties",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "required",
    "minProperties",
    "maxProperties",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "definitions",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "section",
    "description_md",
    "custom_html_form",
    "values_display",
    "suggested_values",
];

/// Words whose value is a schema.
const OF_SCHEMA: &[&str] = &[
    "items",
    "additionalItems",
    "contains",
    "unevaluatedItems",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "not",
    "if",
    "then",
    "else",
    "contentSchema",
];

/// Words whose value is a list of schemas.
const OF_SCHEMAS: &[&str] = &["prefixItems", "allOf", "anyOf", "oneOf"];

/// Words whose value has schemas by names.
const OF_NAMED_SCHEMAS: &[&str] = &["properties", "patternProperties", "dependentSchemas", "definitions", "$defs"];

/// What to do when a mapping is no schema.
const AS_VALUE: &str = "if the mapping is the value itself, write it below default";

/// What a mapping is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A JSON Schema.
    Schema,
    /// The value.
    Value,
}

/// What a param's mapping is; none when it has misspelt words.
pub(super) fn form(item: &Item<'_>, problems: &mut Problems) -> Option<Form> {
    let layer = item.layer("a param", problems)?;
    let is_schema = layer.items().any(|(key, _)| is_word(&key.name));
    let is_misspelt = || layer.items().count() > 0 && layer.items().all(|(key, _)| nearest(&key.name).is_some());
    if !is_schema && !is_misspelt() {
        return Some(Form::Value);
    }
    check(&layer, problems).then_some(Form::Schema)
}

/// Notes every word of a schema that is none; whether there is no such word.
fn check(schema: &Layer<'_>, problems: &mut Problems) -> bool {
    let mut is_well = true;
    for (key, item) in schema.items() {
        if !is_word(&key.name) {
            is_well = false;
            let place = Place { at: key.at, path: item.place.path.clone() };
            let advice = match nearest(&key.name) {
                Some(word) => format!("did you mean {word:?}? {AS_VALUE}"),
                None => AS_VALUE.to_owned(),
            };
            problems.add_with(&place, "JSON Schema has no such word", Some(advice));
        }
        is_well &= check_below(&key.name, &item, problems);
    }
    is_well
}

/// The same for the schemas that a word's value holds.
fn check_below(word: &str, item: &Item<'_>, problems: &mut Problems) -> bool {
    let schema = |item: &Item<'_>, problems: &mut Problems| match &item.node.value {
        Value::Map(entries) => check(&Layer::of(entries, item.place.path.clone()), problems),
        _ => true,
    };
    match &item.node.value {
        Value::Map(_) if OF_SCHEMA.contains(&word) => schema(item, problems),
        Value::Map(entries) if OF_NAMED_SCHEMAS.contains(&word) => {
            let named = Layer::of(entries, item.place.path.clone());
            let mut is_well = true;
            // Each is looked at, also after one that is wrong.
            for (_, item) in named.items() {
                is_well &= schema(&item, problems);
            }
            is_well
        }
        Value::List(_) if OF_SCHEMAS.contains(&word) || OF_SCHEMA.contains(&word) => {
            let items = item.list("a list", problems).unwrap_or_default();
            let mut is_well = true;
            for item in &items {
                is_well &= schema(item, problems);
            }
            is_well
        }
        _ => true,
    }
}

fn is_word(name: &str) -> bool {
    WORDS.contains(&name) || name.starts_with('$') || name.starts_with("x-")
}

/// The word that is meant when a letter or two are wrong.
fn nearest(name: &str) -> Option<&'static str> {
    const LENGTH_MAX: usize = 30;
    if name.len() > LENGTH_MAX {
        return None;
    }
    let distance = |word: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &word.to_lowercase());
    let near = WORDS.iter().map(|word| (distance(word), *word)).min_by_key(|(distance, _)| *distance);
    // In a short word a wrong letter makes another word.
    let allowed = |word: &str| match word.len() {
        0..4 => 0,
        4..6 => 1,
        _ => 2,
    };
    near.filter(|(distance, word)| *distance <= allowed(word)).map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_is_near_and_another_word_is_not() {
        for (misspelt, meant) in [("typ", "type"), ("defualt", "default"), ("enumm", "enum"), ("MINIMUM", "minimum")] {
            assert_eq!(nearest(misspelt), Some(meant));
        }
        for other in ["ident", "name", "id", "value", "path", "min", "max", "region", ""] {
            assert_eq!(nearest(other), None, "{other}");
        }
    }
}
