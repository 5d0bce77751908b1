//! A server that speaks Secrets Manager's API and checks each signature by a computation of its own.

use std::{
    collections::BTreeMap,
    os::unix::ffi::OsStrExt as _,
    process::Command,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse as _, Response},
    routing::{any, get, put},
};
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::server::{backends, serve};

const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// What is signed of a request.
struct Signed<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    /// Names in their order, in lower case, with values.
    headers: &'a [(String, String)],
    body_sha256: &'a str,
}

/// AWS Signature Version 4, as its documentation has it. `scope` is `date/region/service/aws4_request`.
fn signature(request: &Signed<'_>, time: &str, scope: &str) -> String {
    let headers: String = request.headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let names: Vec<&str> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
    let Signed { method, path, query, body_sha256, .. } = request;
    let canonical = format!("{method}\n{path}\n{query}\n{headers}\n{}\n{body_sha256}", names.join(";"));
    let digest = hex::encode(Sha256::digest(canonical));
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
    let first = format!("AWS4{SECRET_KEY}").into_bytes();
    let key = scope.split('/').fold(first, |key, part| hmac(&key, part));
    hex::encode(hmac(&key, &to_sign))
}

#[test]
fn the_check_of_signatures_agrees_with_the_published_example() {
    let headers = [
        ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
        ("host", "iam.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let request = Signed {
        method: "GET",
        path: "/",
        query: "Action=ListUsers&Version=2010-05-08",
        headers: &headers,
        body_sha256: &hex::encode(Sha256::digest("")),
    };
    assert_eq!(
        signature(&request, "20150830T123600Z", "20150830/us-east-1/iam/aws4_request"),
        "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    );
}

/// The server's state, which tests look into.
#[derive(Clone, Default)]
struct Manager {
    secrets: Arc<BTreeMap<&'static str, Value>>,
    /// The session token that a caller must have.
    session: Option<&'static str>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Manager {
    fn with(secrets: &[(&'static str, Value)]) -> Self {
        Self { secrets: Arc::new(secrets.iter().cloned().collect()), ..Self::default() }
    }

    async fn start(&self) -> String {
        serve(Router::new().route("/", any(answer)).with_state(self.clone())).await
    }
}

fn refusal(kind: &str, words: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "__type": kind, "Message": words }))).into_response()
}

/// Why a request is not signed as it should be.
fn fault(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let authorization = header("authorization");
    let parts: BTreeMap<&str, &str> = authorization
        .strip_prefix("AWS4-HMAC-SHA256 ")?
        .split(',')
        .filter_map(|part| part.trim().split_once('='))
        .collect();
    let (id, scope) = parts.get("Credential")?.split_once('/')?;
    let names: Vec<&str> = parts.get("SignedHeaders")?.split(';').collect();
    for needed in ["host", "x-amz-date", "x-amz-target", "content-type"] {
        if !names.contains(&needed) {
            return Some(format!("{needed} is not signed"));
        }
    }
    if headers.contains_key("x-amz-security-token") && !names.contains(&"x-amz-security-token") {
        return Some("the session's token is not signed".to_owned());
    }
    let headers: Vec<(String, String)> = names.iter().map(|name| ((*name).to_owned(), header(name))).collect();
    let body_sha256 = hex::encode(Sha256::digest(body));
    let request = Signed {
        method: method.as_str(),
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        headers: &headers,
        body_sha256: &body_sha256,
    };
    let time = header("x-amz-date");
    let is_right = id == "AKID" && scope == format!("{}/eu-west-1/secretsmanager/aws4_request", &time[..8]);
    let expected = signature(&request, &time, scope);
    (!is_right || parts.get("Signature") != Some(&expected.as_str())).then(|| "it does not match".to_owned())
}

async fn answer(State(manager): State<Manager>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let signed = headers.contains_key("authorization");
    if !signed || fault(&method, &uri, &headers, &body).is_some() {
        return refusal("InvalidSignatureException", "The request signature does not match");
    }
    let session = headers.get("x-amz-security-token").map(|value| value.to_str().unwrap());
    if session != manager.session {
        return refusal("UnrecognizedClientException", "The security token is invalid");
    }
    if headers["x-amz-target"] != "secretsmanager.GetSecretValue" {
        return refusal("UnknownOperationException", "");
    }
    let body: Value = serde_json::from_slice(&body).unwrap();
    let id = body["SecretId"].as_str().unwrap().to_owned();
    manager.asked.lock().unwrap().push(id.clone());
    let missing = || refusal("ResourceNotFoundException", "Secrets Manager can't find the specified secret.");
    manager.secrets.get(id.as_str()).map_or_else(missing, |found| Json(found.clone()).into_response())
}

#[tokio::test]
async fn secrets_are_read_by_signed_requests_in_airflows_layout() {
    let rds =
        json!({"username": "me", "password": "p", "engine": "postgres", "host": "db", "port": 5432, "dbname": "d"});
    let manager = Manager::with(&[
        ("airflow/connections/uri", json!({ "SecretString": "http://u:p@h:80" })),
        ("airflow/connections/rds", json!({ "SecretString": rds.to_string() })),
        ("airflow/variables/v", json!({ "SecretString": "value" })),
        ("airflow/variables/bytes", json!({ "SecretBinary": "dmFsdWU=" })),
    ]);
    let url = manager.start().await;
    let given = [
        ("BACKEND", "aws"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ENDPOINT", url.as_str()),
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
    ];
    let right = backends(&given);
    assert_eq!(right.connection("uri").await.unwrap().unwrap().password.as_deref(), Some("p"));
    let rds = right.connection("rds").await.unwrap().unwrap();
    assert_eq!(
        (rds.conn_type.as_str(), rds.login.as_deref(), rds.schema.as_deref()),
        ("postgres", Some("me"), Some("d"))
    );
    assert_eq!(right.variable("v").await.unwrap().as_deref(), Some("value"));
    assert_eq!(right.variable("bytes").await.unwrap().as_deref(), Some("value"));
    assert!(right.variable("none").await.unwrap().is_none());
    assert!(right.variable("no name of theirs: ä").await.unwrap().is_none());
    assert_eq!(manager.asked.lock().unwrap().len(), 5, "what can be no secret's name is not asked for");

    let wrong: Vec<_> = given[..4].iter().copied().chain([("AWS_SECRET_ACCESS_KEY", "s3cret")]).collect();
    let error = backends(&wrong).variable("v").await.unwrap_err().to_string();
    assert!(error.contains("InvalidSignatureException") && error.contains("clock"), "{error}");
    assert!(error.contains(&url) && error.contains("airflow/variables/v") && !error.contains("s3cret"), "{error}");
}

/// Runs a test of this program in a process with an environment of its own.
fn run_with(test: &str, environment: &[(&str, &str)]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--ignored"]).envs(environment.iter().copied());
    // Whatever else is set is nobody's business, and may be no text.
    command.env("ODD", std::ffi::OsStr::from_bytes(&[0xff]));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_the_container_and_from_the_machine() {
    let manager = Manager {
        session: Some("the session"),
        ..Manager::with(&[("airflow/variables/v", json!({ "SecretString": "value" }))])
    };
    let url = manager.start().await;
    let role = json!({
        "Code": "Success", "Type": "AWS-HMAC", "RoleArn": "arn:aws:iam::1:role/r", "LastUpdated": "2026-01-01T00:00:00Z",
        "AccessKeyId": "AKID", "SecretAccessKey": SECRET_KEY, "Token": "the session",
        "Expiration": "2099-01-01T00:00:00Z",
    });
    let of_container = role.clone();
    let credentials = Router::new()
        .route(
            "/container",
            get(async move |headers: HeaderMap| match headers.get("authorization") {
                Some(value) if value == "pass" => Json(of_container.clone()).into_response(),
                _ => StatusCode::UNAUTHORIZED.into_response(),
            }),
        )
        .route("/latest/api/token", put(async || "a token of the machine"))
        .route("/latest/meta-data/iam/security-credentials/", get(async || "its-role"))
        .route(
            "/latest/meta-data/iam/security-credentials/{role}",
            get(async move |headers: HeaderMap| match headers.get("x-aws-ec2-metadata-token") {
                Some(value) if value == "a token of the machine" => Json(role.clone()).into_response(),
                _ => StatusCode::UNAUTHORIZED.into_response(),
            }),
        );
    let machine = serve(credentials).await;
    let container = format!("{machine}/container");
    let settings = [("WINDLASS_TEST_ENDPOINT", url.as_str()), ("HOME", "/nonexistent")];
    let of_container =
        [("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.as_str()), ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "pass")];
    let of_machine = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", machine.as_str())];
    run_with("aws::reads_with_a_role", &[settings.as_slice(), &of_container].concat());
    run_with("aws::reads_with_a_role", &[settings.as_slice(), &of_machine].concat());
    assert_eq!(manager.asked.lock().unwrap().len(), 2);
}

#[tokio::test]
#[ignore = "run by credentials_come_from_the_container_and_from_the_machine, with an environment"]
async fn reads_with_a_role() {
    let url = std::env::var("WINDLASS_TEST_ENDPOINT").unwrap();
    let backends = backends(&[("BACKEND", "aws"), ("AWS_REGION", "eu-west-1"), ("AWS_ENDPOINT", &url)]);
    assert_eq!(backends.variable("v").await.unwrap().as_deref(), Some("value"));
}
