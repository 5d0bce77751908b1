//! Which cluster a task works on: a connection of type `kafka`, the worker's own settings, or the embedded log.
//!
//! A connection's extra settings are librdkafka's own properties; what is secret among them is masked before anything else.

use std::collections::BTreeMap;

use link::ConnectionFields;
use serde_json::Value;

use crate::{
    Attempt, Masker, Outcome,
    attempt::NoConnection,
    environment::{self, Variables},
    is_secret_name,
};

/// The connection that a task uses when it names none and there is such a one, as in Airflow.
const CONNECTION_DEFAULT: &str = "kafka_default";
/// The worker's variables that say how its own cluster is reached.
const WORKER_SETTINGS: &str = "KAFKA_*";
/// The one of them that holds properties by name.
const FURTHER_PROPERTIES: &str = "KAFKA_PROPERTIES";
/// The port that is meant when a connection's host has none.
const PORT_DEFAULT: i32 = 9092;

/// Properties of librdkafka by name.
pub(crate) type Properties = BTreeMap<String, String>;

/// How the log is reached.
pub(crate) enum Cluster {
    /// As a connection says.
    Connection(Properties),
    /// As the worker's own settings say: a cluster, or the embedded log.
    Worker,
}

impl Cluster {
    /// Looks a connection up, or finds out that there is none and none is needed.
    ///
    /// # Errors
    /// How the attempt ends when the connection is missing or is no connection to Kafka.
    pub(crate) async fn of(attempt: &Attempt, conn_id: Option<&str>) -> Result<Self, Outcome> {
        let rendered = match conn_id.map(str::to_owned) {
            Some(source) => Some(attempt.render(move |renderer| renderer.text("kafka_config_id", &source)).await?),
            None => None,
        };
        let conn_id = rendered.as_deref().unwrap_or(CONNECTION_DEFAULT);
        match attempt.connection(conn_id).await {
            Ok(fields) => properties(&fields).map(Self::Connection).map_err(Outcome::failed),
            Err(NoConnection::Missing { .. }) if conn_id == CONNECTION_DEFAULT => Ok(Self::Worker),
            Err(error) => Err(Outcome::failed(error.to_string())),
        }
    }

    /// A property of the connection.
    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        match self {
            Self::Connection(properties) => properties.get(name).map(String::as_str),
            Self::Worker => None,
        }
    }

    /// The connection's properties as the program gets them.
    pub(super) fn as_json(&self) -> Value {
        match self {
            Self::Connection(properties) => serde_json::json!(properties),
            Self::Worker => Value::Null,
        }
    }

    /// What of the worker's own variables the program needs.
    pub(super) fn environment(&self, attempt: &Attempt) -> Variables {
        let mut variables = attempt.worker.lake.as_ref().map(environment::of_lake).unwrap_or_default();
        if let Some(lake) = &attempt.worker.lake {
            attempt.masker.add_url(&lake.database_url);
        }
        match self {
            Self::Connection(_) => {}
            Self::Worker => {
                let own = attempt.passed(&[WORKER_SETTINGS.to_owned()]);
                own.iter().for_each(|(name, value)| mask_variable(&attempt.masker, name, value));
                variables.extend(own);
            }
        }
        variables
    }
}

/// Masks what is secret in a connection. Its other settings are words such as `SASL_SSL` or a host's name; a log without
/// them would be of no use.
pub(crate) fn mask(masker: &Masker, fields: &ConnectionFields) {
    fields.password.iter().for_each(|password| masker.add(password));
    let Ok(extra) = fields.extra_settings() else { return };
    extra.iter().for_each(|(name, value)| mask_property(masker, name, value));
}

/// Keys in PEM, and properties whose names say that they are secrets.
fn mask_variable(masker: &Masker, name: &str, value: &str) {
    if name.ends_with("KEY_PEM") {
        masker.add(value);
    }
    if let (FURTHER_PROPERTIES, Ok(properties)) = (name, serde_json::from_str::<serde_json::Map<String, Value>>(value))
    {
        properties.iter().for_each(|(name, value)| mask_property(masker, name, value));
    }
}

fn mask_property(masker: &Masker, name: &str, value: &Value) {
    if is_secret_name(name) || name.ends_with("key.pem") {
        masker.add_texts(value);
    }
}

fn properties(fields: &ConnectionFields) -> Result<Properties, String> {
    let conn_id = &fields.conn_id;
    if fields.conn_type != "kafka" {
        let found = &fields.conn_type;
        return Err(format!(
            "connection {conn_id:?} has the type {found:?}; the Kafka operators need one of type kafka"
        ));
    }
    let mut properties = Properties::new();
    let extra = fields.extra_settings();
    for (name, value) in
        extra.map_err(|error| format!("connection {conn_id:?}: its extra is not a JSON object: {error}"))?
    {
        let text = match value {
            Value::String(text) => text,
            Value::Bool(value) => value.to_string(),
            Value::Number(number) => number.to_string(),
            Value::Null => continue,
            Value::Array(_) | Value::Object(_) => {
                return Err(format!(
                    "connection {conn_id:?}: {name} in its extra has to be a text, a number or a truth value"
                ));
            }
        };
        properties.insert(name, text);
    }
    let of_fields = [
        ("bootstrap.servers", fields.host.as_ref().map(|host| servers(host, fields.port))),
        ("sasl.username", fields.login.clone()),
        ("sasl.password", fields.password.clone()),
    ];
    for (name, value) in of_fields {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            properties.entry(name.to_owned()).or_insert(value);
        }
    }
    if !properties.contains_key("bootstrap.servers") {
        return Err(format!(
            "connection {conn_id:?} names no broker: give it a host, or bootstrap.servers in its extra"
        ));
    }
    Ok(properties)
}

fn servers(host: &str, port: Option<i32>) -> String {
    match port {
        Some(port) => format!("{host}:{port}"),
        None if host.contains(':') || host.is_empty() => host.to_owned(),
        None => format!("{host}:{PORT_DEFAULT}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(host: Option<&str>, extra: &str) -> ConnectionFields {
        ConnectionFields {
            conn_id: "k".into(),
            conn_type: "kafka".into(),
            host: host.map(str::to_owned),
            schema: None,
            login: Some("me".into()),
            password: Some("hunter22".into()),
            port: None,
            extra: Some(extra.to_owned()),
        }
    }

    #[test]
    fn the_extra_settings_are_librdkafkas_and_stand_before_the_fields() {
        let given = properties(&fields(
            Some("a"),
            r#"{"bootstrap.servers": "b:1,c:2", "enable.ssl.certificate.verification": false}"#,
        ));
        let given = given.unwrap();
        assert_eq!(given["bootstrap.servers"], "b:1,c:2");
        assert_eq!(given["enable.ssl.certificate.verification"], "false");
        assert_eq!((given["sasl.username"].as_str(), given["sasl.password"].as_str()), ("me", "hunter22"));
        assert_eq!(properties(&fields(Some("a"), "")).unwrap()["bootstrap.servers"], "a:9092");
    }

    #[test]
    fn a_connection_that_can_not_be_used_says_what_is_missing() {
        for (fields, complaint) in [
            (fields(None, "{}"), "names no broker"),
            (fields(Some("a"), "[1]"), "its extra is not a JSON object"),
            (fields(Some("a"), r#"{"debug": ["x"]}"#), "debug in its extra has to be"),
            (ConnectionFields { conn_type: "http".into(), ..fields(Some("a"), "") }, "need one of type kafka"),
        ] {
            let said = properties(&fields).unwrap_err();
            assert!(said.contains(complaint) && said.contains("\"k\""), "{said}");
        }
    }

    #[test]
    fn passwords_and_keys_are_masked_and_other_settings_are_not() {
        let masker = Masker::default();
        let extra = r#"{"security.protocol": "SASL_SSL", "sasl.password": "open sesame", "ssl.key.pem": "-----KEY"}"#;
        mask(&masker, &fields(None, extra));
        assert_eq!(masker.mask("SASL_SSL open sesame hunter22 -----KEY"), "SASL_SSL *** *** ***");
        mask_variable(&masker, "KAFKA_PROPERTIES", r#"{"ssl.keystore.password": "swordfish", "client.id": "me-too"}"#);
        assert_eq!(masker.mask("swordfish me-too"), "*** me-too");
    }
}
