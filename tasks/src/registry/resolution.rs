//! Whether data written with one schema can be read with another, by Avro's rules of schema resolution.
//!
//! The Avro library's own check is not used: it knows neither defaults of enums, nor aliases of types, nor a reader that
//! takes each branch of a writer's union, nor a type that one schema defines where the other refers to it, and it tells
//! the first fault only, without its place. Answers here are by the specification, and every fault comes with its path.
//!
//! Two types that are being compared already are taken to fit, so recursive types end. What was found to fit under such an
//! assumption is forgotten when the assumption falls.

use super::avro::{AvroSchema, Decimal, Field, Name, Node, NodeId, Primitive};
use std::collections::{HashMap, HashSet};
use std::fmt;

/// Types within types that are followed: people's schemas have ten. More would take the stack of a thread.
const DEPTH_MAX: usize = 200;
/// Faults that are told of two schemas.
const FAULTS_MAX: usize = 100;

/// The kinds of fault, in the registry's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    NameMismatch,
    FixedSizeMismatch,
    MissingEnumSymbols,
    ReaderFieldMissingDefaultValue,
    TypeMismatch,
    MissingUnionBranch,
    NestedTooDeeply,
}

impl FaultKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::NameMismatch => "NAME_MISMATCH",
            Self::FixedSizeMismatch => "FIXED_SIZE_MISMATCH",
            Self::MissingEnumSymbols => "MISSING_ENUM_SYMBOLS",
            Self::ReaderFieldMissingDefaultValue => "READER_FIELD_MISSING_DEFAULT_VALUE",
            Self::TypeMismatch => "TYPE_MISMATCH",
            Self::MissingUnionBranch => "MISSING_UNION_BRANCH",
            Self::NestedTooDeeply => "NESTED_TOO_DEEPLY",
        }
    }
}

/// Which schema is which, for the sentences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// The new schema reads what the old one wrote.
    NewReadsOld,
    /// The old schema reads what the new one writes.
    OldReadsNew,
}

impl Direction {
    fn reader(self) -> &'static str {
        match self {
            Self::NewReadsOld => "new",
            Self::OldReadsNew => "old",
        }
    }

    fn writer(self) -> &'static str {
        match self {
            Self::NewReadsOld => "old",
            Self::OldReadsNew => "new",
        }
    }
}

/// Why some data cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    /// Where in the reader's schema.
    pub(super) path: String,
    description: String,
    info: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, description, info, path: _ } = self;
        write!(f, "{{errorType:'{}', description:'{description}', additionalInfo:'{info}'}}", kind.as_str())
    }
}

/// All that keeps `reader` from reading what `writer` wrote; nothing when it can.
pub(super) fn faults(reader: &AvroSchema, writer: &AvroSchema, direction: Direction) -> Vec<Fault> {
    let mut check = Check {
        reader,
        writer,
        direction,
        path: Vec::new(),
        under_way: HashSet::new(),
        fitting: Vec::new(),
        fitting_set: HashSet::new(),
        failed: HashMap::new(),
    };
    let mut faults = check.compare(reader.root(), writer.root());
    faults.truncate(FAULTS_MAX);
    faults
}

type Pair = (NodeId, NodeId);

struct Check<'a> {
    reader: &'a AvroSchema,
    writer: &'a AvroSchema,
    direction: Direction,
    path: Vec<String>,
    under_way: HashSet<Pair>,
    /// Pairs found to fit, in the order of finding, so that those that rest on a fallen assumption can be forgotten.
    fitting: Vec<Pair>,
    fitting_set: HashSet<Pair>,
    /// Pairs found not to fit, with their first fault.
    failed: HashMap<Pair, Fault>,
}

impl Check<'_> {
    /// The faults of two types; each pair is compared once.
    fn compare(&mut self, reader: NodeId, writer: NodeId) -> Vec<Fault> {
        let pair = (reader, writer);
        if self.fitting_set.contains(&pair) || self.under_way.contains(&pair) {
            return Vec::new();
        }
        if let Some(known) = self.failed.get(&pair) {
            return vec![Fault { path: self.place(), ..known.clone() }];
        }
        if self.under_way.len() >= DEPTH_MAX {
            let description = format!("At {} more than {DEPTH_MAX} types lie in each other", self.place());
            return vec![self.fault(FaultKind::NestedTooDeeply, description, String::new())];
        }
        self.under_way.insert(pair);
        let found_before = self.fitting.len();
        let faults = self.compare_anew(reader, writer);
        self.under_way.remove(&pair);
        match faults.first() {
            None => {
                self.fitting.push(pair);
                self.fitting_set.insert(pair);
            }
            Some(first) => {
                for fallen in self.fitting.drain(found_before..) {
                    self.fitting_set.remove(&fallen);
                }
                self.failed.insert(pair, first.clone());
            }
        }
        faults
    }

    fn compare_anew(&mut self, reader_id: NodeId, writer_id: NodeId) -> Vec<Fault> {
        let (reader, writer) = (self.reader.node(reader_id), self.writer.node(writer_id));
        match (reader, writer) {
            (Node::Union(_), Node::Union(branches)) => {
                let of_branch =
                    |(at, branch): (usize, &NodeId)| self.within(at, |check| check.branch(reader_id, *branch));
                branches.iter().enumerate().flat_map(of_branch).collect()
            }
            // Each branch may be what was written.
            (_, Node::Union(branches)) => branches.iter().flat_map(|branch| self.compare(reader_id, *branch)).collect(),
            (Node::Union(_), _) => self.branch(reader_id, writer_id),
            (Node::Array(reader), Node::Array(writer)) => self.within("items", |check| check.compare(*reader, *writer)),
            (Node::Map(reader), Node::Map(writer)) => self.within("values", |check| check.compare(*reader, *writer)),
            (Node::Record { name, fields }, Node::Record { name: written, fields: writer_fields }) => {
                let mut faults = self.names(name, written);
                if faults.is_empty() {
                    faults = self.fields(fields, writer_fields);
                }
                faults
            }
            (Node::Enum { name, symbols, default }, Node::Enum { name: written, symbols: writer_symbols, .. }) => {
                let mut faults = self.names(name, written);
                faults.extend(self.symbols((symbols, default.as_deref()), writer_symbols));
                faults
            }
            (
                Node::Fixed { name, size, decimal },
                Node::Fixed { name: written, size: writer_size, decimal: writer_decimal },
            ) => {
                let mut faults = self.names(name, written);
                if size != writer_size {
                    let info = format!("expected: {writer_size}, found: {size}");
                    faults.push(self.within("size", |check| {
                        let description = format!("The fixed type at {} has another size", check.in_reader());
                        check.fault(FaultKind::FixedSizeMismatch, description, info)
                    }));
                }
                faults.extend(self.decimals(*decimal, *writer_decimal));
                faults
            }
            (Node::Primitive { kind, decimal }, Node::Primitive { kind: written, decimal: writer_decimal })
                if promotes(*written, *kind) =>
            {
                self.decimals(*decimal, *writer_decimal)
            }
            (reader, writer) => vec![self.mismatch(reader.kind(), writer.kind())],
        }
    }

    /// Whether some branch of the reader's union takes the writer's type.
    fn branch(&mut self, union: NodeId, writer: NodeId) -> Vec<Fault> {
        let Node::Union(branches) = self.reader.node(union) else { return self.compare(union, writer) };
        if branches.iter().any(|branch| self.compare(*branch, writer).is_empty()) {
            return Vec::new();
        }
        let kind = self.writer.node(writer).kind();
        let lacking = self.direction.writer();
        let description =
            format!("The union at {} has no branch that reads the {lacking} schema's {kind}", self.in_reader());
        vec![self.fault(
            FaultKind::MissingUnionBranch,
            description,
            format!("reader union lacking writer type: {kind}"),
        )]
    }

    fn names(&self, reader: &Name, writer: &Name) -> Vec<Fault> {
        if reader.short() == writer.short() || reader.aliases.contains(&writer.full) {
            return Vec::new();
        }
        let description = format!("The type at {} has another name and no alias for it", self.in_reader());
        let info = format!("expected: {}, found: {}", writer.full, reader.full);
        let mut fault = self.fault(FaultKind::NameMismatch, description, info);
        fault.path = format!("{}/name", fault.path.trim_end_matches('/'));
        vec![fault]
    }

    fn fields(&mut self, reader: &[Field], writer: &[Field]) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (at, field) in reader.iter().enumerate() {
            let found = self.within("fields", |check| {
                check.within(at, |check| match written(field, writer) {
                    Some(other) => check.within("type", |check| check.compare(field.schema, other.schema)),
                    None if field.has_default => Vec::new(),
                    None => vec![check.lacks_default(field)],
                })
            });
            faults.extend(found);
            if faults.len() >= FAULTS_MAX {
                break;
            }
        }
        faults
    }

    fn lacks_default(&self, field: &Field) -> Fault {
        let (name, lacking) = (&field.name, self.direction.writer());
        let description = format!(
            "The field '{name}' at {} has no default value and is missing in the {lacking} schema",
            self.in_reader()
        );
        self.fault(FaultKind::ReaderFieldMissingDefaultValue, description, name.clone())
    }

    fn symbols(&mut self, reader: (&[String], Option<&str>), writer: &[String]) -> Option<Fault> {
        let (symbols, default) = reader;
        let missing: Vec<&str> = writer.iter().filter(|symbol| !symbols.contains(symbol)).map(String::as_str).collect();
        // A reader with a default takes whatever it does not know for that.
        if missing.is_empty() || default.is_some_and(|default| symbols.iter().any(|symbol| symbol == default)) {
            return None;
        }
        let info = format!("[{}]", missing.join(", "));
        Some(self.within("symbols", |check| {
            let description = format!("The enum at {} lacks symbols and has no default", check.in_reader());
            check.fault(FaultKind::MissingEnumSymbols, description, info)
        }))
    }

    fn decimals(&self, reader: Option<Decimal>, writer: Option<Decimal>) -> Vec<Fault> {
        match (reader, writer) {
            (Some(reader), Some(writer)) if reader != writer => {
                let told = |digits: Decimal| format!("decimal({}, {})", digits.precision, digits.scale);
                vec![self.mismatch(&told(reader), &told(writer))]
            }
            _ => Vec::new(),
        }
    }

    fn mismatch(&self, reader: &str, writer: &str) -> Fault {
        let (ours, theirs) = (self.direction.reader(), self.direction.writer());
        let description = format!(
            "The type {reader} at path '{}' of the {ours} schema does not read the {theirs} schema's {writer}",
            self.place()
        );
        let info = format!(
            "reader type: {} not compatible with writer type: {}",
            reader.to_uppercase(),
            writer.to_uppercase()
        );
        self.fault(FaultKind::TypeMismatch, description, info)
    }

    fn fault(&self, kind: FaultKind, description: String, info: String) -> Fault {
        Fault { kind, path: self.place(), description, info }
    }

    fn within<T>(&mut self, part: impl ToString, look: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(part.to_string());
        let seen = look(self);
        self.path.pop();
        seen
    }

    fn place(&self) -> String {
        format!("/{}", self.path.join("/"))
    }

    fn in_reader(&self) -> String {
        format!("path '{}' of the {} schema", self.place(), self.direction.reader())
    }
}

/// The writer's field that a reader's field takes: that of its name, else that of one of its aliases.
fn written<'a>(reader: &Field, writer: &'a [Field]) -> Option<&'a Field> {
    let named = |name: &str| writer.iter().find(|field| field.name == name);
    named(&reader.name).or_else(|| reader.aliases.iter().find_map(|alias| named(alias)))
}

/// Whether a value written as one type is read as the other.
fn promotes(written: Primitive, read: Primitive) -> bool {
    use Primitive as P;
    match (written, read) {
        (written, read) if written == read => true,
        (P::Int, P::Long | P::Float | P::Double)
        | (P::Long, P::Float | P::Double)
        | (P::Float, P::Double)
        | (P::String, P::Bytes)
        | (P::Bytes, P::String) => true,
        (P::Null | P::Boolean | P::Int | P::Long | P::Float | P::Double | P::Bytes | P::String, _) => false,
    }
}

#[cfg(test)]
#[path = "resolution_tests.rs"]
mod tests;
