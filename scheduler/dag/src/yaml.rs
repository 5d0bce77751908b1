//! YAML as a tree in which every node knows its line and column.
//!
//! YAML 1.2's core schema: a date is text, `yes` is text. Duplicate keys are problems; aliases are copies of what their
//! anchor names, `<<` merges them as PyYAML does. Size, depth and the number of nodes have limits, so that a small file
//! can not become a large tree.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput, Tag};

use crate::problem::{FieldPath, Place, Problems};

/// How large a DAG file may be.
pub(crate) const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// How deep nodes may be nested: deeper than any DAG, shallow enough for recursion over the tree.
const DEPTH_MAX: usize = 64;

/// How many nodes a file may have after aliases are copied: about what a file of the largest size has without any.
const NODES_MAX: usize = 250_000;

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

/// A value and where it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Where it begins; for a copy by alias, where the original begins.
    pub(crate) at: Position,
    /// What it is.
    pub(crate) value: Value,
}

/// A value. Numbers keep their text: `VERSION: 1.10` as an environment variable is not 1.1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number and its text.
    Int(i64, String),
    /// A number and its text.
    Float(f64, String),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file, without duplicate keys.
    Map(Vec<(Key, Node)>),
}

/// The key of a mapping's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// Where it begins.
    pub(crate) at: Position,
    /// Its text; a key that looks like a number is text, too.
    pub(crate) name: String,
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
        }
    }
}

/// Reads a file of one YAML document. None, with a problem noted, when it is not one.
pub(crate) fn parse(text: &str, problems: &mut Problems) -> Option<Node> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the file has {} bytes; a DAG file has at most {TEXT_BYTES_MAX}", text.len());
        problems.add(&Place::default(), message);
        return None;
    }
    let mut builder = Builder { problems, stack: Vec::new(), anchors: BTreeMap::new(), nodes: 0, root: None };
    match builder.run(Parser::new_from_str(text)) {
        Ok(()) if builder.root.is_none() => {
            problems.add(&Place::default(), "the file is empty; it defines no DAG");
            None
        }
        Ok(()) => builder.root,
        Err(stop) => {
            problems.add(&stop.place, stop.message);
            None
        }
    }
}

/// The end of reading: the rest of the file has no meaning after this.
struct Stop {
    place: Place,
    message: String,
}

/// A node that an anchor names, with what copying it costs.
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
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, key: Option<Key> },
}

struct Builder<'p> {
    problems: &'p mut Problems,
    stack: Vec<Frame>,
    anchors: BTreeMap<usize, Anchored>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    fn run(&mut self, parser: Parser<'_, StrInput<'_>>) -> Result<(), Stop> {
        for event in parser {
            let (event, span) = event.map_err(|error| Stop {
                place: Place { at: (*error.marker()).into(), path: FieldPath::default() },
                message: format!("this is not valid YAML: {}", error.info()),
            })?;
            self.event(event, span)?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        let at = span.start.into();
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(self.stop(at, "expected one YAML document; several DAGs of a file are a mapping of dag_id to DAG"))
            }
            Event::DocumentStart(_) => Ok(()),
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, 0, at)?;
                let value = self.scalar(&text, style, tag.as_deref(), at)?;
                self.put(Node { at, value }, Cost { anchor, nodes: 1, height: 0 })
            }
            Event::SequenceStart(anchor, tag) => self.open(at, anchor, Content::List(Vec::new()), tag.as_deref()),
            Event::MappingStart(anchor, tag) => {
                self.open(at, anchor, Content::Map { entries: Vec::new(), key: None }, tag.as_deref())
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
    }

    fn open(&mut self, at: Position, anchor: usize, content: Content, tag: Option<&Tag>) -> Result<(), Stop> {
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
            return Err(self.stop(at, &format!("tag {tag} is not known; DAG files use plain YAML")));
        }
        self.count(1, 0, at)?;
        if self.stack.len() >= DEPTH_MAX {
            return Err(self.stop(at, &format!("nodes are nested more than {DEPTH_MAX} deep")));
        }
        self.stack.push(Frame { at, anchor, nodes_before: self.nodes, height: 0, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Stop> {
        let frame = self.stack.pop().expect("the parser ends only what it has begun");
        let cost = Cost { anchor: frame.anchor, nodes: self.nodes - frame.nodes_before + 1, height: frame.height + 1 };
        let value = match frame.content {
            Content::List(items) => Value::List(items),
            Content::Map { entries, .. } => Value::Map(self.merged(entries)?),
        };
        self.put(Node { at: frame.at, value }, cost)
    }

    /// Gives a finished node to the list or mapping that it is in.
    fn put(&mut self, node: Node, cost: Cost) -> Result<(), Stop> {
        if cost.anchor > 0 {
            let anchored = Anchored { node: node.clone(), nodes: cost.nodes, height: cost.height };
            self.anchors.insert(cost.anchor, anchored);
        }
        let place = self.place(node.at);
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(frame) => {
                frame.height = frame.height.max(cost.height);
                match &mut frame.content {
                    Content::List(items) => items.push(node),
                    Content::Map { entries, key } => match key.take() {
                        None => *key = Some(key_of(node).map_err(|message| Stop { place, message })?),
                        Some(key) if entries.iter().any(|(known, _)| known.name == key.name) => {
                            let place = Place { at: key.at, path: place.path };
                            self.problems.add(&place, "this key stands here twice");
                        }
                        Some(key) => entries.push((key, node)),
                    },
                }
            }
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, at: Position) -> Result<(), Stop> {
        let Some(found) = self.anchors.get(&anchor) else {
            return Err(self.stop(at, "this alias refers to something that contains it"));
        };
        let (node, nodes, height) = (found.node.clone(), found.nodes, found.height);
        self.count(nodes, height, at)?;
        self.put(node, Cost { anchor: 0, nodes, height })
    }

    fn count(&mut self, nodes: usize, height: usize, at: Position) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX || self.stack.len() + height > DEPTH_MAX {
            let limits = format!("the file is too large: at most {NODES_MAX} nodes, {DEPTH_MAX} deep, aliases counted");
            return Err(self.stop(at, &limits));
        }
        Ok(())
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>, at: Position) -> Result<Value, Stop> {
        match tag {
            Some(tag) if !tag.is_yaml_core_schema() && tag.to_string() != "!" => {
                Err(self.stop(at, &format!("tag {tag} is not known; DAG files use plain YAML")))
            }
            Some(tag) if tag.suffix == "str" || !tag.is_yaml_core_schema() => Ok(Value::Text(text.to_owned())),
            _ if style == ScalarStyle::Plain => Ok(plain_scalar(text)),
            _ => Ok(Value::Text(text.to_owned())),
        }
    }

    /// The entries with those of `<<` among them: what is written out has precedence.
    fn merged(&mut self, entries: Vec<(Key, Node)>) -> Result<Vec<(Key, Node)>, Stop> {
        if !entries.iter().any(|(key, _)| key.name == "<<") {
            return Ok(entries);
        }
        let (merges, mut plain): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(key, _)| key.name == "<<");
        for (key, node) in merges {
            let sources = match node.value {
                Value::Map(_) => vec![node],
                Value::List(items) => items,
                _ => return Err(self.stop(key.at, "expected << to be followed by a mapping or a list of mappings")),
            };
            for source in sources {
                let Value::Map(inherited) = source.value else {
                    return Err(self.stop(source.at, "expected a mapping to merge"));
                };
                let new: Vec<_> = inherited
                    .into_iter()
                    .filter(|(key, _)| !plain.iter().any(|(known, _)| known.name == key.name))
                    .collect();
                plain.extend(new);
            }
        }
        Ok(plain)
    }

    fn stop(&self, at: Position, message: &str) -> Stop {
        Stop { place: self.place(at), message: message.to_owned() }
    }

    fn place(&self, at: Position) -> Place {
        let path = self.stack.iter().fold(FieldPath::default(), |path, frame| match &frame.content {
            Content::List(items) => path.item(items.len()),
            Content::Map { key: Some(key), .. } => path.key(&key.name),
            Content::Map { key: None, .. } => path,
        });
        Place { at, path }
    }
}

/// What a node is worth when it is copied.
struct Cost {
    anchor: usize,
    nodes: usize,
    height: usize,
}

fn key_of(node: Node) -> Result<Key, String> {
    let name = match node.value {
        Value::Text(text) | Value::Int(_, text) | Value::Float(_, text) => text,
        Value::Bool(value) => value.to_string(),
        Value::Null => "null".to_owned(),
        value @ (Value::List(_) | Value::Map(_)) => {
            return Err(format!("expected a key, found {}; texts with {{{{ }}}} need quotes", value.kind()));
        }
    };
    Ok(Key { at: node.at, name })
}

/// A plain scalar by the core schema.
fn plain_scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => match whole(text) {
            Some(number) => Value::Int(number, text.to_owned()),
            None => match float(text) {
                Some(number) => Value::Float(number, text.to_owned()),
                None => Value::Text(text.to_owned()),
            },
        },
    }
}

fn whole(text: &str) -> Option<i64> {
    if let Some(digits) = text.strip_prefix("0x").filter(|digits| digits.chars().all(|c| c.is_ascii_hexdigit())) {
        return i64::from_str_radix(digits, 16).ok();
    }
    if let Some(digits) = text.strip_prefix("0o").filter(|digits| digits.bytes().all(|b| b.is_ascii_digit())) {
        return i64::from_str_radix(digits, 8).ok();
    }
    text.parse().ok()
}

fn float(text: &str) -> Option<f64> {
    match text.trim_start_matches(['+', '-']) {
        ".inf" | ".Inf" | ".INF" if text.len() <= 5 => {
            return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
        }
        ".nan" | ".NaN" | ".NAN" if text.starts_with('.') => return Some(f64::NAN),
        _ => {}
    }
    let digits = text.bytes().any(|byte| byte.is_ascii_digit());
    let shape = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    if digits && shape { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Result<Node, String> {
        let mut problems = Problems::of("x.yaml");
        let node = parse(text, &mut problems);
        match problems.into_errors(text).first() {
            Some(error) => Err(error.to_string()),
            None => Ok(node.expect("no problem means a tree")),
        }
    }

    fn entry(node: &Node, name: &str) -> Value {
        let Value::Map(entries) = &node.value else { panic!("expected a mapping") };
        entries.iter().find(|(key, _)| key.name == name).expect("the key is there").1.value.clone()
    }

    #[test]
    fn dates_and_yes_are_text_and_numbers_keep_their_text() {
        let node = tree("d: 2026-01-01\ny: yes\nv: 1.10\nn: ~\ni: 0o17\ns: !!str 12").unwrap();
        assert_eq!(entry(&node, "d"), Value::Text("2026-01-01".into()));
        assert_eq!(entry(&node, "y"), Value::Text("yes".into()));
        assert_eq!(entry(&node, "v"), Value::Float(1.1, "1.10".into()));
        assert_eq!(entry(&node, "n"), Value::Null);
        assert_eq!(entry(&node, "i"), Value::Int(15, "0o17".into()));
        assert_eq!(entry(&node, "s"), Value::Text("12".into()));
    }

    #[test]
    fn a_duplicate_key_is_named_with_its_place() {
        assert_eq!(tree("a:\n  b: 1\n  b: 2").unwrap_err(), "x.yaml:3:3: a.b: this key stands here twice");
    }

    #[test]
    fn a_merge_takes_what_is_not_written_out() {
        let node = tree("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}").unwrap();
        let merged = Node { at: Position::default(), value: entry(&node, "y") };
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
        assert!(tree(&"[".repeat(100)).unwrap_err().contains("deep"));
        assert!(tree("a: &a [*a]").unwrap_err().contains("contains it"));
    }
}
