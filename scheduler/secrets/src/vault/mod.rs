//! HashiCorp Vault (and OpenBao) by its HTTP API: the key-value engine, versions 1 and 2, in the layout of Airflow's Vault backend.
//!
//! A connection is a secret with `conn_uri`, or with a field for each part; a variable is the field `value` of its secret.

mod token;

use futures::future::BoxFuture;
use reqwest::{Client, Method};
use serde_json::{Map, Value};
use store::secrets::Kind;
use url::Url;

use self::token::Tokens;
pub(crate) use self::token::text_of_file;
use crate::{
    backend::{Backend, Failure, Secret},
    http::{self, Answer, may_pass, quoted},
    settings::{KvVersion, SettingsError, VaultSettings},
};

/// A Vault and the way into it.
pub(crate) struct Vault {
    settings: VaultSettings,
    name: String,
    api: Api,
    tokens: Tokens,
}

impl Vault {
    /// The Vault of these settings; it is not called yet.
    ///
    /// # Errors
    /// When the file of authorities can not be used.
    pub(crate) fn new(settings: VaultSettings) -> Result<Self, SettingsError> {
        let client =
            http::client(settings.ca_file.as_deref()).map_err(|why| SettingsError::of("VAULT_CA_FILE", why))?;
        let api = Api { client, url: settings.url.clone(), namespace: settings.namespace.clone() };
        let name = format!("Vault at {}", settings.url.as_str().trim_end_matches('/'));
        Ok(Self { tokens: Tokens::new(settings.auth.clone()), settings, name, api })
    }

    /// The segments of a secret's path below `v1`; none when there can not be such a secret.
    fn segments<'a>(&'a self, kind: Kind, id: &'a str) -> Option<Vec<&'a str>> {
        let path = self.settings.paths.of(kind).as_deref()?;
        // A dot segment would lead out of the path, and an empty one is none of Vault's.
        let is_plain = id.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains(char::is_control));
        if !is_plain || !self.settings.patterns.allow(kind, id) {
            return None;
        }
        let data = match self.settings.kv_version {
            KvVersion::One => None,
            KvVersion::Two => Some("data"),
        };
        let parts = self.settings.mount_point.split('/').chain(data).chain(path.split('/')).chain(id.split('/'));
        Some(parts.filter(|part| !part.is_empty()).collect())
    }

    async fn get(&self, segments: &[&str]) -> Result<Answer, Failure> {
        let token = self.tokens.get(&self.api).await?;
        let answer = self.api.call(Method::GET, segments, Some(&token), None).await?;
        if answer.status != 403 || !self.tokens.is_dead(&self.api, &token).await? {
            return Ok(answer);
        }
        // It was revoked, or ran out while nobody looked: one of a login or of a file may have a successor.
        let token = self.tokens.get(&self.api).await?;
        self.api.call(Method::GET, segments, Some(&token), None).await
    }
}

impl Backend for Vault {
    fn name(&self) -> &str {
        &self.name
    }

    fn place(&self, kind: Kind, id: &str) -> Option<String> {
        self.segments(kind, id).map(|segments| segments.join("/"))
    }

    fn read<'a>(&'a self, kind: Kind, id: &'a str) -> BoxFuture<'a, Result<Option<Secret>, Failure>> {
        Box::pin(async move {
            let Some(segments) = self.segments(kind, id) else { return Ok(None) };
            let answer = self.get(&segments).await?;
            let Some(fields) = fields_of(&answer, self.settings.kv_version)? else { return Ok(None) };
            text_of(kind, fields).map(|text| Some(Secret(text))).map_err(Failure::lasting)
        })
    }

    fn keep(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.tokens.keep(&self.api, &self.name))
    }
}

/// Vault's HTTP API.
struct Api {
    client: Client,
    url: Url,
    namespace: Option<String>,
}

impl Api {
    async fn call(
        &self,
        method: Method,
        segments: &[&str],
        token: Option<&Secret>,
        body: Option<Value>,
    ) -> Result<Answer, Failure> {
        let mut url = self.url.clone();
        url.path_segments_mut()
            .map_err(|()| Failure::lasting("its address takes no path"))?
            .pop_if_empty()
            .push("v1")
            .extend(segments);
        let mut request = self.client.request(method, url).header("X-Vault-Request", "true");
        if let Some(namespace) = &self.namespace {
            request = request.header("X-Vault-Namespace", namespace);
        }
        if let Some(token) = token {
            request = request.header("X-Vault-Token", &token.0);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        http::call(request).await
    }
}

/// The fields of a secret; none when there is no such secret, or its newest version was deleted.
fn fields_of(answer: &Answer, version: KvVersion) -> Result<Option<Map<String, Value>>, Failure> {
    match answer.status {
        200 => {}
        // An engine that has no such secret says so without a word; a path where no engine is mounted, with one.
        404 if words(answer).is_empty() => return Ok(None),
        _ => return Err(refusal(answer)),
    }
    let body: Value = serde_json::from_slice(&answer.body).map_err(|_| {
        Failure::lasting("its answer is no JSON; is WINDLASS_SECRETS_VAULT_URL the address of a Vault?")
    })?;
    let fields = match version {
        KvVersion::One => &body["data"],
        KvVersion::Two => &body["data"]["data"],
    };
    match fields {
        Value::Object(fields) => Ok(Some(fields.clone())),
        Value::Null if version == KvVersion::Two && body["data"].is_object() => Ok(None),
        _ => Err(Failure::lasting("its answer is not the key-value engine's; check WINDLASS_SECRETS_VAULT_KV_VERSION")),
    }
}

/// What Vault says is wrong, from the `errors` of its answer.
fn words(answer: &Answer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let list = body["errors"].as_array().into_iter().flatten().chain(body["warnings"].as_array().into_iter().flatten());
    quoted(&list.filter_map(Value::as_str).collect::<Vec<_>>().join("; "))
}

/// An answer that is no secret, with what to do.
fn refusal(answer: &Answer) -> Failure {
    let status = answer.status;
    let words = match words(answer) {
        words if words.is_empty() => String::new(),
        words => format!(" ({words})"),
    };
    let advice = match status {
        400 => "; check the settings of the login",
        403 => "; check that the token lives and that its policy allows `read` there",
        404 => "; check WINDLASS_SECRETS_VAULT_MOUNT_POINT and WINDLASS_SECRETS_VAULT_NAMESPACE",
        503 => "; is it sealed?",
        300..=399 => "; set WINDLASS_SECRETS_VAULT_URL to the address of the active server",
        _ => "",
    };
    let what = format!("it answered {status}{words}{advice}");
    if may_pass(status) { Failure::passing(what) } else { Failure::lasting(what) }
}

/// A secret's text in Airflow's layout.
fn text_of(kind: Kind, mut fields: Map<String, Value>) -> Result<String, String> {
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    match kind {
        Kind::Connection => match fields.remove("conn_uri") {
            Some(Value::String(uri)) => Ok(uri),
            Some(_) => Err("the secret's conn_uri is no text".to_owned()),
            None => Ok(Value::Object(fields).to_string()),
        },
        Kind::Variable => match fields.remove("value") {
            Some(value) => Ok(text(value)),
            None => {
                let names: Vec<&str> = fields.keys().map(String::as_str).take(20).collect();
                Err(format!(
                    "the secret has no field `value`, where a variable's text lies; it has: {}",
                    names.join(", ")
                ))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{OfEach, SecretSource, VaultAuth};

    fn vault(version: KvVersion, mount_point: &str) -> Vault {
        Vault::new(VaultSettings {
            url: "https://vault:8200/".parse().unwrap(),
            mount_point: mount_point.to_owned(),
            kv_version: version,
            paths: OfEach { connections: Some("airflow/connections".to_owned()), variables: None },
            patterns: OfEach { connections: Some(regex::Regex::new("^(?:team_)").unwrap()), variables: None },
            namespace: None,
            ca_file: None,
            auth: VaultAuth::Token(SecretSource::Given(Secret("t".to_owned()))),
        })
        .unwrap()
    }

    #[test]
    fn a_secret_lies_below_its_path_and_no_id_leads_out_of_it() {
        let two = vault(KvVersion::Two, "kv/of/us");
        assert_eq!(two.place(Kind::Connection, "team_db").unwrap(), "kv/of/us/data/airflow/connections/team_db");
        let one = vault(KvVersion::One, "secret");
        assert_eq!(one.place(Kind::Connection, "team_a/db").unwrap(), "secret/airflow/connections/team_a/db");
        assert_eq!(one.place(Kind::Variable, "team_v"), None, "it is not asked for variables");
        assert_eq!(one.place(Kind::Connection, "other"), None, "the pattern keeps it from being asked");
        for id in ["team_/../../sys", "team_/..", "team_//x", "team_/.", "team_\n"] {
            assert_eq!(one.place(Kind::Connection, id), None, "{id}");
        }
    }

    #[test]
    fn an_unknown_secret_is_told_from_a_path_that_is_wrong() {
        let answer = |status, body: &str| Answer { status, body: body.as_bytes().to_vec() };
        let none = answer(404, r#"{"errors":[]}"#);
        assert_eq!(fields_of(&none, KvVersion::Two).unwrap(), None);
        let deleted = answer(404, r#"{"data":{"data":null,"metadata":{"deletion_time":"2026-01-01T00:00:00Z"}}}"#);
        assert_eq!(fields_of(&deleted, KvVersion::Two).unwrap(), None);
        let unmounted = answer(404, r#"{"errors":["no handler for route \"kv/data/x\". route entry not found."]}"#);
        assert!(fields_of(&unmounted, KvVersion::Two).unwrap_err().what.contains("MOUNT_POINT"));
        let first = answer(200, r#"{"data":{"value":"x"}}"#);
        assert_eq!(fields_of(&first, KvVersion::One).unwrap().unwrap()["value"], "x");
        let page = answer(200, "<html>");
        assert!(fields_of(&page, KvVersion::One).unwrap_err().what.contains("no JSON"));
        let sealed = fields_of(&answer(503, r#"{"errors":["Vault is sealed"]}"#), KvVersion::One).unwrap_err();
        assert!(sealed.passes && sealed.what.contains("503 (Vault is sealed)"), "{sealed:?}");
    }

    #[test]
    fn both_layouts_of_a_connection_are_read_and_a_variable_without_a_value_is_told() {
        let fields = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let uri = text_of(Kind::Connection, fields(r#"{"conn_uri": "postgres://h/d"}"#)).unwrap();
        assert_eq!(uri, "postgres://h/d");
        let object = text_of(Kind::Connection, fields(r#"{"conn_type": "http", "port": "80"}"#)).unwrap();
        assert_eq!(object, r#"{"conn_type":"http","port":"80"}"#);
        assert_eq!(text_of(Kind::Variable, fields(r#"{"value": {"a": 1}}"#)).unwrap(), r#"{"a":1}"#);
        let error = text_of(Kind::Variable, fields(r#"{"val": "s3cret"}"#)).unwrap_err();
        assert!(error.contains("it has: val") && !error.contains("s3cret"), "{error}");
    }
}
