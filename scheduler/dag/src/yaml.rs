//! YAML as a tree in which every node knows its line and column.
//!
//! YAML 1.2's core schema: a date is text, `yes` is text. Aliases are what their anchor names, `<<` merges them as PyYAML
//! does. Size, depth and the number of nodes have limits, so that a small file can not become a large tree; every step
//! takes time in proportion to the nodes.
//!
//! This is where texts become values, so it is here that no value gets in which the store could not hold: what can not be
//! a value is [`Value::Refused`] with the reason, in its place, and the rest of the file is read as if it were well. Only
//! what makes the rest meaningless ends reading.

mod advice;
mod scalar;

use std::{
    collections::{BTreeMap, HashSet},
    rc::Rc,
};

use granit_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput, Tag};

use crate::problem::{FieldPath, Place};
pub(crate) use scalar::meant_otherwise;

/// How large a DAG file may be.
pub(crate) const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// How deep nodes may be nested: deeper than any DAG, shallow enough for recursion over the tree.
const DEPTH_MAX: usize = 64;

/// How many nodes a file may have after aliases are counted: about what a file of the largest size has without any.
pub(crate) const NODES_MAX: usize = 250_000;

/// What stands for a key that can not be one.
const NO_NAME: &str = "?";

/// Line and column, both from 1; 0 when there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// The line.
    pub(crate) line: usize,
    /// The character in the line.
    pub(crate) column: usize,
}

impl From<Marker> for Position {
    fn from(marker: Marker) -> Self {
        Self { line: marker.line(), column: marker.col() + 1 }
    }
}

/// A value and where it is. A copy shares what it holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Where it begins; for an alias, where the original begins.
    pub(crate) at: Position,
    /// What it is.
    pub(crate) value: Value,
    /// Whether it is a scalar without quotes.
    pub(crate) is_plain: bool,
    /// Where it was written, when it was merged in from elsewhere.
    pub(crate) origin: Option<FieldPath>,
}

/// A value. Numbers keep their text: `VERSION: 1.10` as an environment variable is not 1.1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number and its text. One beyond 128 bits is the nearest that has them; nothing takes such a number.
    Int(i128, Rc<str>),
    /// A number and its text.
    Float(f64, Rc<str>),
    /// Text.
    Text(Rc<str>),
    /// A list.
    List(Rc<Vec<Node>>),
    /// A mapping, in the order of the file. A key that stands there twice is refused the second time.
    Map(Rc<Vec<(Key, Node)>>),
    /// What can not be a value, and why.
    Refused(Rc<str>),
}

/// The key of a mapping's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// Where it begins.
    pub(crate) at: Position,
    /// Its text; a key that looks like a number is text, too.
    pub(crate) name: Rc<str>,
}

impl Node {
    const fn new(at: Position, value: Value) -> Self {
        Self { at, value, is_plain: false, origin: None }
    }

    /// A value of JSON.
    pub(crate) fn of_json(value: &serde_json::Value, at: Position) -> Self {
        use serde_json::Value as Json;
        let value = match value {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => {
                let text = number.to_string().into();
                match number.to_string().parse::<i128>() {
                    Ok(whole) => Value::Int(whole, text),
                    Err(_) => Value::Float(number.as_f64().unwrap_or(f64::INFINITY), text),
                }
            }
            Json::String(text) => Value::Text(text.as_str().into()),
            Json::Array(items) => Value::List(Rc::new(items.iter().map(|item| Self::of_json(item, at)).collect())),
            Json::Object(entries) => {
                let entry = |(name, value): (&String, &Json)| {
                    (Key { at, name: name.as_str().into() }, Self::of_json(value, at))
                };
                Value::Map(Rc::new(entries.iter().map(entry).collect()))
            }
        };
        Self::new(at, value)
    }

    fn refused(at: Position, why: &str) -> Self {
        Self::new(at, Value::Refused(why.into()))
    }
}

impl Value {
    /// What it is called in a message.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Int(..) => "a whole number",
            Self::Float(..) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
            Self::Refused(_) => "what is no value",
        }
    }
}

/// Why a file can not be read at all: the rest of it has no meaning after this.
#[derive(Debug)]
pub(crate) struct Stop {
    /// Where reading ended.
    pub(crate) place: Place,
    /// Why.
    pub(crate) message: String,
    /// What to do, as the end of the sentence.
    pub(crate) suggestion: Option<String>,
}

impl Stop {
    fn file(message: impl Into<String>) -> Self {
        Self { place: Place::default(), message: message.into(), suggestion: None }
    }
}

/// Reads a file of one YAML document.
pub(crate) fn parse(text: &str) -> Result<Node, Stop> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the file has {} bytes; a DAG file has at most {TEXT_BYTES_MAX}", text.len());
        return Err(Stop::file(message));
    }
    if let Some(index) = text.find('\0') {
        let before = &text[..index];
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let at = Position { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 };
        let message = "a NUL character stands here as it is; it is no part of YAML, and what follows could not be read";
        return Err(Stop { place: Place { at, path: FieldPath::default() }, ..Stop::file(message) });
    }
    let mut builder = Builder { text, stack: Vec::new(), anchors: BTreeMap::new(), nodes: 0, root: None };
    builder.run()?;
    builder.root.ok_or_else(|| Stop::file("the file is empty; it defines no DAG"))
}

/// A node that an anchor names, with what another copy of it costs.
struct Anchored {
    node: Node,
    nodes: usize,
    height: usize,
}

/// A list or mapping whose end has not come yet.
struct Frame {
    at: Position,
    anchor: usize,
    nodes_before: usize,
    height: usize,
    content: Content,
    /// Why it can not be a value.
    refused: Option<String>,
}

enum Content {
    List(Vec<Node>),
    Map(Entries),
}

#[derive(Default)]
struct Entries {
    entries: Vec<(Key, Node)>,
    names: HashSet<Rc<str>>,
    /// The key whose value comes next; with the reason when it can not be a key.
    key: Option<(Key, Option<Rc<str>>)>,
    /// Why it is no mapping at all: `{{ ds }}` without quotes is one whose key is a mapping.
    refused: Option<String>,
}

struct Builder<'t> {
    text: &'t str,
    stack: Vec<Frame>,
    anchors: BTreeMap<usize, Anchored>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    fn run(&mut self) -> Result<(), Stop> {
        let options = granit_parser::options! { emit_comments: false, emit_unresolved_aliases: true };
        let parser: Parser<'_, StrInput<'_>> = Parser::new_from_str_with_options(self.text, options);
        for event in parser {
            let (event, span) = event.map_err(|error| Stop {
                place: self.place((*error.marker()).into()),
                message: format!("this is not valid YAML: {}", error.info()),
                suggestion: advice::of_line(self.text, error.marker().line()),
            })?;
            self.event(event, span)?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        let at = span.start.into();
        let tag_at = span.tag_span().map_or(at, |tag| tag.start.into());
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(self.stop(at, "expected one YAML document; several DAGs of a file are a mapping of dag_id to DAG"))
            }
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::UnresolvedAlias(name) => {
                self.count(1, 0, at)?;
                self.put(Node::refused(at, &advice::no_anchor(&name)), Cost { anchor: 0, nodes: 1, height: 0 });
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, 0, at)?;
                let is_plain = style == ScalarStyle::Plain;
                let node = match tag.as_deref().filter(|tag| is_unknown(tag)) {
                    Some(tag) => Node::refused(tag_at, &unknown_tag(tag)),
                    None => Node { is_plain, ..Node::new(at, scalar::value(&text, is_plain, tag.as_deref())) },
                };
                self.put(node, Cost { anchor, nodes: 1, height: 0 });
                Ok(())
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open((at, tag_at), anchor, Content::List(Vec::new()), tag.as_deref())
            }
            Event::MappingStart(_, anchor, tag) => {
                self.open((at, tag_at), anchor, Content::Map(Entries::default()), tag.as_deref())
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.close();
                Ok(())
            }
            // The begin and end of the stream and of its document, and what is no part of the tree.
            _ => Ok(()),
        }
    }

    fn open(
        &mut self,
        (at, tag_at): (Position, Position),
        anchor: usize,
        content: Content,
        tag: Option<&Tag>,
    ) -> Result<(), Stop> {
        self.count(1, 0, at)?;
        if self.stack.len() >= DEPTH_MAX {
            return Err(self.stop(at, &format!("nodes are nested more than {DEPTH_MAX} deep")));
        }
        let refused = tag.filter(|tag| is_unknown(tag)).map(unknown_tag);
        let at = if refused.is_some() { tag_at } else { at };
        self.stack.push(Frame { at, anchor, nodes_before: self.nodes, height: 0, content, refused });
        Ok(())
    }

    fn close(&mut self) {
        let frame = self.stack.pop().expect("the parser ends only what it has begun");
        let cost = Cost { anchor: frame.anchor, nodes: self.nodes - frame.nodes_before + 1, height: frame.height + 1 };
        let value = match (frame.refused, frame.content) {
            (Some(why), _) => Value::Refused(why.into()),
            (None, Content::List(items)) => Value::List(Rc::new(items)),
            (None, Content::Map(Entries { refused: Some(why), .. })) => Value::Refused(why.into()),
            (None, Content::Map(entries)) => Value::Map(Rc::new(entries.merged())),
        };
        self.put(Node::new(frame.at, value), cost);
    }

    /// Gives a finished node to the list or mapping that it is in.
    fn put(&mut self, node: Node, cost: Cost) {
        if cost.anchor > 0 {
            let anchored = Anchored { node: node.clone(), nodes: cost.nodes, height: cost.height };
            self.anchors.insert(cost.anchor, anchored);
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return;
        };
        frame.height = frame.height.max(cost.height);
        match &mut frame.content {
            Content::List(items) => items.push(node),
            Content::Map(entries) => entries.put(node),
        }
    }

    fn alias(&mut self, anchor: usize, at: Position) -> Result<(), Stop> {
        let Some(found) = self.anchors.get(&anchor) else {
            self.count(1, 0, at)?;
            let node = Node::refused(at, "this alias refers to something that contains it");
            self.put(node, Cost { anchor: 0, nodes: 1, height: 0 });
            return Ok(());
        };
        let (node, nodes, height) = (found.node.clone(), found.nodes, found.height);
        self.count(nodes, height, at)?;
        self.put(node, Cost { anchor: 0, nodes, height });
        Ok(())
    }

    fn count(&mut self, nodes: usize, height: usize, at: Position) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX || self.stack.len() + height > DEPTH_MAX {
            let limits = format!("the file is too large: at most {NODES_MAX} nodes, {DEPTH_MAX} deep, aliases counted");
            return Err(self.stop(at, &limits));
        }
        Ok(())
    }

    fn stop(&self, at: Position, message: &str) -> Stop {
        Stop { place: self.place(at), ..Stop::file(message) }
    }

    fn place(&self, at: Position) -> Place {
        let path = self.stack.iter().fold(FieldPath::default(), |path, frame| match &frame.content {
            Content::List(items) => path.item(items.len()),
            Content::Map(Entries { key: Some((key, _)), .. }) => path.key(&key.name),
            Content::Map(Entries { key: None, .. }) => path,
        });
        Place { at, path }
    }
}

impl Entries {
    fn put(&mut self, node: Node) {
        let (key, refused) = match self.key.take() {
            None => {
                if matches!(node.value, Value::List(_) | Value::Map(_)) {
                    self.refused = Some(advice::no_key(node.value.kind()));
                }
                self.key = Some(key_of(node));
                return;
            }
            Some(there) => there,
        };
        let node = match refused {
            Some(why) => Node::new(key.at, Value::Refused(why)),
            None if self.names.insert(key.name.clone()) => node,
            None => Node::refused(key.at, "this key stands here twice"),
        };
        self.entries.push((key, node));
    }

    /// The entries with those of `<<` among them: what is written out has precedence.
    fn merged(mut self) -> Vec<(Key, Node)> {
        if !self.names.contains("<<") {
            return self.entries;
        }
        let (merges, mut entries): (Vec<_>, Vec<_>) =
            self.entries.into_iter().partition(|(key, node)| *key.name == *"<<" && !is_refused(node));
        for (key, node) in merges {
            let sources = match node.value {
                Value::Map(_) => Rc::new(vec![node]),
                Value::List(items) => items,
                _ => Rc::new(vec![Node::new(key.at, Value::Null)]),
            };
            for source in sources.iter() {
                let Value::Map(inherited) = &source.value else {
                    let why = "expected << to be followed by a mapping or a list of mappings";
                    entries.push((key.clone(), Node::refused(source.at, why)));
                    continue;
                };
                let new = inherited.iter().filter(|(key, _)| self.names.insert(key.name.clone()));
                entries.extend(new.cloned());
            }
        }
        entries
    }
}

/// What a node is worth when it is copied.
struct Cost {
    anchor: usize,
    nodes: usize,
    height: usize,
}

fn is_refused(node: &Node) -> bool {
    matches!(node.value, Value::Refused(_))
}

/// A tag that is neither YAML's own nor the one that says nothing.
fn is_unknown(tag: &Tag) -> bool {
    !tag.is_yaml_core_schema() && tag.to_string() != "!"
}

fn unknown_tag(tag: &Tag) -> String {
    format!("tag {tag} is not known; DAG files use plain YAML")
}

/// A node as a key; with the reason when it can not be one.
fn key_of(node: Node) -> (Key, Option<Rc<str>>) {
    let (name, refused): (Rc<str>, _) = match node.value {
        Value::Text(text) | Value::Int(_, text) | Value::Float(_, text) => (text, None),
        Value::Bool(value) => (value.to_string().into(), None),
        Value::Null => ("null".into(), None),
        // The mapping that it is in is refused as a whole.
        Value::List(_) | Value::Map(_) => (NO_NAME.into(), None),
        Value::Refused(why) => (NO_NAME.into(), Some(why)),
    };
    (Key { at: node.at, name }, refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Problems;

    fn tree(text: &str) -> Result<Node, String> {
        parse(text).map_err(|stop| {
            let mut problems = Problems::of("x.yaml");
            problems.add_with(&stop.place, stop.message, stop.suggestion);
            problems.into_report(text).errors[0].to_string()
        })
    }

    fn entry(node: &Node, name: &str) -> Value {
        let Value::Map(entries) = &node.value else { panic!("expected a mapping") };
        entries.iter().find(|(key, _)| *key.name == *name).expect("the key is there").1.value.clone()
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn dates_and_yes_are_text_and_numbers_keep_their_text() {
        let node = tree(
            "d: 2026-01-01\ny: yes\nv: 1.10\nn: ~\ni: 0o17\ns: !!str 12\nb: 340282366920938463463374607431768211456",
        )
        .unwrap();
        assert_eq!(entry(&node, "d"), text("2026-01-01"));
        assert_eq!(entry(&node, "y"), text("yes"));
        assert_eq!(entry(&node, "v"), Value::Float(1.1, "1.10".into()));
        assert_eq!(entry(&node, "n"), Value::Null);
        assert_eq!(entry(&node, "i"), Value::Int(15, "0o17".into()));
        assert_eq!(entry(&node, "s"), text("12"));
        assert_eq!(entry(&node, "b"), Value::Int(i128::MAX, "340282366920938463463374607431768211456".into()));
    }

    #[test]
    fn what_can_not_be_a_value_is_refused_in_its_place() {
        let node = tree("a:\n  b: 1\n  b: 2\nn: \"x\\0y\"\nt: !python/object x\nk: {{ ds }}\nm: {<<: 3}\nu: *none\nl: &l [*l]\nz: well").unwrap();
        let Value::Map(entries) = &node.value else { panic!("expected a mapping") };
        let refused = |name: &str| match entry(&node, name) {
            Value::Refused(why) => why.to_string(),
            other => panic!("{name} is {other:?}"),
        };
        assert_eq!(entry(&Node::new(node.at, entry(&node, "a")), "b"), Value::Int(1, "1".into()));
        assert!(refused("n").contains("NUL") && refused("t").contains("!python/object"));
        assert!(refused("k").contains("expected a key") && refused("u").contains("quotes"));
        let inner = |name: &str| match entry(&node, name) {
            Value::Map(entries) => entries[0].1.value.clone(),
            Value::List(items) => items[0].value.clone(),
            other => panic!("{name} is {other:?}"),
        };
        assert!(matches!(inner("m"), Value::Refused(_)) && matches!(inner("l"), Value::Refused(_)));
        assert_eq!(entries.last().unwrap().1.value, text("well"));
    }

    #[test]
    fn a_merge_takes_what_is_not_written_out() {
        let node = tree("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}").unwrap();
        let merged = Node::new(Position::default(), entry(&node, "y"));
        assert_eq!(entry(&merged, "a"), Value::Int(1, "1".into()));
        assert_eq!(entry(&merged, "b"), Value::Int(3, "3".into()));
    }

    #[test]
    fn a_small_file_can_not_become_a_large_tree() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let previous = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", vec![previous; 10].join(", "));
        }
        assert!(tree(&text).unwrap_err().contains("too large"));
        assert!(tree(&format!("{}{}", "[".repeat(100), "]".repeat(100))).unwrap_err().contains("deep"));
        assert!(tree(&"[".repeat(TEXT_BYTES_MAX)).is_err() && tree(&"- ".repeat(TEXT_BYTES_MAX / 2)).is_err());
    }

    #[test]
    fn a_bracket_may_close_at_the_lines_beginning() {
        let node = tree("tags: [\n\"load\",\n]\nenv: {\n  A: 1,\n}\ntext: \"one\ntwo\"\n").unwrap();
        let Value::List(tags) = entry(&node, "tags") else { panic!("expected a list") };
        assert_eq!(tags[0].value, text("load"));
        assert_eq!(entry(&node, "text"), text("one two"));
    }
}
