//! What the provider publishes: where its endpoints are, and the keys that it signs with. Kept for an hour.
//!
//! A token that names a key that is not known has the keys read again, but not more often than every half minute: anybody could
//! come with such a token.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jsonwebtoken::jwk::Jwk;
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use super::{NoLogin, http::Http, id_token::Token, settings::provider_url};

/// How long what is published is taken to be so.
const KEPT: Duration = Duration::from_secs(3600);
/// Keys are not read again within so long.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// A provider has a few keys.
const KEYS_MAX: usize = 50;

/// Endpoints.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) userinfo_endpoint: Option<Url>,
    /// Whether the client's secret is taken in the body only.
    pub(super) wants_secret_in_body: bool,
    jwks_uri: Url,
}

/// A provider.
#[derive(Debug)]
pub(super) struct Provider {
    issuer: String,
    metadata: Mutex<Option<(Instant, Arc<Metadata>)>>,
    keys: Mutex<Option<(Instant, Arc<Vec<Jwk>>)>>,
}

impl Provider {
    pub(super) fn new(issuer: String) -> Self {
        Self { issuer, metadata: Mutex::default(), keys: Mutex::default() }
    }

    /// Its endpoints.
    pub(super) async fn metadata(&self, http: &Http) -> Result<Arc<Metadata>, String> {
        // Who waits here waits for the same answer.
        let mut held = self.metadata.lock().await;
        if let Some((at, metadata)) = held.as_ref()
            && at.elapsed() < KEPT
        {
            return Ok(Arc::clone(metadata));
        }
        let address = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let url = provider_url(&address)?;
        let metadata = Arc::new(read_metadata(&self.issuer, &http.document(&url).await?)?);
        *held = Some((Instant::now(), Arc::clone(&metadata)));
        Ok(metadata)
    }

    /// The key that a token says it is signed with.
    pub(super) async fn key(&self, http: &Http, metadata: &Metadata, token: &Token<'_>) -> Result<Jwk, NoLogin> {
        let mut held = self.keys.lock().await;
        if let Some((at, keys)) = held.as_ref()
            && at.elapsed() < KEPT
        {
            if let Some(key) = token.key_among(keys) {
                return Ok(key.clone());
            }
            if at.elapsed() < READ_AGAIN_AFTER {
                return Err(unknown_key());
            }
        }
        let document = http.document(&metadata.jwks_uri).await.map_err(NoLogin::Provider)?;
        let keys = Arc::new(read_keys(&document));
        *held = Some((Instant::now(), Arc::clone(&keys)));
        token.key_among(&keys).cloned().ok_or_else(unknown_key)
    }
}

fn unknown_key() -> NoLogin {
    NoLogin::Refused("the ID token is signed with a key that the provider does not publish".to_owned())
}

fn read_metadata(issuer: &str, document: &Value) -> Result<Metadata, String> {
    let text = |name: &str| document[name].as_str();
    let own = text("issuer").unwrap_or_default();
    if own != issuer {
        return Err(format!("its document is that of the issuer {own:?}, and WINDLASS_OIDC_ISSUER is {issuer:?}"));
    }
    let endpoint = |name: &str| match text(name) {
        Some(url) => provider_url(url).map_err(|why| format!("its {name}: {why}")),
        None => Err(format!("its document has no {name}")),
    };
    let listed =
        |name: &str| document[name].as_array().map(|all| all.iter().filter_map(Value::as_str).collect::<Vec<_>>());
    // What is not said is said to be this.
    let ways = listed("token_endpoint_auth_methods_supported").unwrap_or_else(|| vec!["client_secret_basic"]);
    Ok(Metadata {
        authorization_endpoint: endpoint("authorization_endpoint")?,
        token_endpoint: endpoint("token_endpoint")?,
        userinfo_endpoint: text("userinfo_endpoint").map(|_| endpoint("userinfo_endpoint")).transpose()?,
        wants_secret_in_body: !ways.contains(&"client_secret_basic") && ways.contains(&"client_secret_post"),
        jwks_uri: endpoint("jwks_uri")?,
    })
}

/// The keys of a document that we can read; others are for others.
fn read_keys(document: &Value) -> Vec<Jwk> {
    let all = document["keys"].as_array().into_iter().flatten().take(KEYS_MAX);
    all.filter_map(|key| serde_json::from_value(key.clone()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({
            "issuer": "https://login.example.com",
            "authorization_endpoint": "https://login.example.com/auth",
            "token_endpoint": "https://login.example.com/token",
            "jwks_uri": "https://login.example.com/keys",
        })
    }

    #[test]
    fn a_document_is_read_and_one_of_somebody_else_is_not() {
        let found = read_metadata("https://login.example.com", &document()).unwrap();
        assert_eq!(found.token_endpoint.as_str(), "https://login.example.com/token");
        assert!(!found.wants_secret_in_body && found.userinfo_endpoint.is_none());
        let error = read_metadata("https://login.example.com/", &document()).unwrap_err();
        assert!(error.contains("WINDLASS_OIDC_ISSUER"), "{error}");
    }

    #[test]
    fn no_endpoint_is_reached_without_tls() {
        for name in ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"] {
            let mut open = document();
            open[name] = json!("http://login.example.com/x");
            let error = read_metadata("https://login.example.com", &open).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn a_key_of_an_unknown_kind_does_not_hide_the_others() {
        let keys = read_keys(&json!({"keys": [
            {"kty": "FUTURE", "kid": "x"},
            {"kty": "EC", "crv": "P-256", "kid": "a", "use": "sig", "alg": "ES256", "x": "AA", "y": "AA"},
        ]}));
        assert_eq!(keys.len(), 1);
    }
}
