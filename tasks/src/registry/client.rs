//! A client of a Confluent schema registry.
//!
//! "There is no such schema" is an answer; a registry that cannot be asked is an error, after some tries. Nothing is
//! cached here: who decodes keeps what it has made of a schema.

use super::access::{Login, RegistryAccess};
use reqwest::{Certificate, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;
use url::Url;

/// A registry answers in milliseconds; one that does not is down.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Tries before a question fails: a registry that starts beside us is there by then.
const TRIES: u32 = 8;
/// The pause after the first failed try; it doubles each time, some twelve seconds in all.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Confluent's code for an unknown schema id.
const SCHEMA_NOT_FOUND: u32 = 40403;

/// Why the registry did not answer.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It cannot be reached.
    #[error("the schema registry at {url} does not answer while {doing}: {cause}; is SCHEMA_REGISTRY_URL right?")]
    Unreachable {
        /// Where it should be.
        url: Url,
        /// What was being done.
        doing: String,
        /// What happened.
        cause: reqwest::Error,
    },
    /// Its certificate's authority cannot be used.
    #[error("the schema registry's authority, SCHEMA_REGISTRY_SSL_CA_LOCATION, is no certificate in PEM: {0}")]
    Authority(reqwest::Error),
    /// It refuses the login, or wants one.
    #[error(
        "the schema registry refused {doing}: {status}; check SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO, which is user:password"
    )]
    Login {
        /// What was being done.
        doing: String,
        /// HTTP status.
        status: StatusCode,
    },
    /// It refused.
    #[error("the schema registry refused {doing}: {status}: {message}")]
    Refused {
        /// What was being done.
        doing: String,
        /// HTTP status.
        status: StatusCode,
        /// Its message.
        message: String,
    },
}

/// A client; clones share connections.
#[derive(Clone)]
pub struct RegistryClient {
    base: Url,
    login: Option<Login>,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct IdBody {
    id: u32,
}

#[derive(Deserialize)]
struct SchemaBody {
    schema: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ErrorBody {
    error_code: u32,
    message: String,
}

impl RegistryClient {
    /// A client of the registry at `base`, which may have a path.
    pub fn new(base: Url) -> Self {
        Self::with(RegistryAccess::new(base)).expect("a client without further settings can be made")
    }

    /// A client of a registry that is reached in this way.
    ///
    /// # Errors
    /// When the authorities are no certificates.
    pub fn with(access: RegistryAccess) -> Result<Self, RegistryError> {
        let mut http = reqwest::Client::builder().timeout(REQUEST_TIMEOUT);
        if let Some(pem) = &access.authorities {
            for authority in Certificate::from_pem_bundle(pem).map_err(RegistryError::Authority)? {
                http = http.add_root_certificate(authority);
            }
        }
        let http = http.build().map_err(RegistryError::Authority)?;
        Ok(Self { base: access.url, login: access.login, http })
    }

    fn with_login(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.login {
            Some(login) => request.basic_auth(&login.user, Some(&login.password)),
            None => request,
        }
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("http URLs have a path").pop_if_empty().extend(segments);
        url
    }

    /// Registers an Avro schema under a subject and gives its id.
    ///
    /// # Errors
    /// When the registry cannot be reached or refuses the schema.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        let doing = format!("the registration of a schema under {subject}");
        let request = self
            .http
            .post(self.url(&["subjects", subject, "versions"]))
            .header("content-type", "application/vnd.schemaregistry.v1+json")
            .body(json!({"schema": schema}).to_string());
        let body: IdBody = match self.ask(&doing, request).await? {
            Ok(response) => self.read(&doing, response).await?,
            Err(refusal) => return Err(refusal.into_error(doing)),
        };
        Ok(body.id)
    }

    /// The schema of an id, or nothing when the registry does not know it.
    ///
    /// # Errors
    /// When the registry cannot be reached or fails.
    pub async fn schema(&self, id: u32) -> Result<Option<String>, RegistryError> {
        let doing = format!("asking for schema {id}");
        let request = self.http.get(self.url(&["schemas", "ids", &id.to_string()]));
        match self.ask(&doing, request).await? {
            Ok(response) => self.read(&doing, response).await.map(|body: SchemaBody| Some(body.schema)),
            Err(refusal) if refusal.body.error_code == SCHEMA_NOT_FOUND => Ok(None),
            Err(refusal) => Err(refusal.into_error(doing)),
        }
    }

    async fn read<T: for<'a> Deserialize<'a>>(&self, doing: &str, response: Response) -> Result<T, RegistryError> {
        response.json().await.map_err(|cause| self.unreachable(doing, cause))
    }

    fn unreachable(&self, doing: &str, cause: reqwest::Error) -> RegistryError {
        RegistryError::Unreachable { url: self.base.clone(), doing: doing.to_owned(), cause }
    }

    /// Sends a request, again while the registry is away or broken.
    async fn ask(&self, doing: &str, request: RequestBuilder) -> Result<Result<Response, Refusal>, RegistryError> {
        let request = self.with_login(request);
        let mut pause = FIRST_PAUSE;
        let mut tries_left = TRIES;
        loop {
            tries_left -= 1;
            let attempt = request.try_clone().expect("the body is text").send().await;
            match attempt {
                Ok(response) if response.status().is_success() => return Ok(Ok(response)),
                Ok(response) if !response.status().is_server_error() || tries_left == 0 => {
                    return Ok(Err(Refusal::of(response).await));
                }
                Err(cause) if tries_left == 0 => return Err(self.unreachable(doing, cause)),
                Ok(_) | Err(_) => {
                    tracing::debug!(doing, tries_left, "the schema registry does not answer yet");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            }
        }
    }
}

struct Refusal {
    status: StatusCode,
    body: ErrorBody,
}

impl Refusal {
    async fn of(response: Response) -> Self {
        let status = response.status();
        // Whatever else a proxy may answer, the status says it.
        Self { status, body: response.json().await.unwrap_or_default() }
    }

    fn into_error(self, doing: String) -> RegistryError {
        match self.status {
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => RegistryError::Login { doing, status },
            status => RegistryError::Refused { doing, status, message: self.body.message },
        }
    }
}
