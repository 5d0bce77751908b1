//! What the web server is told by its caller. Nothing here is read from the environment: the binary does that.

use std::{sync::Arc, time::Duration};

use link::LogArchive;
use metrics::{Page, http::Requests, live::Live};
use prometheus_client::registry::Registry;
use store::{SecretKey, users::PASSWORD_CHARS_MIN};

use crate::auth::{client::TrustedProxies, oidc::Oidc, token::Secret};

/// Airflow's lifetime of a token from `/auth/token`.
const TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// A token for the command line lives shorter: it tends to be kept in files.
const CLI_TOKEN_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// How long a command waits for the leader; a take-over of the lead takes at most about 5 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream outlives the end of its session by so long at most.
const SESSION_LOOK_EVERY: Duration = Duration::from_secs(30);
/// The longest that an answer may take: longer than a command waits for its leader. Event streams answer at once.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// Settings of the web server.
#[derive(Debug, Clone)]
pub struct AppSettings {
    /// What tokens are signed with.
    pub secret: Secret,
    /// What connections and variables are sealed with.
    pub secret_key: SecretKey,
    /// How long a token and a session live.
    pub token_lifetime: Duration,
    /// How long a token of `/auth/token/cli` lives.
    pub cli_token_lifetime: Duration,
    /// Whether browsers may send the session over plain http.
    pub cookie: CookieScope,
    /// Whose word about a client's address is taken.
    pub trusted_proxies: TrustedProxies,
    /// The shortest password that a user may get.
    pub password_chars_min: usize,
    /// How often an open stream asks whether its session still holds.
    pub session_look_every: Duration,
    /// How long an answer may take before the client is told that it did not come.
    pub answer_time_max: Duration,
    /// How long a command waits for the leader's answer before the client gets a 503.
    pub answer_timeout: Duration,
    /// Who logs people in beside us, when there is somebody.
    pub oidc: Option<Arc<Oidc>>,
    /// Whether a name and a password are taken, or the provider's word alone.
    pub local_logins: LocalLogins,
    /// A sentence for the login page, such as the login that a fresh installation has.
    pub login_hint: Option<String>,
    /// Whether workers try connections out for clients.
    pub connection_tests: ConnectionTests,
    /// What `/api/v2/config` tells; none when it is not allowed.
    pub exposed: Option<Arc<[Setting]>>,
    /// Where requests are timed.
    pub(crate) requests: Requests,
    /// Where open pages are counted.
    pub(crate) live: Live,
    /// What `/metrics` shows.
    pub(crate) metrics: Page,
    /// Where logs of attempts are shipped to, when they are.
    pub log_archive: Option<Arc<dyn LogArchive>>,
}

/// A setting of the server and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The section that it is told under.
    pub section: String,
    /// Its name there.
    pub option: String,
    /// Its value, secret or not: secrets are hidden where it is told.
    pub value: String,
}

/// Over what the session cookie travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CookieScope {
    /// Also over http, as on loopback.
    Plain,
    /// Only over https.
    Secure,
}

/// Whether somebody can log in with a name and a password.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LocalLogins {
    /// Yes.
    #[default]
    Taken,
    /// No: everybody comes by the identity provider.
    Refused,
}

/// Airflow's `test_connection`: whether connections are tried out, which reaches any address that a client names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ConnectionTests {
    /// They are not.
    #[default]
    Disabled,
    /// They are not, and no page offers it.
    Hidden,
    /// They are, by workers.
    Enabled,
}

impl std::str::FromStr for ConnectionTests {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "disabled" => Ok(Self::Disabled),
            "hidden" => Ok(Self::Hidden),
            "enabled" => Ok(Self::Enabled),
            _ => Err(format!("it is {text:?}; expected Disabled, Hidden or Enabled")),
        }
    }
}

impl AppSettings {
    /// Settings with every default.
    #[must_use]
    pub fn new(secret: Secret, secret_key: SecretKey) -> Self {
        let mut settings = Self {
            secret,
            secret_key,
            token_lifetime: TOKEN_LIFETIME,
            cli_token_lifetime: CLI_TOKEN_LIFETIME,
            cookie: CookieScope::Plain,
            trusted_proxies: TrustedProxies::default(),
            password_chars_min: PASSWORD_CHARS_MIN,
            session_look_every: SESSION_LOOK_EVERY,
            answer_time_max: ANSWER_TIME_MAX,
            answer_timeout: ANSWER_TIMEOUT,
            oidc: None,
            local_logins: LocalLogins::Taken,
            login_hint: None,
            log_archive: None,
            connection_tests: ConnectionTests::Disabled,
            exposed: None,
            requests: Requests::default(),
            live: Live::default(),
            metrics: Page::new(Registry::default()),
        };
        settings.show(metrics::registry(env!("CARGO_PKG_VERSION")));
        settings
    }

    /// Shows a registry on `/metrics`, with the web server's own metrics beside those that are in it.
    pub fn show(&mut self, mut registry: Registry) {
        self.requests.register(&mut registry);
        self.live.register(&mut registry);
        self.metrics = Page::new(registry);
    }
}
