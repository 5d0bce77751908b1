//! A server that speaks Vault's API: KV 1 and 2, tokens that end, are renewed and revoked, AppRole and Kubernetes logins.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Request, State},
    http::{HeaderMap, Method, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::any,
};
use serde_json::{Value, json};

use crate::server::{backends, serve};

#[derive(Default)]
struct Inner {
    secrets: BTreeMap<String, Value>,
    /// Until when each token lives, and whether it can be renewed.
    tokens: BTreeMap<String, (Instant, bool)>,
    lease: Duration,
    calls: Vec<String>,
    /// What the next calls are answered with, instead.
    troubles: Vec<u16>,
    namespace: Option<String>,
}

/// The server's state, which tests look into.
#[derive(Clone, Default)]
struct Vault(Arc<Mutex<Inner>>);

impl Vault {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    fn with(secrets: &[(&str, Value)]) -> Self {
        let vault = Self::default();
        {
            let mut inner = vault.inner();
            inner.secrets = secrets.iter().map(|(path, value)| ((*path).to_owned(), value.clone())).collect();
            inner.lease = Duration::from_secs(3600);
            inner.tokens.insert("root".to_owned(), (Instant::now() + Duration::from_secs(3600), false));
        }
        vault
    }

    async fn start(&self) -> String {
        let router = Router::new().route("/v1/{*path}", any(answer)).with_state(self.clone());
        serve(router.layer(middleware::from_fn(only_vaults_callers))).await
    }

    fn calls(&self, beginning: &str) -> usize {
        self.inner().calls.iter().filter(|call| call.starts_with(beginning)).count()
    }
}

/// Vault's guard against requests that somebody was made to send.
async fn only_vaults_callers(request: Request, next: Next) -> Response {
    match request.headers().get("X-Vault-Request") {
        Some(value) if value == "true" => next.run(request).await,
        _ => errors(StatusCode::PRECONDITION_FAILED, "missing required request header"),
    }
}

fn errors(status: StatusCode, text: &str) -> Response {
    let list = if text.is_empty() { json!([]) } else { json!([text]) };
    (status, Json(json!({ "errors": list }))).into_response()
}

async fn answer(
    State(vault): State<Vault>,
    Path(path): Path<String>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut inner = vault.inner();
    inner.calls.push(format!("{method} {path}"));
    if let Some(status) = inner.troubles.pop() {
        return errors(StatusCode::from_u16(status).unwrap(), "in trouble");
    }
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    if inner.namespace != header("X-Vault-Namespace") {
        return errors(StatusCode::NOT_FOUND, "no handler for route. route entry not found.");
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if let Some(response) = log_in(&mut inner, &path, &body) {
        return response;
    }
    let token = header("X-Vault-Token").unwrap_or_default();
    let Some((end, is_renewable)) = inner.tokens.get(&token).copied().filter(|(end, _)| *end > Instant::now()) else {
        return errors(StatusCode::FORBIDDEN, "permission denied");
    };
    match path.as_str() {
        "auth/token/lookup-self" => {
            let ttl = (end - Instant::now()).as_secs();
            Json(json!({ "data": { "ttl": ttl, "renewable": is_renewable } })).into_response()
        }
        "auth/token/renew-self" if is_renewable => {
            let end = Instant::now() + inner.lease;
            inner.tokens.insert(token.clone(), (end, true));
            auth(&token, inner.lease)
        }
        "auth/token/renew-self" => errors(StatusCode::BAD_REQUEST, "lease is not renewable"),
        path if !path.starts_with("secret/") && !path.starts_with("kv1/") => {
            errors(StatusCode::NOT_FOUND, "no handler for route. route entry not found.")
        }
        path => inner
            .secrets
            .get(path)
            .map_or_else(|| errors(StatusCode::NOT_FOUND, ""), |found| Json(found.clone()).into_response()),
    }
}

fn auth(token: &str, lease: Duration) -> Response {
    Json(json!({ "auth": { "client_token": token, "lease_duration": lease.as_secs(), "renewable": true } }))
        .into_response()
}

fn log_in(inner: &mut Inner, path: &str, body: &Value) -> Option<Response> {
    let is_right = match path {
        "auth/approle/login" => body["role_id"] == "role" && body["secret_id"] == "its secret",
        "auth/pods/here/login" => body["role"] == "windlass" && body["jwt"] == "a pod's token",
        _ => return None,
    };
    if !is_right {
        return Some(errors(StatusCode::BAD_REQUEST, "invalid role or secret ID"));
    }
    let token = format!("token-{}", inner.tokens.len());
    let end = Instant::now() + inner.lease;
    inner.tokens.insert(token.clone(), (end, true));
    Some(auth(&token, inner.lease))
}

fn two(fields: Value) -> Value {
    json!({ "data": { "data": fields, "metadata": { "version": 3 } } })
}

#[tokio::test]
async fn the_second_engine_is_read_in_airflows_layout() {
    let vault = Vault::with(&[
        ("secret/data/connections/db", two(json!({ "conn_uri": "postgres://u:p%40ss@h:5433/d" }))),
        ("secret/data/connections/api", two(json!({ "conn_type": "http", "host": "h", "extra": { "a": 1 } }))),
        ("secret/data/variables/team/key", two(json!({ "value": "v" }))),
        ("secret/data/variables/gone", json!({ "data": { "data": null, "metadata": { "deletion_time": "x" } } })),
    ]);
    let url = vault.start().await;
    let backends = backends(&[("BACKEND", "vault"), ("VAULT_URL", &url), ("VAULT_TOKEN", "root")]);
    let db = backends.connection("db").await.unwrap().unwrap();
    assert_eq!((db.conn_type.as_str(), db.password.as_deref(), db.port), ("postgres", Some("p@ss"), Some(5433)));
    let api = backends.connection("api").await.unwrap().unwrap();
    assert_eq!((api.host.as_deref(), api.extra.as_deref()), (Some("h"), Some(r#"{"a":1}"#)));
    assert_eq!(backends.variable("team/key").await.unwrap().as_deref(), Some("v"));
    assert_eq!(backends.variable("gone").await.unwrap(), None);
    assert!(backends.connection("none").await.unwrap().is_none());
    assert!(backends.variable("../connections/db").await.unwrap().is_none());
    assert_eq!(vault.calls("GET secret/data/connections"), 3, "a path that leads elsewhere is not asked for");
}

#[tokio::test]
async fn the_first_engine_is_read_with_a_namespace_and_paths_of_ones_own() {
    let vault = Vault::with(&[("kv1/airflow/vars/key", json!({ "data": { "value": "v" } }))]);
    vault.inner().namespace = Some("team".to_owned());
    let url = vault.start().await;
    let given = [
        ("BACKEND", "vault"),
        ("VAULT_URL", url.as_str()),
        ("VAULT_TOKEN", "root"),
        ("VAULT_KV_VERSION", "1"),
        ("VAULT_MOUNT_POINT", "kv1"),
        ("VAULT_VARIABLES_PATH", "airflow/vars"),
        ("VAULT_CONNECTIONS_PATH", "none"),
        ("VAULT_NAMESPACE", "team"),
    ];
    let with = backends(&given);
    assert_eq!(with.variable("key").await.unwrap().as_deref(), Some("v"));
    assert!(with.connection("key").await.unwrap().is_none());
    let without = backends(&given[..7]);
    let error = without.variable("key").await.unwrap_err().to_string();
    assert!(error.contains("404") && error.contains("WINDLASS_SECRETS_VAULT_NAMESPACE"), "{error}");
}

#[tokio::test]
async fn a_role_logs_in_once_and_again_when_its_token_is_revoked() {
    let vault = Vault::with(&[
        ("secret/data/variables/a", two(json!({ "value": "1" }))),
        ("secret/data/variables/b", two(json!({ "value": "2" }))),
    ]);
    let url = vault.start().await;
    let given = [
        ("BACKEND", "vault"),
        ("VAULT_URL", url.as_str()),
        ("VAULT_AUTH", "approle"),
        ("VAULT_ROLE_ID", "role"),
        ("VAULT_SECRET_ID", "its secret"),
    ];
    let backends = backends(&given);
    let (a, b) = tokio::join!(backends.variable("a"), backends.variable("none"));
    assert_eq!((a.unwrap().as_deref(), b.unwrap()), (Some("1"), None));
    assert_eq!(vault.calls("POST auth/approle/login"), 1);
    vault.inner().tokens.clear();
    assert_eq!(backends.variable("b").await.unwrap().as_deref(), Some("2"));
    assert_eq!(vault.calls("POST auth/approle/login"), 2);
    let wrong: Vec<_> = given.iter().map(|(name, value)| (*name, value.replace("its secret", "s3cret"))).collect();
    let wrong: Vec<_> = wrong.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let error = self::backends(&wrong).variable("a").await.unwrap_err().to_string();
    assert!(error.contains("auth/approle/login failed") && error.contains("invalid role"), "{error}");
    assert!(error.contains(&url) && !error.contains("s3cret"), "{error}");
}

#[tokio::test]
async fn a_pod_logs_in_with_the_token_that_its_file_holds_now() {
    let vault = Vault::with(&[("secret/data/variables/a", two(json!({ "value": "1" })))]);
    let url = vault.start().await;
    let home = tempfile::tempdir().unwrap();
    let jwt = home.path().join("token");
    fs::write(&jwt, "an older one").unwrap();
    let backends = backends(&[
        ("BACKEND", "vault"),
        ("VAULT_URL", &url),
        ("VAULT_AUTH", "kubernetes"),
        ("VAULT_AUTH_MOUNT_POINT", "pods/here"),
        ("VAULT_KUBERNETES_ROLE", "windlass"),
        ("VAULT_KUBERNETES_JWT_FILE", jwt.to_str().unwrap()),
    ]);
    assert!(backends.variable("a").await.unwrap_err().what.contains("auth/pods/here/login failed"));
    fs::write(&jwt, "a pod's token\n").unwrap();
    assert_eq!(backends.variable("a").await.unwrap().as_deref(), Some("1"));
}

#[tokio::test]
async fn a_token_is_renewed_in_time_while_nobody_asks() {
    let vault = Vault::with(&[("secret/data/variables/a", two(json!({ "value": "1" })))]);
    {
        let mut inner = vault.inner();
        inner.lease = Duration::from_secs(3);
        inner.tokens.insert("short".to_owned(), (Instant::now() + Duration::from_secs(3), true));
    }
    let url = vault.start().await;
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("token");
    fs::write(&file, "short\n").unwrap();
    let backends =
        Arc::new(backends(&[("BACKEND", "vault"), ("VAULT_URL", &url), ("VAULT_TOKEN_FILE", file.to_str().unwrap())]));
    let kept = Arc::clone(&backends);
    let keeping = tokio::spawn(async move { kept.keep().await });
    let renewals = async {
        while vault.calls("POST auth/token/renew-self") < 3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), renewals).await.expect("it is renewed before it ends");
    assert_eq!(backends.variable("a").await.unwrap().as_deref(), Some("1"), "its first three seconds are over");
    keeping.abort();
}

#[tokio::test]
async fn a_vault_in_trouble_is_asked_again_a_few_times_and_then_left_alone_for_a_moment() {
    let vault = Vault::with(&[("secret/data/variables/a", two(json!({ "value": "1" })))]);
    let url = vault.start().await;
    let backends = backends(&[("BACKEND", "vault"), ("VAULT_URL", &url), ("VAULT_TOKEN", "root")]);
    assert!(backends.variable("b").await.unwrap().is_none(), "the token is looked at");
    vault.inner().troubles = vec![503, 429];
    assert_eq!(backends.variable("a").await.unwrap().as_deref(), Some("1"), "the third try went well");
    vault.inner().troubles = vec![503; 3];
    let error = backends.variable("c").await.unwrap_err();
    assert_eq!(error.backend, format!("Vault at {url}"));
    assert_eq!(error.place, "secret/data/variables/c");
    assert!(error.what.contains("503 (in trouble)"), "{error}");
    let asked = vault.inner().calls.len();
    assert_eq!(backends.variable("d").await.unwrap_err().what, error.what);
    assert_eq!(vault.inner().calls.len(), asked, "it was not called");
    assert_eq!(backends.variable("a").await.unwrap().as_deref(), Some("1"), "what is kept is still answered");
}

#[tokio::test]
async fn a_policy_that_forbids_is_told_and_no_reason_to_log_in_again_and_again() {
    let vault = Vault::with(&[]);
    let url = vault.start().await;
    let backends = backends(&[("BACKEND", "vault"), ("VAULT_URL", &url), ("VAULT_TOKEN", "none of its")]);
    let error = backends.variable("a").await.unwrap_err().to_string();
    assert!(error.contains("403 (permission denied)") && error.contains("policy"), "{error}");
    assert!(!error.contains("none of its"), "{error}");
    assert!(vault.inner().calls.len() <= 5, "{:?}", vault.inner().calls);
}
