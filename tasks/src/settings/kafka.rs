//! Which event log is used, and how a Kafka cluster is reached.
//!
//! What is secret here is never printed, also not by the message of an error.

use super::{Lookup, SettingsError, text};

/// Which event log is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogChoice {
    /// The one in the lake database.
    Embedded,
    /// A Kafka cluster.
    Kafka(KafkaSettings),
}

/// How a Kafka cluster is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaSettings {
    /// Hosts with ports, separated by commas.
    pub bootstrap_servers: String,
    /// Further properties of librdkafka, such as `security.protocol`.
    pub properties: Vec<(String, String)>,
}

impl std::fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The properties hold passwords.
        f.debug_struct("KafkaSettings").field("bootstrap_servers", &self.bootstrap_servers).finish_non_exhaustive()
    }
}

/// Variables that are passed on to librdkafka; the property's name is the rest in lower case with dots.
const KAFKA_PASSED: [&str; 17] = [
    "KAFKA_SECURITY_PROTOCOL",
    "KAFKA_SASL_MECHANISM",
    "KAFKA_SASL_USERNAME",
    "KAFKA_SASL_PASSWORD",
    "KAFKA_SSL_CA_LOCATION",
    "KAFKA_SSL_CERTIFICATE_LOCATION",
    "KAFKA_SSL_KEY_LOCATION",
    "KAFKA_SSL_KEY_PASSWORD",
    "KAFKA_SSL_CA_PEM",
    "KAFKA_SSL_CERTIFICATE_PEM",
    "KAFKA_SSL_KEY_PEM",
    "KAFKA_SSL_KEYSTORE_LOCATION",
    "KAFKA_SSL_KEYSTORE_PASSWORD",
    "KAFKA_SSL_ENDPOINT_IDENTIFICATION_ALGORITHM",
    "KAFKA_SSL_CIPHER_SUITES",
    "KAFKA_ENABLE_SSL_CERTIFICATE_VERIFICATION",
    "KAFKA_CLIENT_ID",
];
/// A JSON object with any other properties of librdkafka.
const KAFKA_PROPERTIES: &str = "KAFKA_PROPERTIES";

impl LogChoice {
    /// Kafka when `KAFKA_BOOTSTRAP_SERVERS` is set, else the embedded log.
    ///
    /// # Errors
    /// When `KAFKA_PROPERTIES` is not a JSON object.
    pub fn from_env(env: Lookup<'_>) -> Result<Self, SettingsError> {
        let Some(bootstrap_servers) = text(env, "KAFKA_BOOTSTRAP_SERVERS") else { return Ok(Self::Embedded) };
        let mut properties: Vec<(String, String)> = KAFKA_PASSED
            .iter()
            .filter_map(|name| {
                let property = name.trim_start_matches("KAFKA_").to_ascii_lowercase().replace('_', ".");
                Some((property, text(env, name)?))
            })
            .collect();
        properties.extend(further_properties(env)?);
        Ok(Self::Kafka(KafkaSettings { bootstrap_servers, properties }))
    }
}

fn further_properties(env: Lookup<'_>) -> Result<Vec<(String, String)>, SettingsError> {
    let Some(value) = text(env, KAFKA_PROPERTIES) else { return Ok(Vec::new()) };
    let expected = "a JSON object of librdkafka's properties, such as {\"socket.timeout.ms\": 10000}";
    // What stands in it may be a secret.
    let refused = || SettingsError::Invalid { name: KAFKA_PROPERTIES, value: "…".to_owned(), expected };
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&value).map_err(|_| refused())?;
    object
        .into_iter()
        .map(|(name, value)| match value {
            serde_json::Value::String(text) => Ok((name, text)),
            serde_json::Value::Number(_) | serde_json::Value::Bool(_) => Ok((name, value.to_string())),
            serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_) => Err(refused()),
        })
        .collect()
}
