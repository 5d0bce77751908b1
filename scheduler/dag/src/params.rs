//! The params of a DAG, in the order of its file: the order in which a form asks for them.

use std::ops::Index;

use model::operator::Asking;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};

use serde_json::{Value, json};

use crate::compiled::Param;

/// Params by name. No name stands twice; there are few, so that one is found by looking at all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Params(Vec<(String, Param)>);

impl Params {
    /// One by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Param> {
        self.iter().find(|(known, _)| *known == name).map(|(_, param)| param)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and params, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Param)> {
        self.0.iter().map(|(name, param)| (name, param))
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.iter().map(|(name, _)| name)
    }

    fn put(&mut self, name: String, param: Param) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, there)) => *there = param,
            None => self.0.push((name, param)),
        }
    }
}

impl FromIterator<(String, Param)> for Params {
    fn from_iter<I: IntoIterator<Item = (String, Param)>>(entries: I) -> Self {
        let mut params = Self::default();
        entries.into_iter().for_each(|(name, param)| params.put(name, param));
        params
    }
}

impl Index<&str> for Params {
    type Output = Param;

    fn index(&self, name: &str) -> &Param {
        self.get(name).expect("the name is one of these params")
    }
}

impl Serialize for Params {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Params {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

/// Reads a map entry by entry, as it is written.
struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Params;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a mapping of names to params")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Params, A::Error> {
        let mut params = Params::default();
        while let Some((name, param)) = entries.next_entry()? {
            params.put(name, param);
        }
        Ok(params)
    }
}

/// A param that a question asks for, in Airflow's form.
pub(crate) fn as_asked(param: Param) -> Value {
    json!({ "value": param.default, "schema": param.schema, "description": param.description })
}

/// The same as a param.
pub(crate) fn asked_param(asked: &Value) -> Param {
    Param {
        schema: asked.get("schema").cloned().unwrap_or_else(|| json!({})),
        default: asked.get("value").cloned().unwrap_or(Value::Null),
        description: asked.get("description").and_then(Value::as_str).map(str::to_owned),
    }
}

/// The params that a question asks for.
#[must_use]
pub fn asked_params(asking: &Asking) -> Params {
    asking.params.iter().map(|(name, param)| (name.clone(), asked_param(param))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn params_keep_their_order_through_json() {
        let text = r#"{"zeta":{"schema":{},"default":1,"description":null},"alpha":{"schema":{},"default":2,"description":null}}"#;
        let params: Params = serde_json::from_str(text).unwrap();
        assert_eq!(params.names().collect::<Vec<_>>(), ["zeta", "alpha"]);
        assert_eq!(params["alpha"].default, 2);
        assert_eq!(serde_json::to_string(&params).unwrap(), text);
    }
}
