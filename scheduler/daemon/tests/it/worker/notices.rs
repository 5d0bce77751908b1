//! Callbacks with real parts: an HTTP server, an SMTP server, bash and Python on this machine.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use link::{ConnectionFields, FetchItem, FetchKey, Fetched, FromWorker, Notification, ToWorker, Told};
use model::{
    AttemptId, Callback, NotificationId,
    callback::{Email, Slack},
    operator::{Bash, HttpMethod, HttpOptions, HttpPayload, HttpRequest, HttpTarget, PythonCallable, Returns},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::leader::{Leader, Place, bash};

/// What a server has heard.
type Heard = mpsc::Receiver<String>;

/// An HTTP server that answers each request with a status and a body, and tells what it was asked.
fn http(status: u16, body: &'static str) -> (u16, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
                    break;
                }
                if let Some(number) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = number.trim().parse().unwrap();
                }
                head += &line;
            }
            let mut content = vec![0; length];
            stream.read_exact(&mut content).unwrap();
            let whole = format!("{head}\r\n{}", String::from_utf8(content).unwrap());
            let answer =
                format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            if tell.send(whole).is_err() {
                return;
            }
        }
    });
    (port, heard)
}

/// An SMTP server that takes every mail, and tells its commands and its text.
fn smtp() -> (u16, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let text = take_mail(stream.unwrap());
            if tell.send(text).is_err() {
                return;
            }
        }
    });
    (port, heard)
}

fn take_mail(mut stream: TcpStream) -> String {
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut whole = String::new();
    stream.write_all(b"220 ready\r\n").unwrap();
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).unwrap() == 0 {
            return whole;
        }
        whole += &line;
        let word = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        match word.as_str() {
            "DATA" => {
                stream.write_all(b"354 go on\r\n").unwrap();
                loop {
                    let mut line = String::new();
                    lines.read_line(&mut line).unwrap();
                    if line == ".\r\n" {
                        break;
                    }
                    whole += &line;
                }
                stream.write_all(b"250 taken\r\n").unwrap();
            }
            "EHLO" => stream.write_all(b"250-test\r\n250 AUTH PLAIN LOGIN\r\n").unwrap(),
            "AUTH" => stream.write_all(b"235 welcome\r\n").unwrap(),
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").unwrap();
                return whole;
            }
            _ => stream.write_all(b"250 ok\r\n").unwrap(),
        }
    }
}

fn connection(conn_type: &str, host: &str, port: Option<u16>, secret: &str, extra: &str) -> ConnectionFields {
    ConnectionFields {
        conn_id: "c".into(),
        conn_type: conn_type.into(),
        host: (!host.is_empty()).then(|| host.into()),
        schema: None,
        login: (conn_type == "smtp").then(|| "robot@example.com".into()),
        password: Some(secret.into()),
        port: port.map(i32::from),
        extra: Some(extra.into()),
    }
}

fn notification(callback: Callback) -> Notification {
    let facts = json!({"id": "n", "event": "failure", "summary": "Task t of DAG d has failed: it's $(broken)", "task_id": "t",
        "reason": "it's $(broken)", "exception": "it's $(broken)", "at": "2026-01-30T00:00:00Z", "url": "/dags/d", "task_state": "failed",
        "run_state": "running"});
    let mut context = bash("true").context;
    context.macros.insert("notification".into(), facts);
    context.macros.insert("event".into(), "failure".into());
    context.macros.insert("reason".into(), "it's $(broken)".into());
    context.macros.insert("exception".into(), "it's $(broken)".into());
    Notification {
        notification: NotificationId(Uuid::from_u128(7)),
        attempt: AttemptId(Uuid::new_v4()),
        ti: bash("true").ti,
        context,
        callback,
        files: BTreeMap::new(),
        timeout_secs: 20.0,
    }
}

/// Lets the worker carry one out with the connection and the files that the test has.
async fn carry_out(leader: &mut Leader, notification: Notification, has: &[(FetchKey, FetchItem)]) -> (Told, String) {
    leader.send(ToWorker::Notify { id: 3, notification: Box::new(notification) }).await;
    loop {
        let fits = |message| match message {
            FromWorker::Notified { id: 3, told, message } => Some(Ok((told, message))),
            FromWorker::Fetch { id, key, .. } => Some(Err((id, key))),
            _ => None,
        };
        leader.answers = false;
        match leader.until("what has come of a notification", fits).await {
            Ok(done) => return done,
            Err((id, key)) => {
                let found = has.iter().find(|(known, _)| *known == key).map(|(_, item)| item.clone());
                let item = found.unwrap_or_else(|| FetchItem::Missing(format!("the test has no {key:?}")));
                leader.send(ToWorker::Fetched(Fetched { id, item })).await;
            }
        }
    }
}

fn webhook(url: String) -> Callback {
    Callback::Webhook(HttpRequest {
        target: HttpTarget::Url(url),
        method: HttpMethod::Post,
        headers: BTreeMap::new(),
        payload: HttpPayload::None,
        options: HttpOptions::default(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_has_an_id_and_the_facts_and_is_tried_again_when_it_is_refused() {
    let mut place = Place::new();
    let worker = place.worker();
    let mut leader = place.accept().await;
    assert!(leader.hello.notifies);
    let (port, heard) = http(200, "thanks");
    let done = carry_out(&mut leader, notification(webhook(format!("http://127.0.0.1:{port}/hook"))), &[]).await;
    assert_eq!(done.0, Told::Yes, "{}", done.1);
    let request = heard.recv().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /hook "), "{head}");
    let head = head.to_ascii_lowercase();
    assert!(head.contains("idempotency-key: 00000000-0000-0000-0000-000000000007"), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    let facts: Value = serde_json::from_str(body).unwrap();
    assert_eq!((facts["event"].as_str(), facts["reason"].as_str()), (Some("failure"), Some("it's $(broken)")));
    let (port, _heard) = http(503, "later");
    let (told, message) = carry_out(&mut leader, notification(webhook(format!("http://127.0.0.1:{port}/"))), &[]).await;
    assert_eq!(told, Told::NotNow);
    assert!(message.contains("503"), "{message}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_gets_its_json_and_its_secret_shows_nowhere() {
    let mut place = Place::new();
    let worker = place.worker();
    let mut leader = place.accept().await;
    let slack = Slack {
        slack_conn_id: "c".into(),
        text: None,
        channel: Some("#data".into()),
        username: None,
        blocks: Some(json!([{"text": "{{ event }}"}])),
        attachments: None,
    };
    let (port, heard) = http(200, "ok");
    let fields = connection("slackwebhook", "http://127.0.0.1", Some(port), "T0/B0/s3cretpart", "");
    let has = [(FetchKey::Connection("c".into()), FetchItem::Connection(Box::new(fields)))];
    let done = carry_out(&mut leader, notification(Callback::Slack(slack.clone())), &has).await;
    assert_eq!(done.0, Told::Yes, "{}", done.1);
    let request = heard.recv().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /T0/B0/s3cretpart "), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["text"], "Task t of DAG d has failed: it's $(broken)");
    assert_eq!((&body["channel"], &body["blocks"][0]["text"]), (&json!("#data"), &json!("failure")));
    let (port, _heard) = http(404, "no_service");
    let fields = connection("slackwebhook", "http://127.0.0.1", Some(port), "T0/B0/s3cretpart", "");
    let has = [(FetchKey::Connection("c".into()), FetchItem::Connection(Box::new(fields)))];
    let (told, message) = carry_out(&mut leader, notification(Callback::Slack(slack)), &has).await;
    assert_eq!(told, Told::NotNow);
    assert!(message.contains("404") && !message.contains("s3cretpart"), "{message}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_goes_to_its_server_with_the_facts() {
    let mut place = Place::new();
    let worker = place.worker();
    let mut leader = place.accept().await;
    let (port, heard) = smtp();
    let fields =
        connection("smtp", "127.0.0.1", Some(port), "s3cretmail", "{\"disable_ssl\": true, \"disable_tls\": true}");
    let has = [(FetchKey::Connection("smtp_default".into()), FetchItem::Connection(Box::new(fields)))];
    let mail = Email::with_facts(vec!["ann@example.com".into(), "{{ 'bob@example.com' }}".into()]);
    let done = carry_out(&mut leader, notification(Callback::Email(mail)), &has).await;
    assert_eq!(done.0, Told::Yes, "{}", done.1);
    let text = heard.recv().unwrap();
    for part in [
        "MAIL FROM:<robot@example.com>",
        "RCPT TO:<ann@example.com>",
        "RCPT TO:<bob@example.com>",
        "Subject: Windlass alert: Task t of DAG d has failed",
        "Message-ID: <00000000-0000-0000-0000-000000000007@windlass>",
        "reason: it's $(broken)",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    // Nobody listens there any more, and nothing of the connection's secret is said.
    let fields =
        connection("smtp", "127.0.0.1", Some(1), "s3cretmail", "{\"disable_ssl\": true, \"disable_tls\": true}");
    let has = [(FetchKey::Connection("smtp_default".into()), FetchItem::Connection(Box::new(fields)))];
    let mail = Email::with_facts(vec!["ann@example.com".into()]);
    let (told, message) = carry_out(&mut leader, notification(Callback::Email(mail)), &has).await;
    assert_eq!(told, Told::NotNow);
    assert!(message.contains("mail by 127.0.0.1") && !message.contains("s3cretmail"), "{message}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_once_and_what_it_is_told_is_no_code() {
    let mut place = Place::new();
    let worker = place.worker();
    let mut leader = place.accept().await;
    let out = place.dir.path().join("out");
    let command = |bash_command: String| {
        Callback::Command(Bash {
            bash_command,
            env: BTreeMap::new(),
            pass_env: Vec::new(),
            append_env: false,
            cwd: None,
            skip_on_exit_code: Vec::new(),
        })
    };
    let text = format!("echo {{{{ event }}}} {{{{ reason }}}} > {}", out.display());
    let done = carry_out(&mut leader, notification(command(text)), &[]).await;
    assert_eq!(done.0, Told::Yes, "{}", done.1);
    assert_eq!(std::fs::read_to_string(out).unwrap(), "failure it's $(broken)\n");
    let (told, message) = carry_out(&mut leader, notification(command("echo no >&2; exit 3".into())), &[]).await;
    assert_eq!(told, Told::No, "what has run is not run again");
    assert!(message.contains("exit code 3"), "{message}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_is_given_the_context_and_a_notifier_is_made_first() {
    const CODE: &str = "
import json
from airflow.sdk.bases.notifier import BaseNotifier

def failed(context, out, colour='red'):
    ti = context['task_instance']
    with open(out, 'w') as file:
        json.dump([ti.task_id, ti.state, ti.log_url, str(context['exception']), type(context['exception']).__name__,
                   context['reason'], context['run_id'], context['dag_run'].state, colour], file)

class Note(BaseNotifier):
    def __init__(self, out):
        self.out = out
    def notify(self, context):
        failed(context, self.out, 'blue')
";
    let mut place = Place::new();
    let worker = place.worker();
    let mut leader = place.accept().await;
    let out = place.dir.path().join("out");
    for (function, colour) in [("failed", "red"), ("Note", "blue")] {
        let python = PythonCallable {
            file: "alerts.py".into(),
            function: function.into(),
            op_args: Vec::new(),
            op_kwargs: serde_json::Map::from_iter([("out".to_owned(), json!(out))]),
            templates_dict: None,
            returns: Returns::Value,
            env: BTreeMap::new(),
            pass_env: Vec::new(),
            python_bin: None,
        };
        let mut sent = notification(Callback::Python(python));
        sent.files.insert("alerts.py".into(), "00".into());
        let has = [(FetchKey::File("00".into()), FetchItem::File(CODE.as_bytes().to_vec()))];
        let done = carry_out(&mut leader, sent, &has).await;
        assert_eq!(done.0, Told::Yes, "{}", done.1);
        let said: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
        let expected = json!([
            "t",
            "failed",
            "/dags/d",
            "it's $(broken)",
            "AirflowException",
            "it's $(broken)",
            "r",
            "running",
            colour
        ]);
        assert_eq!(said, expected);
    }
    worker.stop().await;
}
