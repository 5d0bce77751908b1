//! A connection as one text, in the forms that Airflow takes and gives: a URI or a JSON object.

use serde_json::{Map, Value};

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

/// Read as Airflow reads it, by hand: a URL parser would drop a port that is the scheme's own, and knows nothing of a host
/// that carries a protocol, `http://https://api.test:8443`, which is how an HTTPS host is exported.
fn from_uri(conn_id: &str, text: &str) -> Result<Connection, String> {
    let form = "write type://login:password@host:port/schema";
    let (kind, rest) = text.split_once("://").ok_or_else(|| format!("it has no type; {form}"))?;
    if kind.is_empty() || !kind.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '.')) {
        return Err(format!("its type is no word; {form}"));
    }
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (protocol, rest) = match rest.split_once("://") {
        Some((protocol, rest)) if !protocol.is_empty() && protocol.chars().all(|c| c.is_ascii_alphanumeric()) => {
            (Some(protocol), rest)
        }
        Some(_) => return Err(format!("a login stands behind the host's own protocol; {form}")),
        None => (None, rest),
    };
    let (authority, schema) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (login, password) = match user.split_once(':') {
        Some((login, password)) => (login, Some(decoded(password))),
        None => (user, None),
    };
    let (host, port) = host_and_port(place)?;
    let part = |text: &str| Some(decoded(text)).filter(|text| !text.is_empty());
    let host = part(host).map(|host| protocol.map_or_else(|| host.clone(), |protocol| format!("{protocol}://{host}")));
    Ok(Connection {
        conn_id: conn_id.to_owned(),
        conn_type: conn_type(&kind.to_ascii_lowercase()),
        host,
        schema: part(schema),
        login: part(login),
        password,
        port,
        extra: extra(query),
        description: None,
    })
}

/// `host:port`; an IPv6 address stands in brackets, which are no part of it.
fn host_and_port(place: &str) -> Result<(&str, Option<i32>), String> {
    let (host, port) = match place.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((address, after)) => (address, after.strip_prefix(':').unwrap_or(after)),
        None => place.rsplit_once(':').unwrap_or((place, "")),
    };
    if port.is_empty() {
        return Ok((host, None));
    }
    let number: u16 = port.parse().map_err(|_| "its port is not a number up to 65535".to_owned())?;
    Ok((host, Some(i32::from(number))))
}

/// Airflow's spellings of one type are one type.
fn conn_type(text: &str) -> String {
    match text {
        "postgresql" => "postgres".to_owned(),
        other => other.replace('-', "_"),
    }
}

/// The query as a JSON object; `__extra__` is one already.
fn extra(query: &str) -> Option<String> {
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    if let Some((_, whole)) = pairs.iter().find(|(name, _)| name == "__extra__") {
        return Some(whole.clone());
    }
    let fields: Map<String, Value> = pairs.into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    (!fields.is_empty()).then(|| Value::Object(fields).to_string())
}

/// Text with its `%41` escapes resolved. A `+` is a plus here, as in Airflow.
pub fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The connection as a URI that [`parse`] reads back. It holds the secrets.
#[must_use]
pub fn write(connection: &Connection) -> String {
    let mut uri = format!("{}://", connection.conn_type.replace('_', "-"));
    let host = connection.host.as_deref().unwrap_or_default();
    let host = match host.split_once("://") {
        Some((protocol, host)) => {
            uri.extend([protocol, "://"]);
            host
        }
        None => host,
    };
    let escape =
        |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20");
    if connection.login.is_some() || connection.password.is_some() {
        uri.push_str(&connection.login.as_deref().map(escape).unwrap_or_default());
        if let Some(password) = &connection.password {
            uri.extend([":", &escape(password)]);
        }
        uri.push('@');
    }
    uri.push_str(&escape(host));
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
    fn a_host_may_carry_its_protocol_as_airflow_writes_it_now_and_before() {
        for text in ["http://https://api.test:8443", "http://https%3A%2F%2Fapi.test:8443"] {
            let found = connection("api", text).unwrap();
            assert_eq!(
                (found.conn_type.as_str(), found.host.as_deref(), found.port),
                ("http", Some("https://api.test"), Some(8443)),
                "{text}"
            );
        }
        let found = connection("api", "http://https://me:p@api.test/base").unwrap();
        assert_eq!((found.login.as_deref(), found.host.as_deref()), (Some("me"), Some("https://api.test")));
    }

    #[test]
    fn a_port_is_kept_even_when_it_is_the_schemes_own_and_an_ipv6_address_has_no_brackets() {
        let found = connection("h", "http://h:80/https").unwrap();
        assert_eq!((found.host.as_deref(), found.port, found.schema.as_deref()), (Some("h"), Some(80), Some("https")));
        let found = connection("h", "postgres://[::1]:5433/db").unwrap();
        assert_eq!((found.host.as_deref(), found.port), (Some("::1"), Some(5433)));
        assert!(connection("h", "postgres://h:70000/db").unwrap_err().contains("port"));
        assert!(connection("h", "no uri s3cret").unwrap_err().find("s3cret").is_none());
    }

    #[test]
    fn what_is_written_reads_back_for_every_kind_of_host() {
        for host in [
            None,
            Some("h"),
            Some("https://api.test"),
            Some("https://api.test/base path"),
            Some("::1"),
            Some("/run/pg"),
        ] {
            for (login, password, port, schema, extra) in [
                (None, None, None, None, None),
                (Some("a@b:c/d"), Some(""), Some(443), Some("x/y?z"), Some(r#"{"a":{"b":[1]},"c":"&=%"}"#)),
                (None, Some("p#q"), Some(80), None, Some("{}")),
            ] {
                let full = Connection {
                    conn_id: "c".into(),
                    conn_type: "aws".into(),
                    host: host.map(str::to_owned),
                    schema: schema.map(str::to_owned),
                    login: login.map(str::to_owned),
                    password: password.map(str::to_owned),
                    port,
                    extra: extra.map(str::to_owned),
                    description: None,
                };
                let uri = write(&full);
                assert!(connection("c", &uri).unwrap() == full, "{uri}: {:?}", connection("c", &uri));
            }
        }
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
