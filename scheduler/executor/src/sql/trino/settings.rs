//! A Trino connection: where the coordinator is, who asks, and what every session starts with.
//!
//! It is read from `trino://user:password@host:port/catalog/schema?…` or from Airflow's fields and extra. What always
//! holds: a password or token is only in settings that go over TLS.

use std::{collections::BTreeMap, path::PathBuf};

use link::ConnectionFields;
use serde_json::{Map, Value};
use url::Url;

use super::super::{extra, only_known};
use crate::{Masker, is_secret_name};

const PORT_HTTP: u16 = 8080;
const PORT_HTTPS: u16 = 443;
/// Who asks when the connection does not say.
const USER_DEFAULT: &str = "windlass";
/// Dates mean the same on the embedded engine and on Trino.
const TIME_ZONE_DEFAULT: &str = "UTC";

/// The settings that a connection's extra may hold.
const KNOWN: &[&str] = &[
    "auth",
    "catalog",
    "client_tags",
    "jwt__token",
    "protocol",
    "roles",
    "schema",
    "session_properties",
    "timezone",
    "verify",
];

/// How the caller proves who it is.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Login {
    /// By its word.
    Trusted,
    /// By a password.
    Password(String),
    /// By a JSON web token.
    Token(String),
}

/// Whether the server has to prove who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verify {
    /// By a certificate that the usual authorities signed.
    Usual,
    /// By one that an authority of this file signed.
    Authorities(PathBuf),
    /// Not at all.
    Never,
}

/// Everything that a Trino connection says.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// The coordinator, without a path.
    pub(super) server: Url,
    /// Who asks.
    pub(super) user: String,
    /// How it proves it.
    pub(super) login: Login,
    /// How the server proves itself.
    pub(super) verify: Verify,
    /// The catalogue of names that do not say one.
    pub(super) catalog: Option<String>,
    /// The schema of names that do not say one.
    pub(super) schema: Option<String>,
    /// Session properties.
    pub(super) properties: BTreeMap<String, String>,
    /// Roles, by catalogue.
    pub(super) roles: BTreeMap<String, String>,
    /// Client tags beside Windlass's own.
    pub(super) tags: Vec<String>,
    /// The session's time zone.
    pub(super) time_zone: String,
}

impl Settings {
    /// Reads a connection.
    ///
    /// # Errors
    /// One sentence that says what is wrong with it.
    pub(super) fn of(fields: &ConnectionFields) -> Result<Self, String> {
        let problem = |detail: String| format!("connection {:?}: {detail}", fields.conn_id);
        let extra = extra(fields).map_err(problem)?;
        only_known(&extra, KNOWN).map_err(problem)?;
        let server = server(fields, &extra).map_err(problem)?;
        let login = login(fields, &extra, &server).map_err(problem)?;
        let (catalog, schema) = place(fields, &extra);
        Ok(Self {
            server,
            user: fields.login.clone().unwrap_or_else(|| USER_DEFAULT.to_owned()),
            login,
            verify: verify(&extra).map_err(problem)?,
            catalog,
            schema,
            properties: pairs(&extra, "session_properties").map_err(problem)?,
            roles: pairs(&extra, "roles").map_err(problem)?,
            tags: tags(&extra).map_err(problem)?,
            time_zone: text(&extra, "timezone").unwrap_or_else(|| TIME_ZONE_DEFAULT.to_owned()),
        })
    }
}

/// Masks what is secret in a Trino connection. Its other settings are words such as `https`, `UTC` or a catalogue's name;
/// a log without them would be of no use.
pub(crate) fn mask(masker: &Masker, fields: &ConnectionFields) {
    fields.password.iter().for_each(|password| masker.add(password));
    let Ok(extra) = extra(fields) else { return };
    for (name, value) in &extra {
        mask_value(masker, name, value);
    }
}

fn mask_value(masker: &Masker, name: &str, value: &Value) {
    if is_secret_name(name) || name.contains("jwt") {
        masker.add_texts(value);
    } else if let Value::Object(fields) = value {
        fields.iter().for_each(|(name, value)| mask_value(masker, name, value));
    }
}

fn text(extra: &Map<String, Value>, name: &str) -> Option<String> {
    match extra.get(name)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn server(fields: &ConnectionFields, extra: &Map<String, Value>) -> Result<Url, String> {
    let said = text(extra, "protocol").map(|protocol| protocol.to_ascii_lowercase());
    let scheme = match said.as_deref() {
        Some(scheme @ ("http" | "https")) => scheme,
        Some(other) => return Err(format!("its protocol is {other:?}; it can be http or https")),
        None if fields.port == Some(i32::from(PORT_HTTPS)) => "https",
        None => "http",
    };
    let host = fields.host.as_deref().unwrap_or("localhost");
    let port = match fields.port {
        Some(port) => u16::try_from(port).map_err(|_| format!("its port {port} is none"))?,
        None if scheme == "https" => PORT_HTTPS,
        None => PORT_HTTP,
    };
    Url::parse(&format!("{scheme}://{host}:{port}/")).map_err(|error| format!("its host {host:?}: {error}"))
}

fn login(fields: &ConnectionFields, extra: &Map<String, Value>, server: &Url) -> Result<Login, String> {
    let login = match (text(extra, "auth").as_deref(), text(extra, "jwt__token"), &fields.password) {
        (Some("jwt"), Some(token), _) | (None, Some(token), None) => Login::Token(token),
        (Some("jwt"), None, _) => return Err("its auth is jwt, and jwt__token is missing".to_owned()),
        (None | Some("basic"), _, Some(password)) if !password.is_empty() => Login::Password(password.clone()),
        (None | Some("basic"), _, _) => Login::Trusted,
        (Some(other), _, _) => return Err(format!("its auth is {other:?}; it can be basic (a password) or jwt")),
    };
    if login != Login::Trusted && server.scheme() != "https" {
        return Err(
            "it has a password or token, which would go over http in clear: set protocol to https in its extra"
                .to_owned(),
        );
    }
    Ok(login)
}

fn verify(extra: &Map<String, Value>) -> Result<Verify, String> {
    Ok(match text(extra, "verify").as_deref() {
        None | Some("true" | "True") => Verify::Usual,
        Some("false" | "False") => Verify::Never,
        Some(path) if path.starts_with('/') => Verify::Authorities(path.into()),
        Some(other) => {
            return Err(format!(
                "its verify is {other:?}; it can be true, false or the absolute path of a PEM file of authorities"
            ));
        }
    })
}

/// `catalog/schema` in the schema's place, or Airflow's way: the catalogue in extra, the schema in its field.
fn place(fields: &ConnectionFields, extra: &Map<String, Value>) -> (Option<String>, Option<String>) {
    let part = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let schema = fields.schema.as_deref().unwrap_or_default().trim_matches('/');
    match (text(extra, "catalog"), schema.split_once('/')) {
        (Some(catalog), _) => (Some(catalog), part(schema).or_else(|| text(extra, "schema"))),
        (None, Some((catalog, schema))) => (part(catalog), part(schema)),
        (None, None) => (part(schema), text(extra, "schema")),
    }
}

/// An object, the JSON text of one, or `name=value,name=value`.
fn pairs(extra: &Map<String, Value>, name: &str) -> Result<BTreeMap<String, String>, String> {
    let wrong = || format!("its {name} is neither a JSON object of plain values nor name=value,name=value");
    let object = match extra.get(name) {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(Value::Object(fields)) => fields.clone(),
        Some(Value::String(text)) if text.trim_start().starts_with('{') => {
            serde_json::from_str(text).map_err(|_| wrong())?
        }
        Some(Value::String(list)) => {
            let pair = |one: &str| {
                let (name, value) = one.split_once('=')?;
                Some((name.trim().to_owned(), Value::from(value.trim())))
            };
            let items = list.split(',').filter(|item| !item.trim().is_empty());
            items.map(pair).collect::<Option<Map<_, _>>>().ok_or_else(wrong)?
        }
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_)) => return Err(wrong()),
    };
    let names = object.keys().cloned().collect::<Vec<_>>();
    names.into_iter().map(|key| text(&object, &key).map(|value| (key, value)).ok_or_else(wrong)).collect()
}

fn tags(extra: &Map<String, Value>) -> Result<Vec<String>, String> {
    let wrong = || "its client_tags is neither a list of texts nor one text with commas".to_owned();
    match extra.get("client_tags") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(list)) => {
            Ok(list.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect())
        }
        Some(Value::Array(items)) => {
            items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn connection(extra: Value) -> ConnectionFields {
        ConnectionFields {
            conn_id: "t".into(),
            conn_type: "trino".into(),
            host: Some("trino.example".into()),
            schema: Some("lake/gold".into()),
            login: Some("me".into()),
            password: None,
            port: None,
            extra: Some(extra.to_string()),
        }
    }

    #[test]
    fn a_connection_says_where_and_how() {
        let fields = connection(json!({
            "protocol": "https", "verify": "/etc/ca.pem", "timezone": "Europe/Zurich",
            "session_properties": {"query_max_run_time": "1h", "spill_enabled": true},
            "roles": "system=admin", "client_tags": ["nightly"],
        }));
        let found = Settings::of(&ConnectionFields { password: Some("p".into()), ..fields }).unwrap();
        assert_eq!(found.server.as_str(), "https://trino.example/");
        assert!(found.login == Login::Password("p".into()));
        assert_eq!(found.verify, Verify::Authorities("/etc/ca.pem".into()));
        assert_eq!((found.catalog.as_deref(), found.schema.as_deref()), (Some("lake"), Some("gold")));
        assert_eq!(found.properties["spill_enabled"], "true");
        assert_eq!(found.roles["system"], "admin");
        assert_eq!((found.tags, found.time_zone), (vec!["nightly".to_owned()], "Europe/Zurich".to_owned()));
    }

    #[test]
    fn airflows_catalog_in_extra_leaves_the_schema_in_its_field() {
        let fields = ConnectionFields { schema: Some("gold".into()), ..connection(json!({"catalog": "hive"})) };
        let found = Settings::of(&fields).unwrap();
        assert_eq!((found.catalog.as_deref(), found.schema.as_deref()), (Some("hive"), Some("gold")));
        let alone = ConnectionFields { schema: Some("lake".into()), ..connection(json!({})) };
        let found = Settings::of(&alone).unwrap();
        assert_eq!((found.catalog.as_deref(), found.schema), (Some("lake"), None));
    }

    #[test]
    fn a_password_never_goes_over_http() {
        let fields = ConnectionFields { password: Some("hunter22".into()), ..connection(json!({})) };
        let refused = Settings::of(&fields).err().unwrap();
        assert!(refused.contains("https") && !refused.contains("hunter22"), "{refused}");
        let token = connection(json!({"auth": "jwt", "jwt__token": "hunter22"}));
        assert!(Settings::of(&token).is_err());
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_name() {
        for (extra, part) in [
            (json!({"protocol": "ftp"}), "protocol"),
            (json!({"verify": "maybe"}), "verify"),
            (json!({"auth": "kerberos"}), "kerberos"),
            (json!({"session_properties": [1]}), "session_properties"),
            (json!({"client_tags": {"a": 1}}), "client_tags"),
            (json!({"verfy": "/etc/ca.pem"}), "verfy"),
        ] {
            let refused = Settings::of(&connection(extra)).err().unwrap();
            assert!(refused.starts_with("connection \"t\": ") && refused.contains(part), "{refused}");
        }
    }

    #[test]
    fn only_what_is_secret_is_masked() {
        let masker = Masker::default();
        mask(&masker, &connection(json!({"protocol": "https", "catalog": "lake", "jwt__token": "hunter22"})));
        assert_eq!(masker.mask("https lake hunter22"), "https lake ***");
    }
}
