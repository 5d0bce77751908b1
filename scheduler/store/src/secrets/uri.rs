//! A connection as one text, in the forms that Airflow takes and gives: a URI or a JSON object.

use serde_json::{Map, Value};
use url::Url;

use super::{Connection, text_of};

/// A connection as a URI, `type://login:password@host:port/schema?key=value`, or as a JSON object with the fields' names.
///
/// # Errors
/// What is wrong with the text; it never repeats a part of it.
pub fn parse(conn_id: &str, text: &str) -> Result<Connection, String> {
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

/// The connection as a URI that [`parse`] reads back. It holds the secrets.
#[must_use]
pub fn write(connection: &Connection) -> String {
    let mut uri = format!("{}://", connection.conn_type.replace('_', "-"));
    let escape =
        |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20");
    if connection.login.is_some() || connection.password.is_some() {
        uri.push_str(&connection.login.as_deref().map(escape).unwrap_or_default());
        if let Some(password) = &connection.password {
            uri.extend([":", &escape(password)]);
        }
        uri.push('@');
    }
    uri.push_str(&connection.host.as_deref().map(escape).unwrap_or_default());
    if let Some(port) = connection.port {
        uri.push_str(&format!(":{port}"));
    }
    if let Some(schema) = &connection.schema {
        uri.extend(["/", &escape(schema)]);
    }
    if let Some(extra) = &connection.extra {
        let mark = if connection.schema.is_some() { "?" } else { "/?" };
        uri.extend([mark, "__extra__=", &escape(extra)]);
    }
    uri
}

/// The connection as the object of Airflow's export files, `extra` as a text. It holds the secrets.
#[must_use]
pub fn object(connection: &Connection) -> Value {
    serde_json::json!({
        "conn_type": connection.conn_type, "description": connection.description, "login": connection.login,
        "password": connection.password, "host": connection.host, "port": connection.port,
        "schema": connection.schema, "extra": connection.extra,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(conn_id: &str, text: &str) -> Result<Connection, String> {
        parse(conn_id, text)
    }

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
    fn what_is_written_reads_back() {
        let full = connection("db", "postgres://me:p%40%20ss%2Bword@db.example:5433/sales?sslmode=require").unwrap();
        assert!(connection("db", &write(&full)).unwrap() == full, "{}", write(&full));
        assert!(connection("db", &object(&full).to_string()).unwrap() == full);
        let bare = connection("lake", "lake://").unwrap();
        assert!(connection("lake", &write(&bare)).unwrap() == bare);
    }
}
