//! Logins by an identity provider that is made for the test: it checks what it is sent, and errs when it is told to.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Form, Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Url;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use store::users;
use windlass_webui::{LocalLogins, Oidc, OidcSettings};

use crate::support::{PASSWORD, Server, client};

/// What the provider is asked to remember, and how it answers.
#[derive(Default)]
struct Inner {
    issuer: String,
    redirect_uri: String,
    /// What each code stands for.
    codes: BTreeMap<String, BTreeMap<String, String>>,
    /// What is told of the person.
    person: Value,
    /// Which key signs, of those that are published.
    key_id: String,
    keys_read: usize,
    is_down: bool,
}

#[derive(Clone)]
struct Provider(Arc<Mutex<Inner>>, EncodingKey, Value);

impl Provider {
    async fn start() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let point = pair.public_key().as_ref().to_vec();
        let part = |range: std::ops::Range<usize>| BASE64_URL_SAFE_NO_PAD.encode(&point[range]);
        let key = json!({"kty": "EC", "crv": "P-256", "kid": "one", "x": part(1..33), "y": part(33..65)});
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let person = json!({"sub": "4711", "preferred_username": "ann", "groups": ["data-admins"]});
        let inner = Inner { issuer, person, key_id: "one".to_owned(), ..Inner::default() };
        let provider = Self(Arc::new(Mutex::new(inner)), EncodingKey::from_ec_der(pkcs8.as_ref()), key);
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(document))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        provider
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.0.lock().unwrap());
    }

    fn is(&self, person: Value) {
        self.change(|inner| inner.person = person);
    }

    /// What a person at the provider does: says yes. Answers where the browser is sent.
    fn agree(&self, sent: &Url) -> String {
        let asked: BTreeMap<String, String> = sent.query_pairs().into_owned().collect();
        assert_eq!((asked["response_type"].as_str(), asked["client_id"].as_str()), ("code", "windlass"));
        assert_eq!(asked["code_challenge_method"], "S256");
        assert!(asked["scope"].split(' ').any(|scope| scope == "openid"));
        let mut inner = self.0.lock().unwrap();
        assert_eq!(asked["redirect_uri"], inner.redirect_uri, "the setting decides, not the Host header");
        let code = format!("code-{}", inner.codes.len());
        let back = format!("/auth/oidc/callback?code={code}&state={}&iss={}", asked["state"], inner.issuer);
        inner.codes.insert(code, asked);
        back
    }
}

async fn document(State(provider): State<Provider>) -> Response {
    let inner = provider.0.lock().unwrap();
    if inner.is_down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let issuer = &inner.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize?tenant=one"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
    }))
    .into_response()
}

async fn keys(State(provider): State<Provider>) -> Json<Value> {
    provider.change(|inner| inner.keys_read += 1);
    Json(json!({ "keys": [provider.2] }))
}

async fn token(
    State(provider): State<Provider>,
    headers: HeaderMap,
    Form(form): Form<BTreeMap<String, String>>,
) -> Response {
    let refused = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    let expected = format!("Basic {}", BASE64_STANDARD.encode("windlass:s3cr%25t"));
    if headers["authorization"] != expected {
        return (StatusCode::UNAUTHORIZED, Json(json!({ "error": "invalid_client" }))).into_response();
    }
    let mut inner = provider.0.lock().unwrap();
    let Some(asked) = inner.codes.remove(&form["code"]) else { return refused("invalid_grant") };
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"]));
    if challenge != asked["code_challenge"] || form["redirect_uri"] != asked["redirect_uri"] {
        return refused("invalid_grant");
    }
    let now = chrono::Utc::now().timestamp();
    let mut claims = json!({
        "iss": inner.issuer, "aud": "windlass", "nonce": asked["nonce"], "iat": now, "exp": now + 60,
    });
    claims.as_object_mut().unwrap().extend(inner.person.as_object().unwrap().clone());
    let header = Header { kid: Some(inner.key_id.clone()), ..Header::new(Algorithm::ES256) };
    let id_token = jsonwebtoken::encode(&header, &claims, &provider.1).unwrap();
    Json(json!({ "id_token": id_token, "access_token": "a", "token_type": "Bearer" })).into_response()
}

/// A server whose people come from the provider, and that is reached under another name than it listens on.
async fn server(provider: &Provider, logins: LocalLogins) -> Server {
    let issuer = provider.0.lock().unwrap().issuer.clone();
    let settings = OidcSettings::read(&|name| {
        let value = match name {
            "WINDLASS_OIDC_ISSUER" => issuer.as_str(),
            "WINDLASS_OIDC_CLIENT_ID" => "windlass",
            "WINDLASS_OIDC_CLIENT_SECRET" => "s3cr%t",
            "WINDLASS_OIDC_ROLES" => "data-admins:Admin,people:Viewer",
            "WINDLASS_OIDC_NAME" => "Example <b>Login</b>",
            "WINDLASS_BASE_URL" => "https://windlass.example.com",
            _ => return None,
        };
        Some(value.to_owned())
    });
    provider.change(|inner| "https://windlass.example.com/auth/oidc/callback".clone_into(&mut inner.redirect_uri));
    let oidc = Arc::new(Oidc::new(settings.unwrap().unwrap()).unwrap());
    Server::start_with(move |settings| {
        settings.oidc = Some(oidc);
        settings.local_logins = logins;
    })
    .await
}

/// An answer with the parts that are looked at.
struct Answer {
    status: u16,
    location: String,
    cookies: Vec<String>,
    text: String,
}

impl Answer {
    fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.iter().find_map(|line| line.strip_prefix(&format!("{name}=")))
    }
}

async fn get_with(server: &Server, path: &str, cookie: &str) -> Answer {
    let request = client().get(server.url(path)).header("cookie", cookie).header("host", "evil.example");
    let answer = request.send().await.unwrap();
    let header = |name: &str| answer.headers().get_all(name).iter().map(|value| value.to_str().unwrap().to_owned());
    let cookies = header("set-cookie").collect();
    let location = header("location").next().unwrap_or_default();
    Answer { status: answer.status().as_u16(), location, cookies, text: answer.text().await.unwrap() }
}

/// The way to the provider and back: what the browser takes along, and where it is sent.
async fn begin(server: &Server, provider: &Provider, next: &str) -> (String, String) {
    let answer = get_with(server, &format!("/auth/oidc/login?next={next}"), "").await;
    assert_eq!(answer.status, 303, "{}", answer.text);
    let cookie = answer.cookie("_oidc").unwrap();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Max-Age=600"),
        "{cookie}"
    );
    let cookie = format!("_oidc={}", cookie.split(';').next().unwrap());
    (cookie, provider.agree(&answer.location.parse().unwrap()))
}

async fn log_in(server: &Server, provider: &Provider) -> Answer {
    let (cookie, back) = begin(server, provider, "/runs").await;
    get_with(server, &back, &cookie).await
}

/// Lines of the audit log: who and what.
async fn audit(server: &Server) -> Vec<(String, String)> {
    let query = "SELECT who, action FROM audit_log WHERE action IN ('login_oidc', 'login_failed', 'create_user', \
                 'update_user') ORDER BY id";
    sqlx::query_as(query).fetch_all(&server.pool).await.unwrap()
}

#[tokio::test]
async fn somebody_of_the_provider_is_logged_in_and_made_a_user_once() {
    let provider = Provider::start().await;
    let server = server(&provider, LocalLogins::Taken).await;
    let page = get_with(&server, "/login?next=/runs", "").await.text.replace("&#x2F;", "/");
    assert!(page.contains("/auth/oidc/login?next=%2Fruns") && page.contains("Example &lt;b&gt;"), "{page}");
    assert!(page.contains("name=\"password\""), "{page}");

    let answer = log_in(&server, &provider).await;
    assert_eq!((answer.status, answer.location.as_str()), (303, "/runs"), "{}", answer.text);
    assert!(answer.cookie("_oidc").unwrap().contains("Max-Age=0"), "it is good for one way back");
    let token = answer.cookie("_token").unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(server.page(&token, "/users").await.0, 200, "data-admins are Admin");
    assert!(server.page(&token, "/users").await.1.contains("ann"));

    provider.is(json!({"sub": "4711", "preferred_username": "ann.new", "groups": ["people"]}));
    let again = log_in(&server, &provider).await;
    let token_of_viewer = again.cookie("_token").unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(server.page(&token_of_viewer, "/users").await.0, 403, "people are Viewer");
    assert_eq!(server.page(&token_of_viewer, "/runs").await.0, 200);
    let all = users::page(&server.pool, "").await.unwrap();
    let names: Vec<&str> =
        all.iter().map(|user| user.username.as_str()).filter(|name| name.starts_with("ann")).collect();
    assert_eq!(names, ["ann.new"], "the subject is who it is, not the name");
    let expected =
        [("ann", "create_user"), ("ann", "login_oidc"), ("ann.new", "update_user"), ("ann.new", "login_oidc")];
    assert_eq!(audit(&server).await, expected.map(|(who, action)| (who.to_owned(), action.to_owned())));
}

#[tokio::test]
async fn a_user_of_the_provider_has_no_password_and_takes_nobodys_name() {
    let provider = Provider::start().await;
    let server = server(&provider, LocalLogins::Taken).await;
    assert_eq!(log_in(&server, &provider).await.status, 303);
    users::set_password(&server.pool, "test".into(), "ann", PASSWORD).await.unwrap();
    let login = json!({"username": "ann", "password": PASSWORD});
    let answer = client().post(server.url("/auth/token")).json(&login).send().await.unwrap();
    assert_eq!(answer.status(), 401, "not even with one that was set");

    for sub in ["1", "2"] {
        provider.is(json!({"sub": sub, "preferred_username": "viewer", "groups": ["data-admins"]}));
        let refused = log_in(&server, &provider).await;
        assert_eq!(refused.status, 403);
        assert!(refused.text.contains("another user") && refused.cookie("_token").is_none(), "{}", refused.text);
    }
    provider.is(json!({"sub": "3", "preferred_username": "ann", "groups": ["data-admins"]}));
    assert_eq!(log_in(&server, &provider).await.status, 403, "somebody else of the provider has it");
    provider.is(json!({"sub": "4", "preferred_username": "a<b>\n", "groups": ["data-admins"]}));
    let odd = log_in(&server, &provider).await;
    assert!(odd.status == 403 && !odd.text.contains("<b>"), "{}", odd.text);
    let viewer = server.token("viewer").await;
    assert_eq!(server.page(&viewer, "/users").await.0, 403, "the local user is who it was");
}

#[tokio::test]
async fn nobody_without_a_group_or_with_a_token_that_is_not_right_gets_in() {
    let provider = Provider::start().await;
    let server = server(&provider, LocalLogins::Taken).await;
    for (person, why) in [
        (json!({"sub": "1", "preferred_username": "cyd", "groups": ["guests"]}), "in no group"),
        (json!({"sub": "1", "preferred_username": "cyd"}), "in no group"),
        (json!({"sub": "1", "groups": ["people"]}), "WINDLASS_OIDC_USERNAME_CLAIM"),
        (json!({"sub": "1", "preferred_username": "cyd", "groups": ["people"], "nonce": "x"}), "another login"),
        (json!({"sub": "1", "preferred_username": "cyd", "groups": ["people"], "aud": "x"}), "refused"),
        (json!({"sub": "1", "preferred_username": "cyd", "groups": ["people"], "exp": 1}), "refused"),
        (json!({"sub": "1", "preferred_username": "cyd", "groups": ["people"], "iss": "https://x"}), "refused"),
    ] {
        provider.is(person.clone());
        let answer = log_in(&server, &provider).await;
        assert_eq!(answer.status, 403, "{person}");
        assert!(answer.text.contains(why) && answer.cookie("_token").is_none(), "{person}: {}", answer.text);
    }
    let lines = audit(&server).await;
    assert!(lines.len() == 7 && lines.iter().all(|(_, action)| action == "login_failed"), "{lines:?}");
    assert!(users::page(&server.pool, "").await.unwrap().iter().all(|user| user.username != "cyd"));
}

#[tokio::test]
async fn the_way_back_is_for_the_browser_that_began_and_for_once() {
    let provider = Provider::start().await;
    let server = server(&provider, LocalLogins::Taken).await;
    let (cookie, back) = begin(&server, &provider, "/runs").await;
    let (other, _) = begin(&server, &provider, "/runs").await;
    let without_state = back.split("&state=").next().unwrap().to_owned();
    let of_another = back.split("&iss=").next().unwrap().to_owned() + "&iss=https://evil.example";
    for (path, cookie) in [
        (&back, ""),
        (&back, other.as_str()),
        (&back, "_oidc=forged"),
        (&without_state, cookie.as_str()),
        (&of_another, cookie.as_str()),
    ] {
        let answer = get_with(&server, path, cookie).await;
        assert_eq!(answer.status, 403, "{path} {cookie}");
        assert!(answer.cookie("_token").is_none());
    }
    assert_eq!(get_with(&server, &back, &cookie).await.status, 303);
    let replayed = get_with(&server, &back, &cookie).await;
    assert!(replayed.status == 403 && replayed.text.contains("does not take the code"), "{}", replayed.text);

    let (cookie, back) = begin(&server, &provider, "/runs").await;
    let state = back.split("&state=").nth(1).unwrap().split('&').next().unwrap();
    let denied = format!("/auth/oidc/callback?state={state}&error=access_denied&error_description=%3Cscript%3E");
    let answer = get_with(&server, &denied, &cookie).await;
    assert!(answer.status == 403 && answer.text.contains("access_denied &lt;script&gt;"), "{}", answer.text);
}

#[tokio::test]
async fn whoever_comes_with_made_up_answers_is_told_to_wait_and_fills_no_log() {
    let provider = Provider::start().await;
    let server = server(&provider, LocalLogins::Taken).await;
    let again = async |cookie: &str| {
        let mut seen = Vec::new();
        for _ in 0..15 {
            seen.push(get_with(&server, "/auth/oidc/callback?code=x&state=y", cookie).await.status);
        }
        seen
    };
    // Any page can send any browser here: that is no attempt to log in, and keeps nobody behind the same address out.
    assert_eq!(again("").await, [403; 15]);
    assert_eq!(again("_oidc=x").await, [403; 15]);
    assert_eq!(audit(&server).await.len(), 0);
    let (cookie, _) = begin(&server, &provider, "/runs").await;
    assert_eq!(again(&cookie).await, [[403; 10].as_slice(), &[429; 5]].concat());
    assert_eq!(audit(&server).await.len(), 10);
    let (cookie, back) = begin(&server, &provider, "/runs").await;
    assert_eq!(get_with(&server, &back, &cookie).await.status, 303, "another login from there goes on");
}

#[tokio::test]
async fn after_the_login_one_comes_to_a_page_of_ours_and_nowhere_else() {
    let provider = Provider::start().await;
    let server = server(&provider, LocalLogins::Taken).await;
    for (next, comes_to) in [
        ("/dags?tags=a", "/dags?tags=a"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/%5Cevil.example", "/"),
        ("/auth/logout", "/"),
    ] {
        let (cookie, back) = begin(&server, &provider, &next.replace('?', "%3F")).await;
        assert_eq!(get_with(&server, &back, &cookie).await.location, comes_to, "{next}");
    }
}

#[tokio::test]
async fn a_provider_that_is_down_is_told_and_found_again() {
    let provider = Provider::start().await;
    let server = server(&provider, LocalLogins::Taken).await;
    provider.change(|inner| inner.is_down = true);
    let answer = get_with(&server, "/auth/oidc/login", "").await;
    assert!(answer.status == 502 && answer.text.contains("answered 503"), "{}", answer.text);
    assert!(answer.text.contains("name=\"password\""), "local logins go on");
    provider.change(|inner| inner.is_down = false);
    assert_eq!(log_in(&server, &provider).await.status, 303);
}

#[tokio::test]
async fn keys_are_not_read_again_for_everybody_who_comes_with_an_unknown_one() {
    let provider = Provider::start().await;
    let server = server(&provider, LocalLogins::Taken).await;
    assert_eq!(log_in(&server, &provider).await.status, 303);
    provider.change(|inner| "two".clone_into(&mut inner.key_id));
    for _ in 0..5 {
        let answer = log_in(&server, &provider).await;
        assert!(answer.status == 403 && answer.text.contains("does not publish"), "{}", answer.text);
    }
    assert_eq!(provider.0.lock().unwrap().keys_read, 1);
}

#[tokio::test]
async fn passwords_can_be_switched_off() {
    let provider = Provider::start().await;
    let server = server(&provider, LocalLogins::Refused).await;
    let page = get_with(&server, "/login", "").await.text.replace("&#x2F;", "/");
    assert!(page.contains("/auth/oidc/login") && !page.contains("password"), "{page}");
    let login = json!({"username": "admin", "password": PASSWORD});
    for path in ["/auth/token", "/auth/token/cli"] {
        let answer = client().post(server.url(path)).json(&login).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{path}");
    }
    let form = client().post(server.url("/login")).header("origin", &server.base).form(&login).send().await.unwrap();
    assert_eq!(form.status(), 403);
    assert_eq!(log_in(&server, &provider).await.status, 303);
}

#[tokio::test]
async fn without_a_provider_there_is_no_way_to_it() {
    let server = Server::start().await;
    assert!(!get_with(&server, "/login", "").await.text.contains("oidc"));
    for path in ["/auth/oidc/login", "/auth/oidc/callback?code=x&state=y"] {
        assert_eq!(get_with(&server, path, "").await.status, 404, "{path}");
    }
}
