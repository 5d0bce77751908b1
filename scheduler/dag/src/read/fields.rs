//! Mappings as they are read: keys looked up through layers of defaults, unknown keys reported with the nearest known one.

use std::{collections::HashMap, rc::Rc};

use crate::{
    keys::{Here, IN_DEFAULTS, Key as KnownKey, NotYet, TRUE_ASKS_NOTHING, elsewhere},
    problem::{FieldPath, Place, Problems, shortened},
    yaml::{Key, Node, Value, meant_otherwise},
};

/// After so many keys of one mapping that are not in its tables no further one is looked at: more than are ever told.
const UNKNOWN_MAX: usize = 1_000;

/// Mappings with more entries than this are looked up by an index; in smaller ones looking at all is faster.
const SMALL: usize = 32;

/// One mapping and where it is.
#[derive(Debug, Clone)]
pub(super) struct Layer<'n> {
    entries: &'n [(Key, Node)],
    /// The first entry of each key.
    index: Option<Rc<HashMap<&'n str, usize>>>,
    path: FieldPath,
}

impl<'n> Layer<'n> {
    /// A mapping's entries.
    pub(super) fn of(entries: &'n [(Key, Node)], path: FieldPath) -> Self {
        let index = (entries.len() > SMALL).then(|| {
            // Of equal keys the first one stays, so that they are told in the other order.
            Rc::new(entries.iter().enumerate().rev().map(|(index, (key, _))| (&*key.name, index)).collect())
        });
        Self { entries, index, path }
    }

    /// The value of a key, null included.
    pub(super) fn get(&self, name: &str) -> Option<Item<'n>> {
        let (key, node) = match &self.index {
            Some(index) => &self.entries[*index.get(name)?],
            None => self.entries.iter().find(|(key, _)| *key.name == *name)?,
        };
        Some(self.item(key, node))
    }

    /// All entries.
    pub(super) fn items(&self) -> impl Iterator<Item = (&'n Key, Item<'n>)> + '_ {
        self.entries.iter().map(|(key, node)| (key, self.item(key, node)))
    }

    /// A scalar is pointed at itself, a list or mapping at its key: that is where a reader looks.
    fn item(&self, key: &Key, node: &'n Node) -> Item<'n> {
        let at = match node.value {
            Value::List(_) | Value::Map(_) | Value::Null => key.at,
            Value::Bool(_) | Value::Int(..) | Value::Float(..) | Value::Text(_) | Value::Refused(_) => node.at,
        };
        let path = node.origin.clone().unwrap_or_else(|| self.path.key(&key.name));
        Item { node, place: Place { at, path } }
    }
}

/// A mapping with the layers that it inherits from, nearest first.
#[derive(Debug, Clone)]
pub(super) struct Fields<'n> {
    /// Where the mapping itself is.
    pub(super) place: Place,
    layers: Vec<Layer<'n>>,
}

impl<'n> Fields<'n> {
    /// The first layer is the mapping's own.
    pub(super) const fn new(place: Place, layers: Vec<Layer<'n>>) -> Self {
        Self { place, layers }
    }

    /// The same mapping with a layer before all of its own.
    pub(super) fn below<'m>(&self, first: Layer<'m>) -> Fields<'m>
    where
        'n: 'm,
    {
        Fields {
            place: self.place.clone(),
            layers: std::iter::once(first).chain(self.layers.iter().cloned()).collect(),
        }
    }

    /// The value of a key in the nearest layer that has it; none for null, which also hides what would be inherited.
    pub(super) fn take(&self, name: &str) -> Option<Item<'n>> {
        self.layers.iter().find_map(|layer| layer.get(name)).filter(|item| item.node.value != Value::Null)
    }

    /// Whether the nearest layer that has the key gives it null, where that means something else than its absence.
    pub(super) fn is_null(&self, name: &str) -> bool {
        self.layers.iter().find_map(|layer| layer.get(name)).is_some_and(|item| item.node.value == Value::Null)
    }

    /// The value of a key in the mapping itself.
    pub(super) fn own(&self, name: &str) -> Option<Item<'n>> {
        self.layers.first().and_then(|layer| layer.get(name)).filter(|item| item.node.value != Value::Null)
    }

    /// The value of a key that has several names; two at once in one mapping are a problem.
    pub(super) fn either<const N: usize>(&self, names: [&str; N], problems: &mut Problems) -> Option<Item<'n>> {
        for layer in &self.layers {
            let mut found = names.iter().filter_map(|name| Some((*name, layer.get(name)?)));
            let Some((kept, item)) = found.next() else { continue };
            if let Some((other, second)) = found.next() {
                problems.add(&second.place, format!("{other} and {kept} mean the same; keep {kept}"));
                return None;
            }
            return Some(item).filter(|item| item.node.value != Value::Null);
        }
        None
    }

    /// The same with further layers behind its own.
    pub(super) fn with_defaults(&self, defaults: &[Layer<'n>]) -> Self {
        Self { place: self.place.clone(), layers: self.layers.iter().chain(defaults).cloned().collect() }
    }

    /// Every layer's value of a key, nearest first.
    pub(super) fn all(&self, name: &str) -> Vec<Item<'n>> {
        let values = self.layers.iter().filter_map(|layer| layer.get(name));
        values.filter(|item| item.node.value != Value::Null).collect()
    }

    /// The value of a key that must be there.
    pub(super) fn required(&self, name: &str, problems: &mut Problems) -> Option<Item<'n>> {
        let found = self.take(name);
        if found.is_none() {
            problems.add(&self.place, format!("{name} is missing"));
        }
        found
    }

    /// Notes every key of the mapping itself that is in none of the tables.
    pub(super) fn check_keys(&self, known: &[&[KnownKey]], not_yet: &[&[NotYet]], here: Here, problems: &mut Problems) {
        if let Some(own) = self.layers.first() {
            check_keys(own, known, not_yet, here, problems);
        }
    }
}

/// Notes every key that is in none of the tables. What is not there yet may stand in a file that does not ask for it.
pub(super) fn check_keys(
    layer: &Layer<'_>,
    known: &[&[KnownKey]],
    not_yet: &[&[NotYet]],
    here: Here,
    problems: &mut Problems,
) {
    let names = || known.iter().flat_map(|table| table.iter()).map(|key| key.name);
    let mut unknown = 0;
    for (key, item) in layer.items() {
        if unknown > UNKNOWN_MAX {
            break;
        }
        if matches!(item.node.value, Value::Refused(_)) || names().any(|name| *name == *key.name) {
            continue;
        }
        unknown += 1;
        let place = Place { at: key.at, path: item.place.path };
        if let Some((name, what)) = not_yet.iter().flat_map(|table| table.iter()).find(|(name, _)| **name == *key.name)
        {
            if !asks_nothing(name, item.node) {
                problems.add(&place, format!("not supported yet: {what}"));
            }
        } else if here == Here::DagDefaults && IN_DEFAULTS.contains(&&*key.name) {
            problems
                .warn(&place, "this key belongs to the DAG, one level up; it counts there unless the DAG has its own");
        } else if let Some(where_it_belongs) = elsewhere(&key.name, here) {
            problems.add(&place, where_it_belongs);
        } else {
            let suggestion = problems.did_you_mean(&key.name, names());
            problems.add_with(&place, "unknown field", suggestion);
        }
    }
}

/// Whether a value says no more than its absence would.
fn asks_nothing(name: &str, node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::Bool(value) => *value == TRUE_ASKS_NOTHING.contains(&name),
        Value::Text(text) => text.is_empty(),
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
        Value::Int(..) | Value::Float(..) | Value::Refused(_) => false,
    }
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Item<'n> {
    /// The value.
    pub(super) node: &'n Node,
    /// Where it is.
    pub(super) place: Place,
}

impl<'n> Item<'n> {
    /// The items of a list.
    pub(super) fn list(&self, what: &str, problems: &mut Problems) -> Option<Vec<Self>> {
        match &self.node.value {
            Value::List(items) => Some(self.children(items)),
            _ => self.expected(what, problems),
        }
    }

    /// The entries of a mapping.
    pub(super) fn layer(&self, what: &str, problems: &mut Problems) -> Option<Layer<'n>> {
        match &self.node.value {
            Value::Map(entries) => Some(Layer::of(entries, self.place.path.clone())),
            _ => self.expected(what, problems),
        }
    }

    /// The same as fields without defaults.
    pub(super) fn fields(&self, what: &str, problems: &mut Problems) -> Option<Fields<'n>> {
        Some(Fields::new(self.place.clone(), vec![self.layer(what, problems)?]))
    }

    /// What a list or mapping of named things holds: each with its name when it is the key of a mapping.
    pub(super) fn named(&self, what: &str, problems: &mut Problems) -> Vec<(Option<&'n Key>, Self)> {
        match &self.node.value {
            Value::List(items) => self.children(items).into_iter().map(|item| (None, item)).collect(),
            Value::Map(entries) => Layer::of(entries, self.place.path.clone())
                .items()
                .map(|(key, item)| (Some(key), Item { place: Place { at: key.at, path: item.place.path }, ..item }))
                .collect(),
            _ => self.expected::<()>(what, problems).map(|()| Vec::new()).unwrap_or_default(),
        }
    }

    /// Notes that something else was expected.
    pub(super) fn expected<T>(&self, what: &str, problems: &mut Problems) -> Option<T> {
        let found = match &self.node.value {
            Value::Text(text) => format!("the text {:?}", shortened(text)),
            Value::Int(_, text) | Value::Float(_, text) => format!("the number {text}"),
            Value::Bool(value) => value.to_string(),
            // It was told when the tree was looked through.
            Value::Refused(_) => return None,
            other => other.kind().to_owned(),
        };
        self.fail(format!("expected {what}, found {found}"), problems)
    }

    /// Notes a problem with it.
    pub(super) fn fail<T>(&self, message: impl Into<String>, problems: &mut Problems) -> Option<T> {
        problems.add(&self.place, message);
        None
    }

    fn children(&self, items: &'n [Node]) -> Vec<Self> {
        let path = |index, node: &Node| node.origin.clone().unwrap_or_else(|| self.place.path.item(index));
        let place = |index, node: &Node| Place { at: node.at, path: path(index, node) };
        items.iter().enumerate().map(|(index, node)| Item { node, place: place(index, node) }).collect()
    }

    /// Notes what can not be a value anywhere in it, and what some may have meant otherwise.
    pub(super) fn look_through(&self, problems: &mut Problems) {
        match &self.node.value {
            Value::Refused(why) => problems.add(&self.place, &**why),
            Value::List(items) => self.children(items).iter().for_each(|item| item.look_through(problems)),
            Value::Map(entries) => {
                let layer = Layer::of(entries, self.place.path.clone());
                layer.items().for_each(|(_, item)| item.look_through(problems));
            }
            Value::Text(text) | Value::Int(_, text) if self.node.is_plain => {
                if let Some(remark) = meant_otherwise(text, &self.node.value) {
                    problems.warn(&self.place, remark);
                }
            }
            Value::Text(_) | Value::Int(..) | Value::Null | Value::Bool(_) | Value::Float(..) => {}
        }
    }
}
