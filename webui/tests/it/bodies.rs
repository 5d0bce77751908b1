//! Bodies of requests that come slowly, or say that they are far too large: every route that reads one tells so, and at once.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::Server;

/// What waiting for something takes at most: less than a body that is left unread is waited for.
const WITHIN: Duration = Duration::from_secs(8);

/// Routes that read a body, by JSON and as forms: of the API, of pages, and both ways to log in.
const ROUTES: [(&str, &str, &str); 6] = [
    ("POST", "/auth/token", "application/json"),
    ("POST", "/login", "application/x-www-form-urlencoded"),
    ("POST", "/api/v2/variables", "application/json"),
    ("PATCH", "/api/v2/dags/stock_data_pipeline", "application/json"),
    ("POST", "/variables/new", "application/x-www-form-urlencoded"),
    ("POST", "/account", "application/x-www-form-urlencoded"),
];

/// What is answered to a request of which `sent` comes, and then nothing.
async fn answer(server: &Server, head: &str, sent: &str) -> String {
    let mut stream = TcpStream::connect(server.base.trim_start_matches("http://")).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = async {
        let mut buffer = [0; 4096];
        while !answer.windows(4).any(|four| four == b"\r\n\r\n") {
            let read = stream.read(&mut buffer).await.unwrap();
            assert_ne!(read, 0, "closed without an answer");
            answer.extend_from_slice(&buffer[..read]);
        }
    };
    tokio::time::timeout(WITHIN, reading).await.expect("the answer does not wait for the rest of the body");
    String::from_utf8_lossy(&answer).into_owned()
}

fn head(server: &Server, (method, path, kind): (&str, &str, &str), token: &str, length: &str) -> String {
    let (host, base) = (server.base.trim_start_matches("http://"), &server.base);
    format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\norigin: {base}\r\ncookie: _token={token}\r\ncontent-type: {kind}\r\n{length}\r\n\r\n"
    )
}

#[tokio::test]
async fn a_body_that_comes_slowly_is_told_so_by_every_route_and_holds_nothing_up() {
    let server = Server::start_with(|settings| settings.answer_time_max = Duration::from_secs(2)).await;
    let token = server.token("admin").await;
    for route in ROUTES {
        for length in ["content-length: 100", "transfer-encoding: chunked"] {
            let told = answer(&server, &head(&server, route, &token, length), "1\r\na\r\n").await;
            assert!(
                told.starts_with("HTTP/1.1 408 ") && told.contains("\r\nconnection: close\r\n"),
                "{route:?}: {told}"
            );
        }
    }
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_refused_before_any_of_it_comes() {
    let server = Server::start().await;
    let token = server.token("admin").await;
    let refused = [100_000_000_000_u64, 1_048_577].map(|bytes| ROUTES.map(|route| (route, bytes)));
    let logins = [(ROUTES[0], 16_385), (ROUTES[1], 16_385)];
    for (route, bytes) in refused.into_iter().flatten().chain(logins) {
        let told = answer(&server, &head(&server, route, &token, &format!("content-length: {bytes}")), "").await;
        assert!(told.starts_with("HTTP/1.1 413 ") && told.contains("\r\nconnection: close\r\n"), "{route:?}: {told}");
    }
}
