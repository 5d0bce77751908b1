//! One file with many connections or variables: JSON, YAML or lines of `name=value`.

use std::{fs::File, io::ErrorKind, path::Path};

use serde_json::{Map, Value};
use store::secrets::Kind;

use super::folder::text;

/// How a file is read; its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Yaml,
    Env,
}

impl Format {
    /// That of a file of this name; none when it is none of them.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        match name.rsplit_once('.')?.1 {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            "env" => Some(Self::Env),
            _ => None,
        }
    }
}

/// The text of a secret of a file; none when the file does not have it.
///
/// # Errors
/// Why the file can not be read, without a part of its text.
pub(super) fn find(path: &Path, kind: Kind, id: &str) -> Result<Option<String>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err("the file is not there".to_owned()),
        Err(error) => return Err(format!("it can not be opened: {error}")),
    };
    let text = text(file)?;
    let mut all = match Format::of(path).ok_or("its name ends in none of .json, .yaml, .yml and .env")? {
        Format::Json => entries(serde_json::from_str(&text).map_err(|error| format!("it is no JSON: {error}"))?)?,
        Format::Yaml if text.trim().is_empty() => Map::new(),
        Format::Yaml => entries(dag::yaml_as_json(&text)?)?,
        Format::Env => lines(&text)?,
    };
    all.remove(id).map(|value| value_of(kind, id, value)).transpose()
}

fn entries(document: Value) -> Result<Map<String, Value>, String> {
    match document {
        Value::Object(entries) => Ok(entries),
        _ => Err("names with their values are expected, as an object or mapping".to_owned()),
    }
}

/// Lines of `name=value`; empty ones and those that begin with # are none.
fn lines(text: &str) -> Result<Map<String, Value>, String> {
    let mut found = Map::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or_else(|| format!("line {}: expected name=value", at + 1))?;
        if found.insert(name.trim().to_owned(), Value::String(value.trim().to_owned())).is_some() {
            return Err(format!("line {}: its name stands there a second time", at + 1));
        }
    }
    Ok(found)
}

/// A variable's text; a connection as its URI or its object.
fn value_of(kind: Kind, id: &str, value: Value) -> Result<String, String> {
    match (kind, value) {
        (_, Value::String(text)) => Ok(text),
        (Kind::Connection, Value::Object(mut fields)) => {
            if fields.get("conn_id").is_some_and(|named| named.as_str() != Some(id)) {
                return Err(format!("the conn_id in {id:?} is another one"));
            }
            // Airflow's name for settings that are no text.
            if let Some(extra) = fields.remove("extra_dejson") {
                if fields.contains_key("extra") {
                    return Err(format!("{id:?} has both extra and extra_dejson"));
                }
                fields.insert("extra".to_owned(), extra);
            }
            Ok(Value::Object(fields).to_string())
        }
        (Kind::Connection, _) => Err(format!("{id:?} is neither a URI nor an object of a connection's fields")),
        (Kind::Variable, value) => Ok(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn found(name: &str, text: &str, kind: Kind, id: &str) -> Result<Option<String>, String> {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(name);
        fs::write(&path, text).unwrap();
        find(&path, kind, id)
    }

    #[test]
    fn every_format_of_airflow_is_read() {
        let uri = Some("postgres://u:p@h/d".to_owned());
        for (name, text) in [
            ("c.json", r#"{"db": "postgres://u:p@h/d"}"#),
            ("c.yaml", "db: postgres://u:p@h/d\n"),
            (".env", "# a comment\n\ndb=postgres://u:p@h/d\n"),
        ] {
            assert_eq!(found(name, text, Kind::Connection, "db").unwrap(), uri, "{name}");
            assert_eq!(found(name, text, Kind::Connection, "DB").unwrap(), None, "{name}");
        }
        let fields = "db:\n  conn_type: postgres\n  extra_dejson: {sslmode: require}\n";
        let object = found("c.yml", fields, Kind::Connection, "db").unwrap().unwrap();
        assert_eq!(object, r#"{"conn_type":"postgres","extra":{"sslmode":"require"}}"#);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_without_its_text() {
        for (name, text) in [
            ("c.json", r#"{"db": s3cret"#),
            ("c.json", r#"["s3cret"]"#),
            ("c.json", r#"{"db": ["s3cret"]}"#),
            ("c.json", r#"{"db": {"conn_id": "s3cret"}}"#),
            ("c.yaml", "db: [s3cret"),
            ("c.env", "s3cret"),
            ("c.env", "db=s3cret\ndb=s3cret"),
            ("c.txt", "s3cret"),
        ] {
            let error = found(name, text, Kind::Connection, "db").unwrap_err();
            assert!(!error.contains("s3cret"), "{name}: {error}");
        }
        assert!(find(Path::new("/no/such.json"), Kind::Variable, "x").unwrap_err().contains("not there"));
    }
}
