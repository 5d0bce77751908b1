//! Login by an OpenID Connect provider: authorization code flow with PKCE, state and nonce.
//!
//! The way: the browser goes to the provider with a state, a nonce and the digest of a verifier, which it keeps in a signed cookie
//! of its own; it comes back with the state and a code; the code and the verifier are exchanged for an ID token over a connection
//! of ours, and the token's signature, issuer, audience, times and nonce are checked. What the web server holds in memory is what
//! the provider publishes, so any api process can finish what another has begun. No token of the provider is kept.

mod attempt;
mod claims;
mod http;
mod id_token;
mod provider;
mod settings;

use url::Url;

pub use self::settings::{InvalidOidc, OidcSettings};
pub(crate) use self::{
    attempt::{Attempt, LOGIN_LASTS},
    claims::Person,
};
use self::{http::Http, provider::Provider};

/// Where the browser comes back to.
pub const CALLBACK: &str = "/auth/oidc/callback";

/// Why somebody is not logged in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoLogin {
    /// The provider does not answer, or not as it should: nothing that the person could do.
    #[error("the identity provider can not be used now: {0}")]
    Provider(String),
    /// The provider, or the settings, say no.
    #[error("{0}")]
    Refused(String),
}

/// A provider and what it takes to ask it.
#[derive(Debug)]
pub struct Oidc {
    settings: OidcSettings,
    provider: Provider,
    http: Http,
}

impl Oidc {
    /// The provider of these settings. It is not called yet.
    ///
    /// # Errors
    /// When the file of authorities can not be used.
    pub fn new(settings: OidcSettings) -> Result<Self, InvalidOidc> {
        let http = Http::new(settings.ca_file.as_deref()).map_err(|why| InvalidOidc::new("CA_FILE", why))?;
        let provider = Provider::new(settings.issuer.clone());
        Ok(Self { settings, provider, http })
    }

    /// What the provider is called on the login page.
    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    /// Whom its accounts belong to in the store: the issuer.
    pub(crate) fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    /// Words of the provider, cut to a short line.
    pub(crate) fn quoted(&self, words: &str) -> String {
        http::quoted(words)
    }

    /// Whether the provider answers with what it has to publish, and says there that it is the issuer that is set.
    ///
    /// # Errors
    /// Why not, in words for whoever operates this installation.
    pub async fn check(&self) -> Result<(), String> {
        self.provider.metadata(&self.http).await.map(drop)
    }

    /// Where the browser is sent, and what it must bring back.
    pub(crate) async fn begin(&self, next: &str) -> Result<(Url, Attempt), NoLogin> {
        let metadata = self.provider.metadata(&self.http).await.map_err(NoLogin::Provider)?;
        let attempt = Attempt::of(next);
        let mut url = metadata.authorization_endpoint.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", &self.redirect_uri())
            .append_pair("scope", &self.settings.scopes)
            .append_pair("state", &attempt.state)
            .append_pair("nonce", &attempt.nonce)
            .append_pair("code_challenge", &attempt.challenge())
            .append_pair("code_challenge_method", "S256");
        Ok((url, attempt))
    }

    /// Who it is that comes back with a code.
    pub(crate) async fn finish(&self, attempt: &Attempt, code: &str) -> Result<Person, NoLogin> {
        let metadata = self.provider.metadata(&self.http).await.map_err(NoLogin::Provider)?;
        let secret = self.settings.client_secret().map_err(NoLogin::Provider)?;
        let way = http::Exchange {
            endpoint: &metadata.token_endpoint,
            client_id: &self.settings.client_id,
            secret: secret.as_deref(),
            by_body: metadata.wants_secret_in_body,
            code,
            redirect_uri: &self.redirect_uri(),
            verifier: &attempt.verifier,
        };
        let tokens = self.http.exchange(way).await?;
        let token = id_token::Token::parse(&tokens.id_token).map_err(NoLogin::Refused)?;
        let key = self.provider.key(&self.http, &metadata, &token).await?;
        let expected = id_token::Expected {
            issuer: &self.settings.issuer,
            client_id: &self.settings.client_id,
            nonce: &attempt.nonce,
            now: chrono::Utc::now().timestamp(),
        };
        let mut claims = token.claims(&key, &expected).map_err(NoLogin::Refused)?;
        if !claims.have(&self.settings)
            && let (Some(endpoint), Some(access)) = (&metadata.userinfo_endpoint, &tokens.access_token)
        {
            let more = self.http.userinfo(endpoint, access).await.map_err(NoLogin::Provider)?;
            claims.add(more).map_err(NoLogin::Refused)?;
        }
        claims.person(&self.settings).map_err(NoLogin::Refused)
    }

    fn redirect_uri(&self) -> String {
        format!("{}{CALLBACK}", self.settings.base_url)
    }
}
