//! The chain itself: order, what is kept and for how long, and how many calls there are.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::Path,
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::any,
};
use futures::future::join_all;
use serde_json::json;
use store::secrets::Kind;

use crate::server::{backends, serve};

/// Counts, and how many there are at once at most.
#[derive(Clone, Default)]
struct Counts {
    calls: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    open_max: Arc<AtomicUsize>,
}

/// A Vault that takes its time, and knows every variable that does not begin with `no`.
async fn slow_vault(takes: Duration) -> (String, Counts) {
    let counts = Counts::default();
    let counting = counts.clone();
    let answer = async move |Path(path): Path<String>| -> Response {
        let Some(id) = path.strip_prefix("secret/data/variables/") else {
            return StatusCode::FORBIDDEN.into_response();
        };
        counting.calls.fetch_add(1, Ordering::SeqCst);
        let open = counting.open.fetch_add(1, Ordering::SeqCst) + 1;
        counting.open_max.fetch_max(open, Ordering::SeqCst);
        tokio::time::sleep(takes).await;
        counting.open.fetch_sub(1, Ordering::SeqCst);
        if id.starts_with("no") {
            return (StatusCode::NOT_FOUND, Json(json!({ "errors": [] }))).into_response();
        }
        Json(json!({ "data": { "data": { "value": id } } })).into_response()
    };
    (serve(Router::new().route("/v1/{*path}", any(answer))).await, counts)
}

#[tokio::test]
async fn the_first_that_knows_a_name_answers_and_each_that_was_asked_is_told() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("variables.json");
    fs::write(&file, r#"{"both": "of the file", "no_more": "of the file"}"#).unwrap();
    let (url, _) = slow_vault(Duration::ZERO).await;
    let given = |order: &'static str| {
        backends(&[
            ("BACKEND", order),
            ("VAULT_URL", &url),
            ("VAULT_TOKEN", "t"),
            ("VAULT_CONNECTIONS_PATH", "none"),
            ("FILES_VARIABLES_FILE", file.to_str().unwrap()),
        ])
    };
    let vault_first = given("vault,files");
    assert_eq!(vault_first.variable("both").await.unwrap().as_deref(), Some("both"));
    assert_eq!(vault_first.variable("no_more").await.unwrap().as_deref(), Some("of the file"));
    assert_eq!(given("files,vault").variable("both").await.unwrap().as_deref(), Some("of the file"));
    assert_eq!(
        vault_first.places(Kind::Variable, "x"),
        [format!("Vault at {url}, secret/data/variables/x"), format!("files, {}", file.display())]
    );
    assert_eq!(vault_first.places(Kind::Connection, "x"), Vec::<String>::new());
}

#[tokio::test]
async fn who_asks_for_one_name_at_once_shares_one_call_and_others_are_bounded() {
    let (url, counts) = slow_vault(Duration::from_millis(100)).await;
    let backends = backends(&[("BACKEND", "vault"), ("VAULT_URL", &url), ("VAULT_TOKEN", "t")]);
    let same = join_all((0..50).map(|_| backends.variable("one"))).await;
    assert!(same.iter().all(|answer| answer.as_ref().unwrap().as_deref() == Some("one")));
    assert_eq!(counts.calls.load(Ordering::SeqCst), 1);
    let names: Vec<String> = (0..40).map(|at| format!("v{at}")).collect();
    let all = join_all(names.iter().map(|name| backends.variable(name))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(counts.calls.load(Ordering::SeqCst), 41);
    assert!(counts.open_max.load(Ordering::SeqCst) <= 8);
}

#[tokio::test]
async fn an_answer_is_kept_for_a_time_and_a_new_one_is_had_after_it() {
    let (url, counts) = slow_vault(Duration::ZERO).await;
    let given = [("BACKEND", "vault"), ("VAULT_URL", url.as_str()), ("VAULT_TOKEN", "t"), ("CACHE_SECS", "1")];
    let short = backends(&given);
    for _ in 0..5 {
        short.variable("a").await.unwrap();
        short.variable("none").await.unwrap();
    }
    assert_eq!(counts.calls.load(Ordering::SeqCst), 2);
    let end = Instant::now() + Duration::from_secs(10);
    while counts.calls.load(Ordering::SeqCst) < 4 {
        assert!(Instant::now() < end, "what is kept ends");
        short.variable("a").await.unwrap();
        short.variable("none").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let never = backends(&[given[0], given[1], given[2], ("CACHE_SECS", "0")]);
    let before = counts.calls.load(Ordering::SeqCst);
    for _ in 0..3 {
        never.variable("a").await.unwrap();
    }
    assert_eq!(counts.calls.load(Ordering::SeqCst), before + 3);
}

#[tokio::test]
async fn a_server_that_hangs_costs_a_bounded_time_and_is_told_with_its_address() {
    let (url, _) = slow_vault(Duration::from_secs(600)).await;
    let given = [("BACKEND", "vault"), ("VAULT_URL", url.as_str()), ("VAULT_TOKEN", "t"), ("TIMEOUT_SECS", "1")];
    let backends = backends(&given);
    let began = Instant::now();
    let error = backends.variable("a").await.unwrap_err().to_string();
    assert!(error.contains(&url) && error.contains("no answer within 1 s"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_is_no_connection_is_told_by_its_place_and_not_shown() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("c.json");
    fs::write(&file, r#"{"bad": "s3cret", "unfinished": {"password": "s3cret"}}"#).unwrap();
    let backends = backends(&[("BACKEND", "files"), ("FILES_CONNECTIONS_FILE", file.to_str().unwrap())]);
    for id in ["bad", "unfinished"] {
        let error = backends.connection(id).await.unwrap_err().to_string();
        assert!(error.contains("c.json") && error.contains("not a connection"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
    let looked = backends.look().await;
    assert_eq!(looked, [("files".to_owned(), Ok(()))]);
    fs::remove_file(&file).unwrap();
    assert!(backends.look().await[0].1.as_ref().unwrap_err().contains("c.json"));
}
