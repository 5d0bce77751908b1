//! Tries of connections: what works, what does not, and what is never said.

use link::ConnectionFields;
use serde_json::json;
use windlass_executor::trial::try_connection;

use crate::{rig::Rig, server::Server, sql::with_database};

fn http(host: &str) -> ConnectionFields {
    ConnectionFields {
        conn_id: "api".to_owned(),
        conn_type: "http".to_owned(),
        host: Some(host.to_owned()),
        schema: None,
        login: Some("me".to_owned()),
        password: Some("canary-password".to_owned()),
        port: None,
        extra: Some(json!({"x-token": "canary-token"}).to_string()),
    }
}

#[tokio::test]
async fn a_database_is_tried_by_a_question_and_a_wrong_password_is_not_said() {
    let rig = with_database().await;
    let good = rig.leader.connections["pg"].clone();
    let tried = try_connection(&rig.context(), good.clone()).await;
    assert!(tried.works && tried.message == "Connection successfully tested", "{tried:?}");
    let nowhere = ConnectionFields {
        host: Some("127.0.0.1".to_owned()),
        port: Some(1),
        password: Some("canary-password".to_owned()),
        ..good.clone()
    };
    let tried = try_connection(&rig.context(), nowhere).await;
    assert!(!tried.works && !tried.message.contains("canary"), "{tried:?}");
    let missing = ConnectionFields { schema: Some("canary_no_such_database".to_owned()), ..good };
    let tried = try_connection(&rig.context(), missing).await;
    assert!(!tried.works && tried.message.contains("does not exist"), "{tried:?}");
    // What takes its time to end is answered before it has.
    let began = std::time::Instant::now();
    loop {
        let left = std::fs::read_dir(rig.dir.path().join("tmp")).unwrap();
        let left: Vec<_> =
            left.map(|entry| entry.unwrap().path()).filter(|path| path.join("log.jsonl").exists()).collect();
        if left.is_empty() {
            break;
        }
        assert!(began.elapsed().as_secs() < 60, "{left:?}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_server_is_tried_by_a_request_as_a_task_would_make_it() {
    let rig = Rig::new();
    let server = Server::new(&["200 OK\n\n{}", "401 Unauthorized\n\nwho are you, canary-token?"]).await;
    let tried = try_connection(&rig.context(), http(&server.url(""))).await;
    assert!(tried.works, "{tried:?}");
    let tried = try_connection(&rig.context(), http(&server.url(""))).await;
    assert!(!tried.works && tried.message.contains("401") && !tried.message.contains("canary-"), "{tried:?}");
    let tried = try_connection(&rig.context(), http("http://127.0.0.1:1")).await;
    assert!(!tried.works && tried.message.contains("no connection"), "{tried:?}");
}

#[tokio::test]
async fn a_type_that_no_task_uses_is_named_with_those_that_can_be_tried() {
    let rig = Rig::new();
    let unknown = ConnectionFields { conn_type: "aws".to_owned(), ..http("s3") };
    let tried = try_connection(&rig.context(), unknown).await;
    assert!(!tried.works && tried.message.contains("\"aws\"") && tried.message.contains("postgres"), "{tried:?}");
}

#[tokio::test]
async fn what_does_not_answer_is_waited_for_no_longer_than_its_limit() {
    let rig = Rig::new();
    let server = Server::new(&["hang"]).await;
    for conn_type in ["http", "trino"] {
        let began = std::time::Instant::now();
        let host = if conn_type == "http" { server.url("") } else { "127.0.0.1".to_owned() };
        let port = (conn_type == "trino").then_some(i32::from(server.port));
        let silent =
            ConnectionFields { conn_type: conn_type.to_owned(), password: None, extra: None, port, ..http(&host) };
        let tried = try_connection(&rig.context(), silent).await;
        assert!(!tried.works && began.elapsed().as_secs() <= 13, "{tried:?} after {:?}", began.elapsed());
    }
}
