//! Calls to the provider: few at once, each with a limit of time, each answer with one of size.

use std::{error::Error, fs, path::Path, time::Duration};

use reqwest::{Certificate, Client, RequestBuilder, redirect::Policy};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use url::Url;

use super::NoLogin;

/// How long a call may take; a login makes four at most.
const CALL_WITHIN: Duration = Duration::from_secs(6);
/// Calls that are under way at once. Anybody may begin a login, so that nobody can have us flood the provider.
const CALLS_AT_ONCE: usize = 8;
/// How long a call waits for its turn.
const ROOM_WITHIN: Duration = Duration::from_secs(3);
/// Tokens of people in many groups are large; nothing is larger.
const ANSWER_BYTES_MAX: usize = 512 * 1024;

/// The way to the provider.
#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    room: Semaphore,
}

/// A code that is to be exchanged.
pub(super) struct Exchange<'a> {
    pub(super) endpoint: &'a Url,
    pub(super) client_id: &'a str,
    pub(super) secret: Option<&'a str>,
    /// Whether the secret goes into the body and not into the header.
    pub(super) by_body: bool,
    pub(super) code: &'a str,
    pub(super) redirect_uri: &'a str,
    pub(super) verifier: &'a str,
}

/// What a code is exchanged for. Its `Debug` text would hold tokens, so it has none.
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    pub(super) id_token: String,
    pub(super) access_token: Option<String>,
}

impl Http {
    /// A client that also trusts the authorities of a file.
    pub(super) fn new(authorities: Option<&Path>) -> Result<Self, String> {
        let mut builder = Client::builder()
            .user_agent(concat!("windlass/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .timeout(CALL_WITHIN);
        if let Some(path) = authorities {
            let pem = fs::read(path).map_err(|error| format!("{} can not be read: {error}", path.display()))?;
            let found = Certificate::from_pem_bundle(&pem).map_err(|error| format!("{}: {error}", path.display()))?;
            if found.is_empty() {
                return Err(format!("{} holds no certificate in PEM form", path.display()));
            }
            builder = found.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate);
        }
        let client = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { client, room: Semaphore::new(CALLS_AT_ONCE) })
    }

    /// A document that the provider publishes.
    pub(super) async fn document(&self, url: &Url) -> Result<Value, String> {
        let (status, body) = self.call(url, self.client.get(url.clone())).await?;
        if status != 200 {
            return Err(format!("{url} answered {status}"));
        }
        serde_json::from_slice(&body).map_err(|_| format!("{url} answered with something that is no JSON"))
    }

    /// The tokens that a code stands for.
    pub(super) async fn exchange(&self, way: Exchange<'_>) -> Result<TokenAnswer, NoLogin> {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", way.code),
            ("redirect_uri", way.redirect_uri),
            ("code_verifier", way.verifier),
        ];
        let mut request = self.client.post(way.endpoint.clone());
        match way.secret {
            // As RFC 6749 has it: both are form-encoded before they are joined.
            Some(secret) if !way.by_body => request = request.basic_auth(encoded(way.client_id), Some(encoded(secret))),
            Some(secret) => form.extend([("client_id", way.client_id), ("client_secret", secret)]),
            None => form.push(("client_id", way.client_id)),
        }
        let (status, body) = self.call(way.endpoint, request.form(&form)).await.map_err(NoLogin::Provider)?;
        if status == 200 {
            let unread = |_| NoLogin::Provider("its answer to the code holds no ID token".to_owned());
            return serde_json::from_slice(&body).map_err(unread);
        }
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        match said["error"].as_str() {
            Some("invalid_grant") => {
                Err(NoLogin::Refused("the provider does not take the code; log in again".to_owned()))
            }
            error => {
                let words = error.map(|error| format!(" ({})", quoted(error))).unwrap_or_default();
                let advice = "check the client's id and secret, and that the provider knows the redirect URI";
                Err(NoLogin::Provider(format!(
                    "it answered {status}{words} to the code; {advice} {}",
                    way.redirect_uri
                )))
            }
        }
    }

    /// What else the provider tells of a person.
    pub(super) async fn userinfo(&self, endpoint: &Url, access_token: &str) -> Result<Map<String, Value>, String> {
        let (status, body) = self.call(endpoint, self.client.get(endpoint.clone()).bearer_auth(access_token)).await?;
        match serde_json::from_slice(&body) {
            Ok(Value::Object(claims)) if status == 200 => Ok(claims),
            _ => Err(format!("{endpoint} answered {status} and no JSON object")),
        }
    }

    async fn call(&self, url: &Url, request: RequestBuilder) -> Result<(u16, Vec<u8>), String> {
        let Ok(Ok(_permit)) = tokio::time::timeout(ROOM_WITHIN, self.room.acquire()).await else {
            return Err("too many people log in at this moment".to_owned());
        };
        let failed = |error: reqwest::Error| format!("{url}: {}", last_cause(&error));
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(format!("{url} answered with more than {ANSWER_BYTES_MAX} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, body))
    }
}

/// Why a call failed, without the URL that stands before it.
fn last_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Words of another program, cut to a short line.
pub(super) fn quoted(words: &str) -> String {
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}
