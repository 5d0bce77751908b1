//! What one client does to the server, it does to no other: logins, slow connections, streams; and what people did, and
//! only that, is told.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use windlass_webui::CookieScope;

use crate::support::{PASSWORD, RUN, Server, client};

/// What waiting for something takes at most.
const WITHIN: Duration = Duration::from_secs(60);

fn run_path() -> String {
    format!("/dags/stock_data_pipeline/dagRuns/{}", RUN.replace('+', "%2B"))
}

async fn try_login(server: &Server, from: &str, user: &str, password: &str) -> u16 {
    let login = json!({"username": user, "password": password});
    loop {
        let request = shared().post(server.url("/auth/token")).header("x-forwarded-for", from).json(&login);
        match request.send().await {
            Ok(answer) => return answer.status().as_u16(),
            // The system takes so many new connections at once and no more.
            Err(error) if error.is_connect() => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// One client for many requests at once: each of its own would need file handles of its own.
fn shared() -> &'static reqwest::Client {
    static CLIENT: std::sync::OnceLock<reqwest::Client> = std::sync::OnceLock::new();
    CLIENT.get_or_init(client)
}

/// Resident memory of this process, in MiB.
fn resident_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_logins_at_once_cost_little_memory_and_fail_nobody() {
    let server = Server::start_with(|settings| settings.trusted_proxies = "127.0.0.1".parse().unwrap()).await;
    assert_eq!(try_login(&server, "198.51.100.1", "viewer", PASSWORD).await, 201);
    let before = resident_mib();
    let names: Vec<String> = (0..500).map(|n| format!("user{}", n % 200)).collect();
    let addresses: Vec<String> = (0..500).map(|n| format!("203.0.113.{}", n % 50)).collect();
    let logins = names.iter().zip(&addresses).map(|(name, from)| try_login(&server, from, name, "wrong"));
    let peak = tokio::spawn(async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            tick.tick().await;
            PEAK.fetch_max(resident_mib(), Ordering::Relaxed);
        }
    });
    let statuses = join_all(logins).await;
    peak.abort();
    let peak = PEAK.load(Ordering::Relaxed);
    assert!(statuses.iter().all(|status| [401, 429].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&401) && statuses.contains(&429), "some are compared, the rest are told to come back");
    assert!(peak < before + 200, "{before} MiB before, {peak} MiB at the most");
    // Who has logged in there before is not shut out by all of that.
    let started = Instant::now();
    while try_login(&server, "198.51.100.1", "viewer", PASSWORD).await != 201 {
        assert!(started.elapsed() < WITHIN, "the queue empties within seconds");
    }
}

/// The most memory that was seen while logins were tried.
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[tokio::test(flavor = "multi_thread")]
async fn guesses_that_are_made_at_once_count_as_much_as_one_after_another() {
    let server = Server::start().await;
    let statuses = join_all((0..60).map(|_| try_login(&server, "", "admin", "wrong"))).await;
    let compared = statuses.iter().filter(|status| **status == 401).count();
    assert!(compared <= 10, "{compared} guesses were compared: {statuses:?}");
    assert!(statuses.iter().all(|status| [401, 429].contains(status)), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn right_logins_of_one_name_that_come_at_once_wait_for_each_other() {
    let server = Server::start().await;
    let statuses = join_all((0..40).map(|_| try_login(&server, "", "op", PASSWORD))).await;
    assert!(statuses.iter().all(|status| *status == 201), "{statuses:?}");
}

#[tokio::test]
async fn behind_a_proxy_nobody_locks_out_a_user_who_was_there_before() {
    let server = Server::start_with(|settings| settings.trusted_proxies = "127.0.0.0/8".parse().unwrap()).await;
    assert_eq!(try_login(&server, "198.51.100.7", "op", PASSWORD).await, 201);
    for n in 0..12 {
        try_login(&server, &format!("203.0.113.{n}"), "op", "wrong").await;
    }
    assert_eq!(try_login(&server, "203.0.113.99", "op", PASSWORD).await, 429, "the name is closed for strangers");
    assert_eq!(try_login(&server, "198.51.100.7", "op", PASSWORD).await, 201);
    let admin = server.user("admin").await;
    let (_, log) = admin.get("/eventLogs?event=login_failed&owner=op&limit=1").await;
    let extra: Value = serde_json::from_str(log["event_logs"][0]["extra"].as_str().unwrap()).unwrap();
    assert_eq!((&extra["door"], extra["address"].as_str().unwrap().starts_with("203.0.113.")), (&json!("api"), true));
}

#[tokio::test]
async fn a_client_that_sends_half_a_request_is_closed_and_holds_back_nobody() {
    let server = Server::start().await;
    let address = server.base.trim_start_matches("http://").to_owned();
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(b"GET /login HTTP/1.1\r\nHost: x\r\nX-a: ").await.unwrap();
        slow.push(stream);
    }
    assert_eq!(client().get(server.url("/login")).send().await.unwrap().status(), 200);
    let closed = join_all(slow.iter_mut().map(|stream| async {
        let mut rest = Vec::new();
        tokio::time::timeout(WITHIN, stream.read_to_end(&mut rest)).await.is_ok()
    }))
    .await;
    assert!(closed.into_iter().all(|closed| closed), "each is closed within {WITHIN:?}");
}

async fn stream_of(server: &Server, token: &str) -> reqwest::Response {
    client().get(server.url("/events")).bearer_auth(token).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_of_one_session_leave_others_untouched() {
    let server = Server::start().await;
    let (greedy, other) = (server.token("viewer").await, server.token("user").await);
    let mut first = stream_of(&server, &greedy).await;
    let mut held = std::collections::VecDeque::new();
    for _ in 0..1_000 {
        let one = stream_of(&server, &greedy).await;
        assert_eq!(one.status(), 200);
        held.push_back(one);
        if held.len() > 20 {
            held.pop_front();
        }
    }
    assert_eq!(stream_of(&server, &other).await.status(), 200);
    let mut told = String::new();
    while let Some(chunk) = tokio::time::timeout(WITHIN, first.chunk()).await.unwrap().unwrap() {
        told.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(told.contains("event: ended"), "the oldest is told that it ends: {told:?}");
    let wait = format!("/api/v2{}/wait?interval=1", run_path());
    let waits = client().get(server.url(&wait)).bearer_auth(&greedy).send().await.unwrap();
    assert_eq!(waits.status(), 200, "who waits has places of its own");
}

#[tokio::test]
async fn what_is_refused_for_want_of_room_is_counted() {
    let server = Server::start().await;
    let token = server.token("viewer").await;
    let wait = server.url(&format!("/api/v2{}/wait?interval=60", run_path()));
    let mut held = Vec::new();
    loop {
        let answer = shared().get(&wait).bearer_auth(&token).send().await.unwrap();
        if answer.status() == 503 {
            break;
        }
        held.push(answer);
        assert!(held.len() < 200, "a session has so many places and no more");
    }
    let page = shared().get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("windlass_http_requests_refused_total 1\n"), "{page}");
}

#[tokio::test]
async fn a_stream_ends_with_its_session() {
    let server = Server::start_with(|settings| settings.session_look_every = Duration::from_millis(100)).await;
    let token = server.token("viewer").await;
    let mut events = stream_of(&server, &token).await;
    let wait = format!("/api/v2{}/wait?interval=0.1", run_path());
    let mut waiting = client().get(server.url(&wait)).bearer_auth(&token).send().await.unwrap();
    assert_eq!((events.status(), waiting.status()), (200.try_into().unwrap(), 200.try_into().unwrap()));
    client().post(server.url("/auth/logout")).bearer_auth(&token).send().await.unwrap();
    let ended = async {
        while events.chunk().await.unwrap().is_some() {}
        while waiting.chunk().await.unwrap().is_some() {}
    };
    tokio::time::timeout(WITHIN, ended).await.expect("both end");
}

#[tokio::test]
async fn who_waits_long_is_let_go_with_the_session_all_the_same() {
    let server = Server::start_with(|settings| settings.session_look_every = Duration::from_millis(100)).await;
    let token = server.token("viewer").await;
    let wait = format!("/api/v2{}/wait?interval=60", run_path());
    let mut waiting = client().get(server.url(&wait)).bearer_auth(&token).send().await.unwrap();
    assert_eq!(waiting.chunk().await.unwrap().unwrap(), "{\"state\":\"running\"}\n");
    client().post(server.url("/auth/logout")).bearer_auth(&token).send().await.unwrap();
    let ended = tokio::time::timeout(WITHIN, waiting.chunk()).await.expect("it does not wait for its interval");
    assert_eq!(ended.unwrap(), None);
}

async fn count(server: &Server, statement: &str) -> i64 {
    sqlx::query_scalar(statement).fetch_one(&server.pool).await.unwrap()
}

#[tokio::test]
async fn looking_changes_nothing_and_is_told_of_nowhere() {
    let server = Server::start().await;
    let (viewer, user) = (server.token("viewer").await, server.user("user").await);
    let lines = "SELECT count(*) FROM audit_log WHERE action NOT LIKE '%token%' AND action <> 'login'";
    let numbers = "SELECT last_value FROM audit_log_id_seq";
    let (_, page) = server.page(&viewer, &format!("/dags/stock_data_pipeline/runs/{RUN}/clear?downstream=1")).await;
    assert!(page.contains("6 task instances"), "all of the run: {page}");
    let before = (count(&server, lines).await, count(&server, numbers).await);
    server.page(&viewer, &format!("/dags/stock_data_pipeline/runs/{RUN}/clear?task=bronze&downstream=1")).await;
    let clear = json!({"dag_run_id": RUN, "dry_run": true, "only_failed": false, "task_ids": ["silver"],
        "include_downstream": true});
    let (status, answer) = user.post("/dags/stock_data_pipeline/clearTaskInstances", clear).await;
    let named: Vec<&str> =
        answer["task_instances"].as_array().unwrap().iter().map(|one| one["task_id"].as_str().unwrap()).collect();
    assert_eq!((status, named), (200, vec!["silver", "gold", "publish_quality_report"]), "{answer}");
    let mark = format!("{}/taskInstances/silver/dry_run", run_path());
    let (status, answer) = user.patch(&mark, json!({"new_state": "success"})).await;
    assert_eq!((status, answer["total_entries"].as_i64()), (200, Some(1)), "{answer}");
    let missing = json!({"dag_run_id": RUN, "task_ids": ["nosuch"]});
    assert_eq!(user.post("/dags/stock_data_pipeline/clearTaskInstances", missing).await.0, 404);
    assert_eq!((count(&server, lines).await, count(&server, numbers).await), before, "no line, and no command");
}

#[tokio::test]
async fn the_audit_log_tells_from_where_by_which_door_and_what_came_of_it() {
    let server = Server::start().await;
    let browser = client().post(server.url("/login")).header("origin", &server.base);
    let answer = browser.form(&[("username", "user"), ("password", PASSWORD)]).send().await.unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let logout = client().post(server.url("/auth/logout")).header("cookie", cookie).header("origin", &server.base);
    logout.send().await.unwrap();
    let user = server.user("user").await;
    assert_eq!(user.patch("/dags/weather_pipeline", json!({"is_paused": false})).await.0, 200);
    assert_eq!(user.delete("/dags/stock_data_pipeline").await, 409, "it is refused");
    let op = server.user("op").await;
    let (_, log) = op.get("/eventLogs?order_by=event_log_id&limit=100").await;
    let told: Vec<(String, String, Value)> = log["event_logs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            let extra: Value = serde_json::from_str(line["extra"].as_str().unwrap()).unwrap();
            assert_eq!(extra["address"], "127.0.0.1", "{line}");
            (
                line["event"].as_str().unwrap().to_owned(),
                extra["door"].as_str().unwrap().to_owned(),
                extra["outcome"].clone(),
            )
        })
        .collect();
    let line = |event: &str, door: &str, outcome: &str| (event.to_owned(), door.to_owned(), json!(outcome));
    let expected = [
        line("login", "ui", "done"),
        line("logout", "ui", "done"),
        line("create_token", "api", "done"),
        line("pause_dag", "api", "done"),
        line("delete_dag", "api", "conflict"),
        line("create_token", "api", "done"),
    ];
    assert_eq!(told, expected);
    let (_, page) = server.page(&server.token("op").await, "/audit").await;
    assert!(page.contains("127.0.0.1") && page.contains("conflict"), "{page}");
}

#[tokio::test]
async fn one_member_of_a_variable_and_of_a_connection_is_changed_and_secrets_stay() {
    let server = Server::start().await;
    let op = server.user("op").await;
    let value = json!({"password": "TOPSECRET", "host": "a", "url": "postgres://me:p/w@h/db"});
    op.post("/variables", json!({"key": "cfg", "value": value})).await;
    let (_, shown) = op.get("/variables/cfg").await;
    let shown = shown["value"].as_str().unwrap();
    assert!(!shown.contains("TOPSECRET") && !shown.contains("p/w"), "{shown}");
    let edited = shown.replace(r#""host": "a""#, r#""host": "b""#);
    assert_eq!(op.patch("/variables/cfg", json!({"key": "cfg", "value": edited})).await.0, 200);
    let stored: Value = serde_json::from_str(&server.variable("cfg").await).unwrap();
    assert_eq!(stored, json!({"password": "TOPSECRET", "host": "b", "url": "postgres://me:p/w@h/db"}));
    let lost = json!({"key": "cfg", "value": r#"{"passwort": "***"}"#});
    let (status, answer) = op.patch("/variables/cfg", lost).await;
    assert_eq!((status, &answer["detail"][0]["loc"]), (422, &json!(["body", "value"])), "{answer}");
    let http = json!({"connection_id": "c", "conn_type": "http", "host": "https://me:canary@h/x"});
    op.post("/connections", http).await;
    let patch = json!({"connection_id": "c", "conn_type": "http", "host": "https://me:***@i/y"});
    assert_eq!(op.patch("/connections/c", patch).await.0, 200);
    assert_eq!(server.connection("c").await.host.as_deref(), Some("https://me:canary@i/y"));
}

#[tokio::test]
async fn numbers_that_nobody_edits_stay_as_they_were_written() {
    let server = Server::start().await;
    let op = server.user("op").await;
    let text =
        r#"{"token": "TOPSECRET", "rate": 1.10, "id": 123456789012345678901234567890, "host": "a", "to": -1E+3}"#;
    assert_eq!(op.post("/variables", json!({"key": "exact", "value": text})).await.0, 201);
    let (_, shown) = op.get("/variables/exact").await;
    let shown = shown["value"].as_str().unwrap();
    assert_eq!(shown, text.replace("TOPSECRET", "***"));
    let edited = shown.replace(r#""host": "a""#, r#""host": "b""#);
    assert_eq!(op.patch("/variables/exact", json!({"key": "exact", "value": edited})).await.0, 200);
    assert_eq!(server.variable("exact").await, text.replace(r#""host": "a""#, r#""host": "b""#));
    let extra = r#"{"password":"TOPSECRET","timeout":1.50,"size":10000000000000000000000}"#;
    op.post("/connections", json!({"connection_id": "e", "conn_type": "http", "extra": extra})).await;
    let edited = extra.replace("TOPSECRET", "***").replace("1.50", "2.50");
    let patch = json!({"connection_id": "e", "conn_type": "http", "extra": edited});
    assert_eq!(op.patch("/connections/e", patch).await.0, 200);
    assert_eq!(server.connection("e").await.extra, Some(extra.replace("1.50", "2.50")));
}

#[tokio::test]
async fn a_request_that_takes_too_long_says_so_and_leaves_no_command_behind() {
    let server = Server::start_with(|settings| {
        settings.answer_time_max = Duration::from_secs(4);
        settings.answer_timeout = Duration::from_secs(60);
    })
    .await;
    let user = server.user("user").await;
    server.leader.leave();
    let (status, answer) = user.patch("/dags/weather_pipeline", json!({"is_paused": false})).await;
    assert_eq!(status, 504);
    assert!(answer["detail"].as_str().unwrap().contains("is withdrawn"), "{answer}");
    let started = Instant::now();
    while count(&server, "SELECT count(*) FROM inbox").await > 0 {
        assert!(started.elapsed() < WITHIN, "the command is withdrawn");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let outcome: String = sqlx::query_scalar("SELECT outcome FROM audit_log WHERE action = 'pause_dag'")
        .fetch_one(&server.pool)
        .await
        .unwrap();
    assert_eq!(outcome, "withdrawn");
}

#[tokio::test]
async fn a_link_logs_nobody_out() {
    let server = Server::start().await;
    let token = server.token("viewer").await;
    let link = client().get(server.url("/auth/logout")).header("cookie", format!("_token={token}"));
    let answer = link.header("sec-fetch-site", "same-origin").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().contains(r#"method="post" action="/auth/logout""#));
    assert_eq!(server.page(&token, "/dags").await.0, 200, "the session still holds");
}

#[tokio::test]
async fn over_https_the_session_is_bound_to_the_host() {
    let server = Server::start_with(|settings| settings.cookie = CookieScope::Secure).await;
    let browser = client().post(server.url("/login")).header("origin", &server.base);
    let answer = browser.form(&[("username", "viewer"), ("password", PASSWORD)]).send().await.unwrap();
    assert!(answer.headers()["strict-transport-security"].to_str().unwrap().starts_with("max-age="));
    assert!(answer.headers()["permissions-policy"].to_str().unwrap().contains("camera=()"));
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-_token=") && cookie.ends_with("; Secure"), "{cookie}");
    let session = cookie.split(';').next().unwrap().to_owned();
    let page = client().get(server.url("/dags")).header("cookie", &session).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let planted = session.replace("__Host-", "");
    assert_eq!(client().get(server.url("/dags")).header("cookie", planted).send().await.unwrap().status(), 303);
    let plain = Server::start().await;
    let answer = client().get(plain.url("/login")).send().await.unwrap();
    assert!(!answer.headers().contains_key("strict-transport-security"));
}

#[tokio::test]
async fn no_viewer_sees_what_has_a_secrets_name_or_form() {
    let server = Server::start().await;
    let (user, viewer) = (server.user("user").await, server.user("viewer").await);
    let conf = json!({"api_token": "canary-a", "url": "https://canary-b@github.com/x", "args": ["--password", "canary-c"],
        "headers": {"X-Auth": "canary-d"}, "plain": "visible"});
    let (status, run) =
        user.post("/dags/stock_data_pipeline/dagRuns", json!({"logical_date": null, "conf": conf})).await;
    assert_eq!(status, 200, "{run}");
    let xcom = json!({"key": "settings", "value": {"password": "canary-e", "plain": 1}});
    let xcoms = format!("{}/taskInstances/bronze/xcomEntries", run_path());
    assert_eq!(user.post(&xcoms, xcom).await.0, 201);
    let id = run["dag_run_id"].as_str().unwrap();
    let token = server.token("viewer").await;
    for page in [
        format!("/dags/stock_data_pipeline/runs/{id}"),
        format!("/dags/stock_data_pipeline/runs/{RUN}/tasks/bronze?tab=xcom"),
        "/dags/stock_data_pipeline".to_owned(),
        "/runs".to_owned(),
    ] {
        let (status, html) = server.page(&token, &page.replace('+', "%2B")).await;
        assert_eq!(status, 200, "{page}");
        assert!(!html.contains("canary"), "{page}");
    }
    for path in ["/dags/~/dagRuns".to_owned(), format!("{xcoms}/settings"), format!("{xcoms}/settings?stringify=true")]
    {
        let (status, answer) = viewer.get(&path).await;
        assert_eq!(status, 200, "{path}: {answer}");
        assert!(!answer.to_string().contains("canary"), "{path}: {answer}");
    }
    let (_, answer) = user.get(&format!("{xcoms}/settings")).await;
    assert_eq!(answer["value"]["password"], "canary-e", "who may run DAGs reads what they pass on");
}
