//! Compatibility levels: which earlier schemas a new one is held against, and who has to be able to read whom.

use super::avro::AvroSchema;
use super::resolution::{Direction, faults};
use crate::pg::registry::VersionRow;
use std::str::FromStr;

/// How a subject may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    None,
    Backward,
    BackwardTransitive,
    Forward,
    ForwardTransitive,
    Full,
    FullTransitive,
}

/// That of a registry where nobody has set another one.
pub(super) const LEVEL_DEFAULT: Level = Level::Backward;

const ALL: [Level; 7] = [
    Level::None,
    Level::Backward,
    Level::BackwardTransitive,
    Level::Forward,
    Level::ForwardTransitive,
    Level::Full,
    Level::FullTransitive,
];

/// The text is no level.
#[derive(Debug)]
pub(super) struct UnknownLevel;

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        ALL.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(text)).ok_or(UnknownLevel)
    }
}

impl Level {
    /// The level's name.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Backward => "BACKWARD",
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::Forward => "FORWARD",
            Self::ForwardTransitive => "FORWARD_TRANSITIVE",
            Self::Full => "FULL",
            Self::FullTransitive => "FULL_TRANSITIVE",
        }
    }

    fn directions(self) -> &'static [Direction] {
        match self {
            Self::None => &[],
            Self::Backward | Self::BackwardTransitive => &[Direction::NewReadsOld],
            Self::Forward | Self::ForwardTransitive => &[Direction::OldReadsNew],
            Self::Full | Self::FullTransitive => &[Direction::NewReadsOld, Direction::OldReadsNew],
        }
    }

    /// The versions that count, the newest first, of those given in their order.
    fn concerned(self, versions: &[VersionRow]) -> impl Iterator<Item = &VersionRow> {
        let count = match self {
            Self::None => 0,
            Self::Backward | Self::Forward | Self::Full => 1,
            Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive => versions.len(),
        };
        versions.iter().rev().take(count)
    }

    /// What speaks against a schema after these versions: the faults against the newest version that has any, and what
    /// it was held against. Nothing when the schema may follow.
    pub(super) fn objections(self, schema: &AvroSchema, versions: &[VersionRow]) -> Vec<String> {
        for version in self.concerned(versions) {
            let found = self.objections_of(schema, version);
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    fn objections_of(self, schema: &AvroSchema, version: &VersionRow) -> Vec<String> {
        let old = match AvroSchema::parse(&version.schema) {
            Ok(old) => old,
            // It was registered when less was asked; nothing can be held against it.
            Err(reason) => {
                let (subject, version) = (&version.subject, version.version);
                tracing::warn!(subject, version, reason, "a registered schema cannot be compared with");
                return Vec::new();
            }
        };
        let of = |direction: &Direction| match direction {
            Direction::NewReadsOld => faults(schema, &old, *direction),
            Direction::OldReadsNew => faults(&old, schema, *direction),
        };
        let mut told: Vec<String> = self.directions().iter().flat_map(of).map(|fault| fault.to_string()).collect();
        if !told.is_empty() {
            told.push(format!("{{oldSchemaVersion: {}}}", version.version));
            told.push(format!("{{oldSchema: '{}'}}", version.schema));
            told.push(format!("{{validateFields: 'false', compatibility: '{}'}}", self.as_str()));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(version: i32, fields: &str) -> VersionRow {
        let schema = format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#);
        VersionRow { subject: "s".to_owned(), version, schema_id: version, schema }
    }

    fn may_follow(level: Level, fields: &str, versions: &[VersionRow]) -> bool {
        let schema = AvroSchema::parse(&version(9, fields).schema).unwrap();
        level.objections(&schema, versions).is_empty()
    }

    #[test]
    fn levels_are_read_in_any_case_and_written_in_capitals() {
        for level in ALL {
            assert_eq!(level.as_str().to_lowercase().parse::<Level>().unwrap(), level);
        }
        assert!("SOMETIMES".parse::<Level>().is_err());
    }

    #[test]
    fn each_level_asks_the_versions_and_directions_of_its_name() {
        const A: &str = r#"{"name":"a","type":"int"}"#;
        const B: &str = r#"{"name":"b","type":"int"}"#;
        const B_DEFAULT: &str = r#"{"name":"b","type":"int","default":0}"#;
        // The first version has no b, the second has one with a default.
        let versions = [version(1, A), version(2, &format!("{A},{B_DEFAULT}"))];
        // b without its default is read from the second version, but not from the first.
        let strict = format!("{A},{B}");
        assert!(may_follow(Level::Backward, &strict, &versions));
        assert!(!may_follow(Level::BackwardTransitive, &strict, &versions));
        assert!(may_follow(Level::ForwardTransitive, &strict, &versions));
        assert!(!may_follow(Level::FullTransitive, &strict, &versions));
        assert!(may_follow(Level::Full, &strict, &versions));
        // Without a, which has no default, nothing old can read what is new.
        assert!(may_follow(Level::BackwardTransitive, B_DEFAULT, &versions));
        assert!(!may_follow(Level::Forward, B_DEFAULT, &versions));
        assert!(!may_follow(Level::Full, B_DEFAULT, &versions));
        assert!(may_follow(Level::None, r#"{"name":"a","type":"string"}"#, &versions));
        assert!(may_follow(Level::FullTransitive, A, &[]));
    }

    #[test]
    fn objections_end_with_what_the_schema_was_held_against() {
        let versions = [version(7, "")];
        let schema = AvroSchema::parse(&version(8, r#"{"name":"a","type":"int"}"#).schema).unwrap();
        let told = Level::Backward.objections(&schema, &versions);
        assert_eq!(told.len(), 4);
        assert_eq!(told[1], "{oldSchemaVersion: 7}");
        assert_eq!(told[3], "{validateFields: 'false', compatibility: 'BACKWARD'}");
    }
}
