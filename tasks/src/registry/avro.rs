//! Avro schemas in the form that compatibility is decided on: names resolved, documentation and the like left out.
//!
//! Nodes lie in one list and refer to each other by number, so recursive types are no special case. Only texts that the
//! Avro library takes for schemas are read here; what it lets through and cannot be understood is an error, never a panic.

use serde_json::{Map, Value};
use std::collections::HashMap;

/// A node's number in its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NodeId(usize);

/// The types without parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Primitive {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
}

impl Primitive {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::Null,
            "boolean" => Self::Boolean,
            "int" => Self::Int,
            "long" => Self::Long,
            "float" => Self::Float,
            "double" => Self::Double,
            "bytes" => Self::Bytes,
            "string" => Self::String,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::String => "string",
        }
    }
}

/// Digits of a decimal, which both sides have to agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    pub(super) precision: u64,
    pub(super) scale: u64,
}

/// The name of a named type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// With its namespace.
    pub(super) full: String,
    /// Other full names that it goes by.
    pub(super) aliases: Vec<String>,
}

impl Name {
    /// Without its namespace.
    pub(super) fn short(&self) -> &str {
        self.full.rsplit('.').next().unwrap_or(&self.full)
    }
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) aliases: Vec<String>,
    pub(super) has_default: bool,
    pub(super) schema: NodeId,
}

/// One type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Primitive { kind: Primitive, decimal: Option<Decimal> },
    Array(NodeId),
    Map(NodeId),
    Union(Vec<NodeId>),
    Record { name: Name, fields: Vec<Field> },
    Enum { name: Name, symbols: Vec<String>, default: Option<String> },
    Fixed { name: Name, size: u64, decimal: Option<Decimal> },
}

impl Node {
    /// What kind of type it is, in Avro's word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Primitive { kind, .. } => kind.name(),
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Union(_) => "union",
            Self::Record { .. } => "record",
            Self::Enum { .. } => "enum",
            Self::Fixed { .. } => "fixed",
        }
    }
}

/// A schema.
#[derive(Debug, Clone)]
pub(super) struct AvroSchema {
    nodes: Vec<Node>,
    root: NodeId,
}

impl AvroSchema {
    /// Reads a schema's text.
    ///
    /// # Errors
    /// What is not understood.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        let mut reader = SchemaReader { nodes: Vec::new(), names: HashMap::new() };
        let root = reader.read(&value, "")?;
        Ok(Self { nodes: reader.nodes, root })
    }

    /// The whole.
    pub(super) fn root(&self) -> NodeId {
        self.root
    }

    /// A part.
    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }
}

struct SchemaReader {
    nodes: Vec<Node>,
    names: HashMap<String, NodeId>,
}

impl SchemaReader {
    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    fn read(&mut self, value: &Value, namespace: &str) -> Result<NodeId, String> {
        match value {
            Value::String(name) => self.named(name, namespace, None),
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| self.read(branch, namespace)).collect::<Result<_, _>>()?;
                Ok(self.push(Node::Union(branches)))
            }
            Value::Object(object) => self.object(object, namespace),
            other => Err(format!("{other} is no schema")),
        }
    }

    /// A primitive type, or one that was defined before.
    fn named(&mut self, name: &str, namespace: &str, decimal: Option<Decimal>) -> Result<NodeId, String> {
        if let Some(kind) = Primitive::parse(name) {
            return Ok(self.push(Node::Primitive { kind, decimal }));
        }
        let known = self.names.get(&qualified(name, namespace)).or_else(|| self.names.get(name));
        known.copied().ok_or_else(|| format!("the type {name} is not defined before it is used"))
    }

    fn object(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<NodeId, String> {
        let kind = match object.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(inner @ (Value::Object(_) | Value::Array(_))) => return self.read(inner, namespace),
            _ => return Err("a schema has no `type`".to_owned()),
        };
        match kind {
            "array" => {
                let items = self.part(object, "items", namespace)?;
                Ok(self.push(Node::Array(items)))
            }
            "map" => {
                let values = self.part(object, "values", namespace)?;
                Ok(self.push(Node::Map(values)))
            }
            "record" | "error" => self.record(object, namespace),
            "enum" => self.enumeration(object, namespace),
            "fixed" => self.fixed(object, namespace),
            other => self.named(other, namespace, decimal(object)),
        }
    }

    fn part(&mut self, object: &Map<String, Value>, key: &str, namespace: &str) -> Result<NodeId, String> {
        self.read(object.get(key).ok_or_else(|| format!("a schema has no `{key}`"))?, namespace)
    }

    fn record(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<NodeId, String> {
        let name = name_of(object, namespace)?;
        let inside = name.full.rsplit_once('.').map_or(String::new(), |(namespace, _)| namespace.to_owned());
        // Its place comes before its fields, which may be of this very type.
        let id = self.push(Node::Record { name: name.clone(), fields: Vec::new() });
        self.names.insert(name.full.clone(), id);
        let mut fields = Vec::new();
        for field in object.get("fields").and_then(Value::as_array).into_iter().flatten() {
            let field = field.as_object().ok_or("a field is no object")?;
            let field_name = field.get("name").and_then(Value::as_str).ok_or("a field has no name")?;
            fields.push(Field {
                name: field_name.to_owned(),
                aliases: texts(field.get("aliases")),
                has_default: field.contains_key("default"),
                schema: self.part(field, "type", &inside)?,
            });
        }
        self.nodes[id.0] = Node::Record { name, fields };
        Ok(id)
    }

    fn enumeration(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<NodeId, String> {
        let name = name_of(object, namespace)?;
        let full = name.full.clone();
        let default = object.get("default").and_then(Value::as_str).map(str::to_owned);
        let id = self.push(Node::Enum { name, symbols: texts(object.get("symbols")), default });
        self.names.insert(full, id);
        Ok(id)
    }

    fn fixed(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<NodeId, String> {
        let name = name_of(object, namespace)?;
        let full = name.full.clone();
        let size = object.get("size").and_then(Value::as_u64).ok_or("a fixed type has no size")?;
        let id = self.push(Node::Fixed { name, size, decimal: decimal(object) });
        self.names.insert(full, id);
        Ok(id)
    }
}

fn qualified(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

fn name_of(object: &Map<String, Value>, enclosing: &str) -> Result<Name, String> {
    let name = object.get("name").and_then(Value::as_str).ok_or("a named type has no name")?;
    let own = object.get("namespace").and_then(Value::as_str).unwrap_or(enclosing);
    let full = qualified(name, own);
    let namespace = full.rsplit_once('.').map_or("", |(namespace, _)| namespace);
    let aliases = texts(object.get("aliases")).iter().map(|alias| qualified(alias, namespace)).collect();
    Ok(Name { aliases, full })
}

fn decimal(object: &Map<String, Value>) -> Option<Decimal> {
    let is_decimal = object.get("logicalType").and_then(Value::as_str) == Some("decimal");
    let number = |key: &str| object.get(key).and_then(Value::as_u64);
    let digits = is_decimal.then(|| number("precision")).flatten();
    digits.map(|precision| Decimal { precision, scale: number("scale").unwrap_or(0) })
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let values = value.and_then(Value::as_array).into_iter().flatten();
    values.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_their_namespace_and_recursion_ends() {
        let schema = AvroSchema::parse(
            r#"{"type":"record","name":"a.b.Tree","aliases":["Old"],"fields":[
                {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["X"]}},
                {"name":"again","type":"Kind"},{"name":"left","type":["null","Tree"],"default":null}]}"#,
        )
        .unwrap();
        let Node::Record { name, fields } = schema.node(schema.root()) else { panic!("no record") };
        assert_eq!(
            (name.full.as_str(), name.short(), &name.aliases[..]),
            ("a.b.Tree", "Tree", &["a.b.Old".to_owned()][..])
        );
        assert_eq!(fields[0].schema, fields[1].schema);
        let Node::Union(branches) = schema.node(fields[2].schema) else { panic!("no union") };
        assert_eq!(branches[1], schema.root());
        assert!(fields[2].has_default && !fields[0].has_default);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for text in ["42", r#"{"type":"array"}"#, r#"{"type":"record","fields":[]}"#, "Unknown", r#"{"type":7}"#] {
            assert!(AvroSchema::parse(text).is_err(), "{text}");
        }
    }
}
