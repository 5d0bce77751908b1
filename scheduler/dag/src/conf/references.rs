//! References within a JSON Schema that a validator could not follow to an end: it would exhaust its stack, and end the
//! process with it, or take as good as for ever.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use serde_json::Value;

/// How many references a schema may have: each is followed from within the one that leads to it.
const REFERENCES_MAX: usize = 100;
/// How many schemas may apply to one value, each counted as often as it applies.
const APPLIED_MAX: u64 = 10_000;
/// How many of them may lie within, or be led to by, one another.
const DEPTH_MAX: usize = 200;

/// Words whose value is a schema, a list of them or a mapping to them, each of which applies to the same value.
const APPLY_HERE: &[&str] =
    &["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"];
/// Words that refer to another schema, which applies to the same value.
const REFER: &[&str] = &["$ref", "$dynamicRef", "$recursiveRef"];

/// Why a schema's references can not be followed; nothing when they can.
pub(super) fn refusal(schema: &Value) -> Option<String> {
    let mut all = Vec::new();
    collect(schema, &mut all);
    let references = all.iter().flat_map(|node| REFER.iter().filter_map(|word| node.get(word)?.as_str())).count();
    if references > REFERENCES_MAX {
        return Some(format!("it has {references} references; at most {REFERENCES_MAX} are followed"));
    }
    let mut walk = Walk { all: &all, applied: HashMap::new() };
    all.iter().find_map(|node| walk.count(node, 0).err())
}

/// Everything in a schema that may be one, itself first.
fn collect<'s>(schema: &'s Value, all: &mut Vec<&'s Value>) {
    match schema {
        Value::Object(members) => {
            all.push(schema);
            members.values().for_each(|member| collect(member, all));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, all)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

struct Walk<'s, 'a> {
    all: &'a [&'s Value],
    /// How many schemas apply with one; none while that is being counted.
    applied: HashMap<*const Value, Option<u64>>,
}

impl<'s> Walk<'s, '_> {
    /// How many schemas apply to a value that this one applies to.
    fn count(&mut self, schema: &'s Value, depth: usize) -> Result<u64, String> {
        let this = std::ptr::from_ref(schema);
        match self.applied.get(&this) {
            Some(Some(count)) => return Ok(*count),
            Some(None) => return Err("it refers to itself for the same value, without an end".to_owned()),
            None if depth > DEPTH_MAX => return Err(format!("more than {DEPTH_MAX} schemas lead to one another")),
            None => {}
        }
        self.applied.insert(this, None);
        let mut count = 1;
        for next in self.next(schema) {
            count += self.count(next, depth + 1)?;
            if count > APPLIED_MAX {
                return Err(format!("more than {APPLIED_MAX} schemas would apply to one value"));
            }
        }
        self.applied.insert(this, Some(count));
        Ok(count)
    }

    fn next(&self, schema: &'s Value) -> Vec<&'s Value> {
        let below = APPLY_HERE.iter().filter_map(|word| schema.get(word)).flat_map(|value| match value {
            Value::Object(members) => std::iter::once(value).chain(members.values()).collect(),
            Value::Array(items) => items.iter().collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
        });
        let references = REFER.iter().filter_map(|word| schema.get(word)?.as_str());
        below.chain(references.flat_map(|reference| self.meant(reference))).filter(|next| next.is_object()).collect()
    }

    /// What a reference may mean: rather one too many than the right one not.
    fn meant(&self, reference: &str) -> Vec<&'s Value> {
        let (base, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let id = |node: &Value| ["$id", "id"].iter().find_map(|word| Some(node.get(word)?.as_str()?.to_owned()));
        let is_base = |node: &Value| {
            let id = id(node).unwrap_or_default();
            let id = id.trim_end_matches('#');
            !id.is_empty() && (id.ends_with(base) || base.ends_with(id))
        };
        let root = self.all.first().copied().filter(|_| base.is_empty());
        let bases = root.into_iter().chain(self.all.iter().copied().filter(|node| is_base(node)));
        match fragment {
            "" => bases.collect(),
            pointer if pointer.starts_with('/') => {
                let pointer = percent_decode_str(pointer).decode_utf8_lossy();
                bases.filter_map(|base| base.pointer(&pointer)).collect()
            }
            anchor => {
                let is_meant = |node: &&&Value| {
                    ["$anchor", "$dynamicAnchor"]
                        .iter()
                        .any(|word| node.get(word).and_then(Value::as_str) == Some(anchor))
                        || id(node).is_some_and(|id| id.strip_prefix('#') == Some(anchor))
                };
                self.all.iter().filter(is_meant).copied().collect()
            }
        }
    }
}
