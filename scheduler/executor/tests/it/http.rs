//! The operator `http`.

use std::collections::BTreeMap;

use link::ConnectionFields;
use model::{
    EndKind, Operator,
    operator::{Http, HttpMethod, HttpOptions, HttpPayload, HttpRequest, HttpTarget},
};
use serde_json::json;

use crate::{rig::Rig, server::Server};

fn get(url: String) -> Http {
    Http {
        request: HttpRequest {
            target: HttpTarget::Url(url),
            method: HttpMethod::Get,
            headers: BTreeMap::new(),
            payload: HttpPayload::None,
            options: HttpOptions { timeout_secs: 5.0, ..HttpOptions::default() },
        },
        response_check: None,
        response_filter: None,
        log_response: false,
    }
}

#[tokio::test]
async fn what_is_secret_in_an_address_shows_nowhere() {
    let rig = Rig::new();
    let ran = rig.run(Operator::Http(get("http://me:hunter22@127.0.0.1:1/x?api_key=k3y-of-mine".into()))).await;
    assert_eq!(ran.end.kind, EndKind::Failed);
    for shown in [&ran.end.reason, &ran.text()] {
        assert!(
            !shown.contains("hunter22") && !shown.contains("k3y-of-mine") && shown.contains("127.0.0.1"),
            "{shown}"
        );
    }
}

fn with_request(http: Http, change: impl FnOnce(&mut HttpRequest)) -> Http {
    let mut http = http;
    change(&mut http.request);
    http
}

#[tokio::test]
async fn a_connection_gives_host_login_and_headers_and_its_secrets_show_nowhere() {
    let server = Server::new(&["200 OK\n\n{\"token\": \"hunter22\", \"id\": 7, \"for\": \"auth-of-mine\"}"]).await;
    let mut rig = Rig::new();
    let fields = ConnectionFields {
        conn_id: "api".into(),
        conn_type: "http".into(),
        host: Some("127.0.0.1".into()),
        schema: None,
        login: Some("me".into()),
        password: Some("hunter22".into()),
        port: Some(i32::from(server.port)),
        extra: Some(r#"{"X-Key": "k3y-of-mine", "X-Auth": "auth-of-mine"}"#.into()),
    };
    rig.leader.connections.insert("api".into(), fields);
    let http = with_request(get(String::new()), |request| {
        request.target = HttpTarget::Connection { http_conn_id: "api".into(), endpoint: "v1/{{ ds }}".into() };
        request.method = HttpMethod::Post;
        request.headers = BTreeMap::from([("X-Run".to_owned(), "{{ run_id }}".to_owned())]);
        request.payload = HttpPayload::Json(json!({"day": "{{ ds }}", "n": 1}));
    });
    let http = Http { log_response: true, response_filter: Some("{{ response.json().id }}".into()), ..http };
    let ran = rig.run(Operator::Http(http)).await;
    assert_eq!(ran.end.kind, EndKind::Success, "{}", ran.text());
    assert_eq!(ran.xcom("return_value"), Some(&json!(7)));
    let asked = &server.asked()[0];
    for part in
        ["POST /v1/2026-01-30 ", "authorization: Basic bWU6aHVudGVyMjI=", "x-key: k3y-of-mine", "x-run: manual__1"]
    {
        assert!(asked.contains(part), "{part} in {asked}");
    }
    assert!(asked.ends_with(r#"{"day":"2026-01-30","n":1}"#), "{asked}");
    for secret in ["hunter22", "k3y-of-mine", "auth-of-mine"] {
        assert!(!ran.text().contains(secret), "{}", ran.text());
    }
}

#[tokio::test]
async fn what_it_returns_is_the_json_of_the_body_or_its_text() {
    let server = Server::new(&["200 OK\n\n[1, 2]", "200 OK\n\nplain"]).await;
    let rig = Rig::new();
    let ran = rig.run(Operator::Http(get(server.url("/")))).await;
    assert_eq!(ran.xcom("return_value"), Some(&json!([1, 2])));
    let data = HttpPayload::Data(json!({"a b": 1, "c": "{{ ds }}"}));
    let ran = rig.run(Operator::Http(with_request(get(server.url("/x")), |request| request.payload = data))).await;
    assert_eq!(ran.xcom("return_value"), Some(&json!("plain")));
    assert!(server.asked()[1].starts_with("GET /x?a+b=1&c=2026-01-30 "), "{}", server.asked()[1]);
}

#[tokio::test]
async fn a_status_that_is_an_error_is_shown_with_the_beginning_of_the_body() {
    let long = format!("404 Not Found\n\n{}", "x".repeat(600));
    let server = Server::new(&[&long]).await;
    let rig = Rig::new();
    let end = rig.run(Operator::Http(get(server.url("/gone")))).await.end;
    let expected = format!("GET {}: expected 2xx, got 404 Not Found: {}…", server.url("/gone"), "x".repeat(500));
    assert_eq!((end.kind, end.reason), (EndKind::Failed, expected));
    let lenient = with_request(get(server.url("/gone")), |request| request.options.check_response = false);
    let end = rig.run(Operator::Http(lenient)).await.end;
    assert_eq!(end.kind, EndKind::Success, "{}", end.reason);
}

#[tokio::test]
async fn a_check_that_does_not_hold_fails_the_task() {
    let server = Server::new(&["200 OK\nx-left: 0\n\n{\"ok\": false}"]).await;
    let check = |template: &str| Operator::Http(Http { response_check: Some(template.into()), ..get(server.url("/")) });
    let rig = Rig::new();
    let end = rig.run(check("{{ response.json()['ok'] }}")).await.end;
    assert_eq!(end.reason, "response_check does not hold: 200 OK: {\"ok\": false}");
    let end = rig.run(check("{{ response.status_code == 200 and response.headers['x-left'] == '0' }}")).await.end;
    assert_eq!(end.kind, EndKind::Success, "{}", end.reason);
}

#[tokio::test]
async fn what_goes_wrong_on_the_way_is_said() {
    let rig = Rig::new();
    let nobody = Server::new(&["hang"]).await;
    let slow = with_request(get(nobody.url("/")), |request| request.options.timeout_secs = 0.2);
    let end = rig.run(Operator::Http(slow)).await.end;
    assert_eq!(end.reason, format!("GET {}: no whole answer within 0.2 s (extra_options.timeout)", nobody.url("/")));
    let end = rig.run(Operator::Http(get("http://127.0.0.1:1/".into()))).await.end;
    assert!(end.reason.contains("no connection") && end.reason.contains("refused"), "{}", end.reason);
    let end = rig.run(Operator::Http(get(nobody.url("/").replace("http:", "https:")))).await.end;
    assert!(end.reason.contains("no connection") || end.reason.contains("no whole answer"), "{}", end.reason);
    let around = Server::new(&["302 Found\nlocation: /again"]).await;
    let end = rig.run(Operator::Http(with_request(get(around.url("/")), |r| r.options.max_redirects = 3))).await.end;
    assert!(end.reason.contains("too many redirects"), "{}", end.reason);
    assert_eq!(around.asked().len(), 4, "as many as were allowed");
}

#[tokio::test]
async fn a_request_that_hangs_ends_with_its_execution_timeout() {
    let server = Server::new(&["hang"]).await;
    let mut rig = Rig::new();
    rig.execution_timeout_secs = Some(0.2);
    let end = rig.run(Operator::Http(get(server.url("/")))).await.end;
    assert_eq!(end.kind, EndKind::TimedOut, "{}", end.reason);
}

#[tokio::test]
async fn headers_have_no_case_and_a_body_is_read_by_its_charset() {
    let answer = "200 OK\nX-Rate-Left: 7\nContent-Type: text/plain; charset=\"ISO-8859-1\"\n\ncafé";
    let server = Server::new(&[answer]).await;
    let rig = Rig::new();
    let filter = "{{ response.headers['X-RATE-left'] }} {{ response.headers['x-rate-left'] }} {{ response.text }}";
    let ran = rig.run(Operator::Http(Http { response_filter: Some(filter.into()), ..get(server.url("/")) })).await;
    assert_eq!(ran.xcom("return_value"), Some(&json!("7 7 café")), "{}", ran.text());
}

#[tokio::test]
async fn a_connections_proxy_and_limits_are_used_and_what_can_not_be_used_is_refused() {
    let proxy = Server::new(&["503 Busy\n\nby the proxy"]).await;
    let connection = |extra: serde_json::Value| ConnectionFields {
        conn_id: "api".into(),
        conn_type: "http".into(),
        // Nobody is there: an answer can only be the proxy's.
        host: Some("http://unreachable.test/base".into()),
        schema: None,
        login: None,
        password: None,
        port: Some(8080),
        extra: Some(extra.to_string()),
    };
    let http = with_request(get(String::new()), |request| {
        request.target = HttpTarget::Connection { http_conn_id: "api".into(), endpoint: "/v1/x".into() };
    });
    let mut rig = Rig::new();
    let extra = json!({"proxies": {"http": proxy.url("")}, "check_response": false});
    rig.leader.connections.insert("api".into(), connection(extra));
    let ran = rig.run(Operator::Http(http.clone())).await;
    assert_eq!(ran.xcom("return_value"), Some(&json!("by the proxy")), "{}", ran.text());
    assert!(proxy.asked()[0].starts_with("GET http://unreachable.test:8080/base/v1/x "), "{:?}", proxy.asked());

    let mut rig = Rig::new();
    rig.leader.connections.insert("api".into(), connection(json!({"cert": "/no/such/client.pem"})));
    let ran = rig.run(Operator::Http(http)).await;
    assert_eq!(ran.end.kind, EndKind::Failed);
    assert!(ran.end.reason.contains("/no/such/client.pem"), "{}", ran.end.reason);
}
