//! What hosts of git tell of pushes. Anybody may knock: who does not know the secret of the bundle is refused in one way, whatever
//! is wrong, so that nobody learns which bundles there are.

use axum::http::HeaderMap;
use hmac::{Hmac, Mac as _};
use link::transport::tls::Secret;
use model::BundleName;
use serde_json::Value;
use sha2::Sha256;
use store::{
    bundles::{self, Kind},
    read, secrets,
};

use crate::{
    app::App,
    error::{ApiError, ApiResult},
};

/// What a host tells of a push is smaller as a rule; what is larger is refused, and the next poll finds the push.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// GitHub's header, which Gitea and Forgejo send, too.
const SIGNATURE: &str = "x-hub-signature-256";
/// GitLab's header.
const GITLAB_TOKEN: &str = "x-gitlab-token";

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The bundle is polled.
    Asked,
    /// It is about another branch than the bundle's.
    Elsewhere,
}

/// Hears of a push.
///
/// # Errors
/// [`ApiError::Forbidden`] when it is not proven.
pub async fn heard(app: &App, bundle: &str, headers: &HeaderMap, body: &[u8]) -> ApiResult<Heard> {
    let name = BundleName::new(bundle).map_err(|_| ApiError::Forbidden)?;
    let found = read::bundles(&app.pool, Some(&name)).await?.pop();
    let found = found.filter(|found| found.is_active && found.kind == Kind::Git.name());
    let settings = found.ok_or(ApiError::Forbidden)?.settings;
    let secret = match settings["webhook_conn_id"].as_str() {
        Some(conn_id) => secret(app, conn_id).await?,
        None => None,
    };
    let secret = secret.ok_or(ApiError::Forbidden)?;
    if !is_proven(&secret, headers, body) {
        return Err(ApiError::Forbidden);
    }
    if !is_about(body, settings["tracking_ref"].as_str().unwrap_or_default()) {
        return Ok(Heard::Elsewhere);
    }
    if bundles::ask_poll(&app.pool, &name).await? { Ok(Heard::Asked) } else { Err(ApiError::Forbidden) }
}

/// The secret: the password of the connection that the bundle's settings name.
async fn secret(app: &App, conn_id: &str) -> ApiResult<Option<String>> {
    let environment = |name: &str| std::env::var(name).ok();
    let found = secrets::connection(&app.pool, &app.settings.secret_key, &environment, conn_id).await;
    let found = found.map_err(|error| {
        tracing::error!(%error, "the secret of a webhook can not be read");
        ApiError::Forbidden
    })?;
    Ok(found.and_then(|connection| connection.password).filter(|password| !password.is_empty()))
}

/// Whether somebody who knows the secret has sent it. Both are compared in a time that says nothing of where they differ.
fn is_proven(secret: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(shown) = text(SIGNATURE) {
        let Some(signature) = shown.strip_prefix("sha256=").and_then(|hex| hex::decode(hex).ok()) else { return false };
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of HMAC may have any length");
        mac.update(body);
        return mac.verify_slice(&signature).is_ok();
    }
    text(GITLAB_TOKEN).is_some_and(|shown| Secret::new(shown.to_owned()).matches(&Secret::new(secret.to_owned())))
}

/// Whether a push may be to the branch that is followed. What does not say which branch it is about is.
fn is_about(body: &[u8], tracking_ref: &str) -> bool {
    let told: Option<Value> = serde_json::from_slice(body).ok();
    let pushed = told.as_ref().and_then(|told| told.get("ref")).and_then(Value::as_str);
    pushed.is_none_or(|pushed| {
        let short = pushed.strip_prefix("refs/heads/").or_else(|| pushed.strip_prefix("refs/tags/")).unwrap_or(pushed);
        pushed == tracking_ref || short == tracking_ref || tracking_ref == "HEAD"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])
    }

    #[test]
    fn a_signature_is_that_of_the_body_and_the_secret() {
        // The example of GitHub's own documentation.
        let (secret, body) = ("It's a Secret to Everybody", b"Hello, World!");
        let good = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert!(is_proven(secret, &headers(SIGNATURE, good), body));
        assert!(!is_proven(secret, &headers(SIGNATURE, good), b"Hello, World?"));
        assert!(!is_proven("another", &headers(SIGNATURE, good), body));
        for bad in
            ["", "sha256=", "sha256=zz", &good[7..], &good[..69], "sha1=757107ea0eb2509fc211221cce984b8a37570b6d"]
        {
            assert!(!is_proven(secret, &headers(SIGNATURE, bad), body), "{bad}");
        }
        // A wrong signature is not made good by a token.
        let mut both = headers(SIGNATURE, "sha256=00");
        both.extend(headers(GITLAB_TOKEN, secret));
        assert!(!is_proven(secret, &both, body));
        assert!(is_proven(secret, &headers(GITLAB_TOKEN, secret), body));
        assert!(!is_proven(secret, &headers(GITLAB_TOKEN, "it's a secret to everybody"), body));
        assert!(!is_proven(secret, &HeaderMap::new(), body));
    }

    #[test]
    fn a_push_to_another_branch_is_none_of_ours() {
        let about = |body: &str, tracking_ref| is_about(body.as_bytes(), tracking_ref);
        assert!(about(r#"{"ref": "refs/heads/main"}"#, "main"));
        assert!(about(r#"{"ref": "refs/heads/main"}"#, "refs/heads/main"));
        assert!(about(r#"{"ref": "refs/tags/v1"}"#, "v1"));
        assert!(!about(r#"{"ref": "refs/heads/feature/main"}"#, "main"));
        assert!(about(r#"{"zen": "a ping"}"#, "main") && about("payload=%7B", "main"));
    }
}
