//! Connections and variables of the environment, in the forms that Airflow takes: a URI or a JSON object.

use serde_json::{Map, Value};
use url::Url;

use super::{Connection, Environment, text_of};

/// Our own prefix comes before Airflow's.
const PREFIXES: [&str; 2] = ["WINDLASS", "AIRFLOW"];

/// The name and value of the variable that defines something.
pub(super) fn find(environment: &Environment<'_>, kind: &str, id: &str) -> Option<(String, String)> {
    PREFIXES.iter().find_map(|prefix| {
        let name = format!("{prefix}_{kind}_{}", id.to_uppercase());
        environment(&name).map(|value| (name, value))
    })
}

/// A connection as a URI, `type://login:password@host:port/schema?key=value`, or as a JSON object with the fields' names.
pub(super) fn connection(conn_id: &str, text: &str) -> Result<Connection, String> {
    let text = text.trim();
    if text.starts_with('{') { from_json(conn_id, text) } else { from_uri(conn_id, text) }
}

fn from_json(conn_id: &str, text: &str) -> Result<Connection, String> {
    // The text may hold secrets, and the parser's message does not repeat it.
    let fields: Map<String, Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let field = |name: &str| fields.get(name).filter(|value| !value.is_null()).map(text_of);
    let port = field("port").map(|port| port.parse().map_err(|_| "its port is not a number".to_owned())).transpose()?;
    Ok(Connection {
        conn_id: conn_id.to_owned(),
        conn_type: conn_type(&field("conn_type").ok_or("it has no conn_type")?),
        host: field("host"),
        schema: field("schema"),
        login: field("login"),
        password: field("password"),
        port,
        extra: field("extra"),
        description: field("description"),
    })
}

fn from_uri(conn_id: &str, text: &str) -> Result<Connection, String> {
    let uri = Url::parse(text).map_err(|error| format!("{error}; write type://login:password@host:port/schema"))?;
    let part = |text: &str| Some(decoded(text)).filter(|text| !text.is_empty());
    Ok(Connection {
        conn_id: conn_id.to_owned(),
        conn_type: conn_type(uri.scheme()),
        host: uri.host_str().and_then(part),
        schema: part(uri.path().trim_start_matches('/')),
        login: part(uri.username()),
        password: uri.password().map(decoded),
        port: uri.port().map(i32::from),
        extra: extra(&uri),
        description: None,
    })
}

/// Airflow's spellings of one type are one type.
fn conn_type(text: &str) -> String {
    match text {
        "postgresql" => "postgres".to_owned(),
        other => other.replace('-', "_"),
    }
}

/// The query as a JSON object; `__extra__` is one already.
fn extra(uri: &Url) -> Option<String> {
    let pairs: Vec<(String, String)> = uri.query_pairs().into_owned().collect();
    if let Some((_, whole)) = pairs.iter().find(|(name, _)| name == "__extra__") {
        return Some(whole.clone());
    }
    let fields: Map<String, Value> = pairs.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    (!fields.is_empty()).then(|| Value::Object(fields).to_string())
}

/// Text with its `%41` escapes resolved. A `+` is a plus here, as in Airflow.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *first == b'%').and_then(|two| hex::decode(two).ok());
        match escaped {
            Some(byte) => {
                bytes.extend(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_has_all_fields() {
        let found = connection("db", "postgresql://me:p%40ss%2Bword@db.example:5433/sales?sslmode=require").unwrap();
        let expected = Connection {
            conn_id: "db".into(),
            conn_type: "postgres".into(),
            host: Some("db.example".into()),
            schema: Some("sales".into()),
            login: Some("me".into()),
            password: Some("p@ss+word".into()),
            port: Some(5433),
            extra: Some(r#"{"sslmode":"require"}"#.into()),
            description: None,
        };
        assert!(found == expected, "{found:?}");
    }

    #[test]
    fn a_uri_may_be_a_type_and_no_more() {
        let found = connection("lake", "lake://").unwrap();
        assert_eq!((found.conn_type.as_str(), found.host, found.schema), ("lake", None, None));
    }

    #[test]
    fn json_may_hold_extra_as_an_object() {
        let found = connection("t", r#"{"conn_type":"trino","host":"h","port":8080,"extra":{"a":1}}"#).unwrap();
        assert_eq!((found.port, found.extra.as_deref()), (Some(8080), Some(r#"{"a":1}"#)));
        assert_eq!(connection("t", r#"{"host":"h"}"#).unwrap_err(), "it has no conn_type");
    }

    #[test]
    fn our_prefix_comes_before_airflows() {
        let both = |name: &str| match name {
            "WINDLASS_VAR_A" => Some("ours".to_owned()),
            "AIRFLOW_VAR_A" | "AIRFLOW_VAR_B" => Some("theirs".to_owned()),
            _ => None,
        };
        assert_eq!(find(&both, "VAR", "a").unwrap().1, "ours");
        assert_eq!(find(&both, "VAR", "b").unwrap().0, "AIRFLOW_VAR_B");
        assert!(find(&both, "VAR", "c").is_none());
    }
}
