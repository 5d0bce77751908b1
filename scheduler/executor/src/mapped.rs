//! What an instance of an expanded task gets: its elements, as names for its templates, and what it is called.
//!
//! The leader says where each element is, by the lengths that it knows; its value is fetched here before anything runs.

use std::{
    borrow::Cow,
    collections::{BTreeMap, btree_map::Entry},
    sync::OnceLock,
};

use link::{Element, FetchItem, FetchKey, Given, Mapped};
use model::{MapIndex, Operator, TaskId, TaskIdx, XComValue};
use serde_json::{Map, Value};

use crate::{Attempt, Outcome};

/// The longest name of an instance, in characters, as in Airflow.
const NAME_CHARS_MAX: usize = 250;

/// The name that instances have params of their own under.
const PARAMS: &str = "params";

/// The elements of one attempt by their names; none until they are fetched.
#[derive(Debug, Default)]
pub struct Elements(OnceLock<Map<String, Value>>);

impl Elements {
    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0.get().into_iter().flatten()
    }
}

impl Attempt {
    /// What it runs: the task's operator, of an expanded task with what this instance has of its own. Fetches its elements.
    ///
    /// # Errors
    /// How the attempt ends, when it can not have them.
    pub(crate) async fn operator(&self) -> Result<Cow<'_, Operator>, Outcome> {
        let operator = &self.assignment.operator;
        let Some(mapped) = &self.assignment.mapped else { return Ok(Cow::Borrowed(operator)) };
        let elements = self.elements_of(mapped).await.map_err(Outcome::failed)?;
        let (keys, names): (Map<_, _>, Map<_, _>) =
            elements.into_iter().partition(|(name, _)| (self.worker.operators.is_key)(operator, name));
        if names.get(PARAMS).is_some_and(|params| !params.is_object()) {
            return Err(Outcome::failed("params are a mapping of names to values, and its element is something else"));
        }
        // The first to set them has fetched the same.
        let _ = self.elements.0.set(names);
        if keys.is_empty() && mapped.keys.is_empty() {
            return Ok(Cow::Borrowed(operator));
        }
        (self.worker.operators.with)(operator, &mapped.keys, &keys).map(Cow::Owned).map_err(Outcome::failed)
    }

    /// The params of its run, with those that the instance has of its own.
    pub(crate) fn params(&self) -> Map<String, Value> {
        let mut params = self.assignment.context.params.clone();
        if let Some(Value::Object(own)) = self.elements.0.get().and_then(|names| names.get(PARAMS)) {
            params.extend(own.clone());
        }
        params
    }

    async fn elements_of(&self, mapped: &Mapped) -> Result<Map<String, Value>, String> {
        let mut returned = BTreeMap::new();
        match &mapped.given {
            None => Err("what it is expanded over is gone: a task before it was cleared; clear it, too".to_owned()),
            Some(Given::Named(named)) => {
                let mut elements = Map::new();
                for (name, element) in named {
                    let value = self.element(element, &mut returned).await?;
                    elements.insert(name.clone(), self.as_it_is(name, element, value));
                }
                Ok(elements)
            }
            Some(Given::Kwargs(element)) => match self.element(element, &mut returned).await? {
                Value::Object(elements) => {
                    let own = |(name, value): (String, Value)| {
                        let value = self.as_it_is(&name, element, value);
                        (name, value)
                    };
                    Ok(elements.into_iter().map(own).collect())
                }
                other => {
                    Err(format!("expand_kwargs takes mappings of names to values, and its element is {}", kind(&other)))
                }
            },
        }
    }

    /// The value of a key: what another task has returned is no template, so it is written as one that gives it as it is.
    fn as_it_is(&self, name: &str, element: &Element, value: Value) -> Value {
        let operators = &self.worker.operators;
        let is_rendered = (operators.is_key)(&self.assignment.operator, name) && (operators.is_template)(name);
        if is_rendered && !sources(element).is_empty() { unrendered(value) } else { value }
    }

    async fn element(&self, element: &Element, returned: &mut BTreeMap<TaskIdx, Value>) -> Result<Value, String> {
        // Fetched first, so that nothing here waits within itself.
        for (task_id, task) in sources(element) {
            if let Entry::Vacant(place) = returned.entry(task) {
                place.insert(self.returned(task_id, task).await?);
            }
        }
        picked(element, returned)
    }

    /// What a task has returned: a list or a mapping, or the list of what its instances have.
    async fn returned(&self, task_id: &TaskId, task: TaskIdx) -> Result<Value, String> {
        for map_index in [Some(MapIndex::UNMAPPED), None] {
            let key = FetchKey::XCom { task, map_index, key: XComValue::RETURN_VALUE.to_owned() };
            match self.ask(key).await {
                FetchItem::XCom(values) if map_index.is_none() => {
                    return Ok(Value::Array(values.into_iter().filter(|value| !value.is_null()).collect()));
                }
                FetchItem::XCom(values) => {
                    if let Some(value) = values.into_iter().next() {
                        return Ok(value);
                    }
                }
                FetchItem::Missing(_) => {}
                other => return Err(format!("what {task_id} has returned: {}", other.misfit())),
            }
        }
        Ok(Value::Null)
    }

    /// What the instance is called: its map_index_template, rendered. One that can not be rendered is told in the log.
    pub(crate) async fn rendered_map_index(&self) -> Option<String> {
        let template = self.assignment.mapped.as_ref()?.map_index_template.clone()?;
        match self.render(move |renderer| renderer.text("map_index_template", &template)).await {
            Ok(name) => Some(self.masker.mask(name.trim()).chars().take(NAME_CHARS_MAX).collect()),
            Err(error) => {
                self.log.system(&error.to_string());
                None
            }
        }
    }
}

/// A template that gives a value as it is.
fn unrendered(value: Value) -> Value {
    match value {
        Value::String(text) if ["{{", "{%", "{#"].iter().any(|begin| text.contains(begin)) => {
            // Nothing within may end the block.
            format!("{{% raw %}}{}{{% endraw %}}", text.replace("{%", "{{% endraw %}{% raw %}%")).into()
        }
        Value::Array(items) => items.into_iter().map(unrendered).collect(),
        Value::Object(entries) => entries.into_iter().map(|(name, value)| (name, unrendered(value))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// The tasks whose return values an element is part of.
fn sources(element: &Element) -> Vec<(&TaskId, TaskIdx)> {
    match element {
        Element::Value(_) => Vec::new(),
        Element::Output { task_id, task, .. } => vec![(task_id, *task)],
        Element::List(parts) => parts.iter().flat_map(sources).collect(),
    }
}

fn picked(element: &Element, returned: &BTreeMap<TaskIdx, Value>) -> Result<Value, String> {
    match element {
        Element::Value(value) => Ok(value.clone()),
        Element::List(parts) => {
            parts.iter().map(|part| picked(part, returned)).collect::<Result<_, _>>().map(Value::Array)
        }
        Element::Output { task_id, task, index } => {
            let at = usize::try_from(*index).unwrap_or(usize::MAX);
            let found = match returned.get(task) {
                Some(Value::Array(items)) => items.get(at).cloned(),
                // Airflow gives the pairs of a mapping.
                Some(Value::Object(entries)) => {
                    entries.iter().nth(at).map(|(key, value)| Value::Array(vec![key.as_str().into(), value.clone()]))
                }
                Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => None,
            };
            found.ok_or_else(|| {
                format!(
                    "what {task_id} has returned has no element {index} any more; clear {task_id} and what follows it"
                )
            })
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_element_is_picked_from_lists_and_mappings() {
        let task = |index| Element::Output { task_id: TaskId::new("t").unwrap(), task: TaskIdx(1), index };
        let list = BTreeMap::from([(TaskIdx(1), json!(["a", "b"]))]);
        assert_eq!(picked(&task(1), &list), Ok(json!("b")));
        assert_eq!(picked(&Element::List(vec![Element::Value(json!(1)), task(0)]), &list), Ok(json!([1, "a"])));
        let gone = "what t has returned has no element 2 any more; clear t and what follows it";
        assert_eq!(picked(&task(2), &list), Err(gone.to_owned()));
        let mapping = BTreeMap::from([(TaskIdx(1), json!({"x": 1, "y": 2}))]);
        assert_eq!(picked(&task(1), &mapping), Ok(json!(["y", 2])));
    }
}
