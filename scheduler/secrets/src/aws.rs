//! AWS Secrets Manager by its HTTP API, in the layout of Airflow's backend for it.
//!
//! Requests are signed, and credentials are looked for, by reqsign: keys of the environment or of a profile's file, a role by
//! web identity, of a container or of the machine (IMDSv2). The credentials are kept until they end.

use std::{collections::HashMap, fmt, path::PathBuf};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::future::BoxFuture;
use reqsign_aws_v4::{Credential, DefaultCredentialProvider, RequestSigner};
use reqsign_core::{Context, Env, Error, FileRead, HttpSend, ProvideCredential, Signer};
use reqwest::Client;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use store::secrets::Kind;
use url::{Host, Url};

use crate::{
    backend::{Backend, Failure, Secret},
    http::{self, Answer, may_pass, quoted},
    settings::{AwsKeys, AwsSettings, SecretSource, SettingsError},
    vault::text_of_file,
};

const TARGET: &str = "secretsmanager.GetSecretValue";
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
/// What AWS answers when it has been asked too much, or is in trouble.
const PASSING: [&str; 4] = ["ThrottlingException", "Throttling", "TooManyRequestsException", "InternalServiceError"];
/// The names under which a connection's fields are found, as Airflow has them; the last of `schema` is that of RDS.
const WORDS: [(&str, &[&str]); 6] = [
    ("login", &["login", "user", "username", "user_name"]),
    ("password", &["password", "pass", "key"]),
    ("host", &["host", "remote_host", "server"]),
    ("port", &["port"]),
    ("schema", &["schema", "database", "dbname"]),
    ("conn_type", &["conn_type", "connection_type", "engine"]),
];

/// Secrets Manager of one region.
pub(crate) struct SecretsManager {
    settings: AwsSettings,
    name: String,
    endpoint: Url,
    client: Client,
    signer: Signer<Credential>,
}

impl SecretsManager {
    /// That of these settings; it is not called yet.
    ///
    /// # Errors
    /// When TLS can not be set up.
    pub(crate) fn new(settings: AwsSettings) -> Result<Self, SettingsError> {
        let setup = |why: String| SettingsError::of("AWS_ENDPOINT", why);
        let region = settings.region.as_str();
        let usual = || {
            let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
            Url::parse(&format!("https://secretsmanager.{region}.{domain}/"))
        };
        let endpoint = settings.endpoint.clone().map_or_else(usual, Ok).map_err(|error| setup(error.to_string()))?;
        let client = http::client(None).map_err(setup)?;
        let send = Send { through: client.clone(), direct: http::direct_client().map_err(setup)? };
        let context = Context::new().with_file_read(Files).with_http_send(send).with_env(Environment);
        let usual = DefaultCredentialProvider::builder().no_sso().no_process();
        let usual = match &settings.profile {
            Some(profile) => usual.no_env().with_profile(profile),
            None => usual,
        };
        let signer = RequestSigner::new("secretsmanager", region);
        let signer = match settings.keys.clone() {
            Some(keys) => Signer::new(context, Keys(keys), signer),
            None => Signer::new(context, usual.build(), signer),
        };
        let name = format!("AWS Secrets Manager at {}", endpoint.as_str().trim_end_matches('/'));
        Ok(Self { settings, name, endpoint, client, signer })
    }

    /// The name of a secret; none when it is not asked for.
    fn secret_id(&self, kind: Kind, id: &str) -> Option<String> {
        /// The longest name that Secrets Manager takes.
        const CHARS_MAX: usize = 512;
        let prefix = self.settings.prefixes.of(kind).as_deref()?;
        let name = format!("{prefix}{}{id}", self.settings.separator);
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c);
        let can_be = !id.is_empty() && name.len() <= CHARS_MAX && name.chars().all(is_allowed);
        (can_be && self.settings.patterns.allow(kind, id)).then_some(name)
    }

    async fn get(&self, secret_id: &str) -> Result<Answer, Failure> {
        let body = json!({ "SecretId": secret_id }).to_string();
        let request = ::http::Request::post(self.endpoint.as_str())
            .header("content-type", CONTENT_TYPE)
            .header("x-amz-target", TARGET)
            .header("x-amz-content-sha256", hex::encode(Sha256::digest(body.as_bytes())))
            .body(())
            .map_err(|error| Failure::lasting(error.to_string()))?;
        let (mut parts, ()) = request.into_parts();
        self.signer.sign(&mut parts, None).await.map_err(|error| unsigned(&error))?;
        // The client writes it itself, the same.
        parts.headers.remove("host");
        http::call(self.client.post(self.endpoint.clone()).headers(parts.headers).body(body)).await
    }
}

/// Why a request could not be signed.
fn unsigned(error: &Error) -> Failure {
    let advice = "give keys in WINDLASS_SECRETS_AWS_ACCESS_KEY_ID and WINDLASS_SECRETS_AWS_SECRET_ACCESS_KEY, or run the \
                  scheduler with a role";
    let what = format!("there are no credentials ({}); {advice}", quoted(&error.to_string()));
    if error.is_retryable() { Failure::passing(what) } else { Failure::lasting(what) }
}

impl Backend for SecretsManager {
    fn name(&self) -> &str {
        &self.name
    }

    fn place(&self, kind: Kind, id: &str) -> Option<String> {
        self.secret_id(kind, id)
    }

    fn read<'a>(&'a self, kind: Kind, id: &'a str) -> BoxFuture<'a, Result<Option<Secret>, Failure>> {
        Box::pin(async move {
            let Some(secret_id) = self.secret_id(kind, id) else { return Ok(None) };
            let Some(text) = text_of(&self.get(&secret_id).await?)? else { return Ok(None) };
            match kind {
                Kind::Variable => Ok(Some(Secret(text))),
                Kind::Connection => connection(&text, self.settings.full_url_mode).map(|text| Some(Secret(text))),
            }
        })
    }
}

/// The text of a secret; none when there is no such secret.
fn text_of(answer: &Answer) -> Result<Option<String>, Failure> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status != 200 {
        return refusal(answer.status, &body);
    }
    if let Some(text) = body["SecretString"].as_str() {
        return Ok(Some(text.to_owned()));
    }
    let bytes = body["SecretBinary"].as_str().and_then(|text| BASE64_STANDARD.decode(text).ok());
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.map(Some).ok_or_else(|| Failure::lasting("its answer holds no secret that is text"))
}

fn refusal(status: u16, body: &Value) -> Result<Option<String>, Failure> {
    // `com.amazonaws.secretsmanager#ResourceNotFoundException` from some servers.
    let kind = body["__type"].as_str().unwrap_or_default();
    let kind = quoted(kind.rsplit_once('#').map_or(kind, |(_, name)| name));
    if kind == "ResourceNotFoundException" {
        return Ok(None);
    }
    let words = body["message"].as_str().or_else(|| body["Message"].as_str()).map(quoted).unwrap_or_default();
    let advice = match kind.as_str() {
        "AccessDeniedException" => "; allow secretsmanager:GetSecretValue on it, and kms:Decrypt on its key",
        "InvalidSignatureException" | "SignatureDoesNotMatch" | "UnrecognizedClientException" => {
            "; check the keys, the region and this machine's clock"
        }
        "ExpiredTokenException" => "; the session's token has ended: give new keys",
        _ => "",
    };
    let kind = if kind.is_empty() { String::new() } else { format!(" {kind}") };
    let words = if words.is_empty() { String::new() } else { format!(" ({words})") };
    let passes = may_pass(status) || PASSING.contains(&kind.trim());
    Err(Failure { what: format!("it answered {status}{kind}{words}{advice}"), passes })
}

/// A connection's text: a URI as it is, and an object with its fields under the names that a connection has.
fn connection(text: &str, full_url_mode: bool) -> Result<String, Failure> {
    if !text.trim_start().starts_with('{') {
        let expected = "the secret is no JSON object, which WINDLASS_SECRETS_AWS_FULL_URL_MODE=false expects";
        return if full_url_mode { Ok(text.to_owned()) } else { Err(Failure::lasting(expected)) };
    }
    let mut fields: Map<String, Value> = serde_json::from_str(text)
        .map_err(|error| Failure::lasting(format!("the secret is no JSON object: {error}")))?;
    let mut standard = Map::new();
    for (name, words) in WORDS {
        if let Some(value) = words.iter().find_map(|word| fields.remove(*word)) {
            standard.insert(name.to_owned(), value);
        }
    }
    for name in ["extra", "description"] {
        if let Some(value) = fields.remove(name) {
            standard.insert(name.to_owned(), value);
        }
    }
    Ok(Value::Object(standard).to_string())
}

/// Keys that the settings give.
struct Keys(AwsKeys);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl ProvideCredential for Keys {
    type Credential = Credential;

    async fn provide_credential(&self, _: &Context) -> reqsign_core::Result<Option<Credential>> {
        let Self(AwsKeys { id, secret, session_token }) = self;
        let secret_access_key = match secret {
            SecretSource::Given(secret) => secret.0.clone(),
            SecretSource::File(path) => file_text(path.clone()).await?,
        };
        Ok(Some(Credential {
            access_key_id: id.clone(),
            secret_access_key,
            session_token: session_token.clone().map(|token| token.0),
            expires_in: None,
        }))
    }
}

async fn file_text(path: PathBuf) -> reqsign_core::Result<String> {
    let told = format!("WINDLASS_SECRETS_AWS_SECRET_ACCESS_KEY_FILE, {}", path.display());
    let read = tokio::task::spawn_blocking(move || text_of_file(&path)).await;
    let text = read.unwrap_or_else(|panic| Err(panic.to_string()));
    text.map_err(|why| Error::config_invalid(format!("{told}: {why}")))
}

/// This process's environment. The library's own ends the thread at a variable that is no text, whosever it is.
#[derive(Debug)]
struct Environment;

impl Env for Environment {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn vars(&self) -> HashMap<String, String> {
        let all = std::env::vars_os();
        all.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
    }

    fn home_dir(&self) -> Option<PathBuf> {
        std::env::home_dir()
    }
}

/// Files of profiles and of web identity.
#[derive(Debug)]
struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> reqsign_core::Result<Vec<u8>> {
        tokio::fs::read(path).await.map_err(|error| Error::unexpected(format!("a file can not be read: {error}")))
    }
}

/// The calls by which credentials are had.
#[derive(Debug)]
struct Send {
    through: Client,
    direct: Client,
}

impl HttpSend for Send {
    async fn http_send(&self, request: ::http::Request<Bytes>) -> reqsign_core::Result<::http::Response<Bytes>> {
        let failed = |why: String| Error::unexpected(why);
        let url = Url::parse(&request.uri().to_string()).map_err(|error| failed(error.to_string()))?;
        let client = if is_of_this_machine(&url) { &self.direct } else { &self.through };
        let (parts, body) = request.into_parts();
        let call = client.request(parts.method, url).headers(parts.headers).body(body);
        let answer = http::call(call).await.map_err(|failure| failed(failure.what))?;
        let response = ::http::Response::builder().status(answer.status).body(Bytes::from(answer.body));
        response.map_err(|error| failed(error.to_string()))
    }
}

/// Whether a server stands on this machine or its link: those that give out a machine's or a container's credentials do.
fn is_of_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback() || address.is_link_local(),
        Some(Host::Ipv6(address)) => address.is_loopback() || address.is_unique_local(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_its_fields_under_any_of_their_names() {
        let rds = r#"{"username": "me", "password": "p", "engine": "postgres", "host": "db", "port": 5432,
                      "dbname": "d", "dbInstanceIdentifier": "x"}"#;
        let found: Value = serde_json::from_str(&connection(rds, false).unwrap()).unwrap();
        let expected =
            json!({"login": "me", "password": "p", "host": "db", "port": 5432, "schema": "d", "conn_type": "postgres"});
        assert_eq!(found, expected);
        assert_eq!(connection("postgres://h/d", true).unwrap(), "postgres://h/d");
        assert!(connection("postgres://h/d", false).unwrap_err().what.contains("FULL_URL_MODE"));
        let error = connection(r#"{"password": s3cret"#, true).unwrap_err();
        assert!(!error.what.contains("s3cret"), "{error:?}");
    }

    #[test]
    fn an_answer_is_a_secret_none_or_an_error_with_what_to_do() {
        let answer = |status, body: &str| text_of(&Answer { status, body: body.as_bytes().to_vec() });
        assert_eq!(answer(200, r#"{"SecretString": "x"}"#).unwrap().as_deref(), Some("x"));
        assert_eq!(answer(200, r#"{"SecretBinary": "eA=="}"#).unwrap().as_deref(), Some("x"));
        assert_eq!(answer(400, r#"{"__type": "a.b#ResourceNotFoundException"}"#).unwrap(), None);
        let denied = answer(400, r#"{"__type": "AccessDeniedException", "Message": "no"}"#).unwrap_err();
        assert!(!denied.passes && denied.what.contains("AccessDeniedException (no); allow"), "{denied:?}");
        assert!(answer(400, r#"{"__type": "ThrottlingException"}"#).unwrap_err().passes);
        assert!(answer(503, "busy").unwrap_err().passes);
    }

    #[test]
    fn credentials_of_the_machine_are_never_asked_of_a_proxy() {
        for (url, own) in [
            ("http://169.254.169.254/latest", true),
            ("http://[fd00:ec2::254]/latest", true),
            ("http://127.0.0.1:8/x", true),
            ("https://sts.amazonaws.com/", false),
        ] {
            assert_eq!(is_of_this_machine(&url.parse().unwrap()), own, "{url}");
        }
    }
}
