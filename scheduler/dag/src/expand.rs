//! Dynamic task mapping: how many instances an expanded task has, and which element each of them gets.
//!
//! Lengths of what other tasks leave are known only in a run, so whoever asks gives them. From the same lengths always follow the
//! same elements: instance `i` of a product takes the digits of `i`, of which the last input's is the lowest, as in Airflow.

use model::TaskId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How many instances one task of one run may have: they are made in one turn.
pub const INSTANCES_MAX: u64 = 20_000;

/// What makes one task many instances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Expand {
    /// What it is expanded over.
    pub by: ExpandBy,
    /// A template that names each instance; its number when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_index_template: Option<String>,
    /// Keys of its operator that each instance gets its own value for: what the operator has there is a stand-in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// The group that the task is expanded with: its instances come after those of the group's other tasks that have their index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// What a task is expanded over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpandBy {
    /// Every combination of the inputs' elements (`expand`), in the order of the file: the last input varies fastest.
    Product(Vec<(String, Over)>),
    /// Mappings of names to values, one for each instance (`expand_kwargs`).
    Kwargs(Over),
}

/// Where elements come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// A list in the file.
    Literal(Vec<Value>),
    /// What a task returns: a list, or a mapping, whose elements are pairs of key and value.
    Output(TaskId),
    /// The first elements of all, then the second ones …: as many as the shortest has, or with a value for what is missing, the
    /// longest.
    Zip {
        /// What is joined.
        of: Vec<Over>,
        /// What stands for a missing element.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fillvalue: Option<Value>,
    },
    /// The elements of all, one after the other.
    Concat(Vec<Over>),
}

/// An element of one instance: a value that the file has, or where it is found.
#[derive(Debug, Clone, PartialEq)]
pub enum Element {
    /// This value.
    Value(Value),
    /// An element of what a task returned.
    Output {
        /// The task.
        task: TaskId,
        /// Which element.
        index: u64,
    },
    /// A list of these.
    List(Vec<Element>),
}

/// What one instance gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    /// An element for each name.
    Named(Vec<(String, Element)>),
    /// One element, a mapping of names to values.
    Kwargs(Element),
}

impl Expand {
    /// The tasks whose return values it is expanded over, each once.
    #[must_use]
    pub fn sources(&self) -> Vec<&TaskId> {
        let mut found = Vec::new();
        match &self.by {
            ExpandBy::Product(inputs) => inputs.iter().for_each(|(_, over)| over.sources(&mut found)),
            ExpandBy::Kwargs(over) => over.sources(&mut found),
        }
        found
    }

    /// Gives the tasks whose return values it is expanded over other names.
    pub(crate) fn rename(&mut self, name: &impl Fn(&TaskId) -> TaskId) {
        match &mut self.by {
            ExpandBy::Product(inputs) => inputs.iter_mut().for_each(|(_, over)| over.rename(name)),
            ExpandBy::Kwargs(over) => over.rename(name),
        }
    }

    /// How many instances there are when tasks have left so many elements; none when one of the lengths is not known.
    pub fn length(&self, of: &impl Fn(&TaskId) -> Option<u64>) -> Option<u64> {
        match &self.by {
            ExpandBy::Product(inputs) => inputs
                .iter()
                .map(|(_, over)| over.length(of))
                .try_fold(1_u64, |product, length| Some(product.saturating_mul(length?))),
            ExpandBy::Kwargs(over) => over.length(of),
        }
    }

    /// What the instance of an index gets; none when there is no such instance, or a length is not known.
    pub fn given(&self, index: u64, of: &impl Fn(&TaskId) -> Option<u64>) -> Option<Given> {
        if index >= self.length(of)? {
            return None;
        }
        match &self.by {
            ExpandBy::Kwargs(over) => Some(Given::Kwargs(over.element(index, of)?)),
            ExpandBy::Product(inputs) => {
                let mut rest = index;
                let mut given = Vec::with_capacity(inputs.len());
                for (name, over) in inputs.iter().rev() {
                    let length = over.length(of)?;
                    given.push((name.clone(), over.element(rest.checked_rem(length)?, of)?));
                    rest /= length;
                }
                given.reverse();
                Some(Given::Named(given))
            }
        }
    }
}

impl Over {
    fn sources<'o>(&'o self, found: &mut Vec<&'o TaskId>) {
        match self {
            Self::Literal(_) => {}
            Self::Output(task) if found.contains(&task) => {}
            Self::Output(task) => found.push(task),
            Self::Zip { of, .. } | Self::Concat(of) => of.iter().for_each(|over| over.sources(found)),
        }
    }

    fn rename(&mut self, name: &impl Fn(&TaskId) -> TaskId) {
        match self {
            Self::Literal(_) => {}
            Self::Output(task) => *task = name(task),
            Self::Zip { of, .. } | Self::Concat(of) => of.iter_mut().for_each(|over| over.rename(name)),
        }
    }

    /// How many elements it has.
    pub fn length(&self, of: &impl Fn(&TaskId) -> Option<u64>) -> Option<u64> {
        let lengths = |parts: &[Self]| parts.iter().map(|part| part.length(of)).collect::<Option<Vec<u64>>>();
        match self {
            Self::Literal(values) => u64::try_from(values.len()).ok(),
            Self::Output(task) => of(task),
            Self::Zip { of: parts, fillvalue: None } => Some(lengths(parts)?.into_iter().min().unwrap_or(0)),
            Self::Zip { of: parts, fillvalue: Some(_) } => Some(lengths(parts)?.into_iter().max().unwrap_or(0)),
            Self::Concat(parts) => Some(lengths(parts)?.into_iter().fold(0, u64::saturating_add)),
        }
    }

    fn element(&self, index: u64, of: &impl Fn(&TaskId) -> Option<u64>) -> Option<Element> {
        match self {
            Self::Literal(values) => values.get(usize::try_from(index).ok()?).cloned().map(Element::Value),
            Self::Output(task) => Some(Element::Output { task: task.clone(), index }),
            Self::Zip { of: parts, fillvalue } => {
                let one = |part: &Self| match fillvalue {
                    Some(fill) if index >= part.length(of)? => Some(Element::Value(fill.clone())),
                    Some(_) | None => part.element(index, of),
                };
                parts.iter().map(one).collect::<Option<Vec<_>>>().map(Element::List)
            }
            Self::Concat(parts) => {
                let mut rest = index;
                for part in parts {
                    let length = part.length(of)?;
                    if rest < length {
                        return part.element(rest, of);
                    }
                    rest -= length;
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn literal(values: Value) -> Over {
        Over::Literal(values.as_array().unwrap().clone())
    }

    fn output(task: &str) -> Over {
        Over::Output(TaskId::new(task).unwrap())
    }

    fn three(_: &TaskId) -> Option<u64> {
        Some(3)
    }

    fn at(task: &str, index: u64) -> Element {
        Element::Output { task: TaskId::new(task).unwrap(), index }
    }

    #[test]
    fn the_last_input_of_a_product_varies_fastest() {
        let inputs = vec![("x".to_owned(), literal(json!(["a", "b"]))), ("y".to_owned(), output("t"))];
        let expand = Expand { by: ExpandBy::Product(inputs), map_index_template: None, keys: Vec::new(), group: None };
        assert_eq!(expand.length(&three), Some(6));
        let given = |index| match expand.given(index, &three) {
            Some(Given::Named(named)) => named.into_iter().map(|(_, element)| element).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(given(1), [Element::Value(json!("a")), at("t", 1)]);
        assert_eq!(given(3), [Element::Value(json!("b")), at("t", 0)]);
        assert_eq!(expand.given(6, &three), None);
        assert_eq!(expand.length(&|_| None), None, "a length is not known");
        assert_eq!(expand.length(&|_| Some(0)), Some(0));
        assert_eq!(expand.length(&|_| Some(u64::MAX)), Some(u64::MAX), "it does not wrap around");
    }

    #[test]
    fn zip_ends_with_the_shortest_and_fills_up_to_the_longest() {
        let of = vec![literal(json!([1, 2])), output("t")];
        let short = Over::Zip { of: of.clone(), fillvalue: None };
        assert_eq!(short.length(&three), Some(2));
        assert_eq!(short.element(1, &three), Some(Element::List(vec![Element::Value(json!(2)), at("t", 1)])));
        let long = Over::Zip { of, fillvalue: Some(json!(0)) };
        assert_eq!(long.length(&three), Some(3));
        assert_eq!(long.element(2, &three), Some(Element::List(vec![Element::Value(json!(0)), at("t", 2)])));
    }

    #[test]
    fn concat_goes_on_with_the_next_list() {
        let all = Over::Concat(vec![output("a"), literal(json!([])), output("b"), literal(json!([7]))]);
        assert_eq!(all.length(&three), Some(7));
        assert_eq!(all.element(2, &three), Some(at("a", 2)));
        assert_eq!(all.element(3, &three), Some(at("b", 0)));
        assert_eq!(all.element(6, &three), Some(Element::Value(json!(7))));
        let expand = Expand { by: ExpandBy::Kwargs(all), map_index_template: None, keys: Vec::new(), group: None };
        assert_eq!(expand.given(7, &three), None);
        assert_eq!(expand.sources().len(), 2);
    }
}
