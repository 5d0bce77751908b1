//! The producer against a server that speaks Alpaca's protocol: what reaches the topic, and what the service says.

use crate::support::{PATIENCE, Running, Stack, TOPIC, eventually};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::{WebSocketStream, accept_async};
use url::Url;
use windlass_tasks::runtime::Record;
use windlass_tasks::settings::TradeSource;
use windlass_tasks::stock::alpaca::{AlpacaSettings, Timing};

const KEY: &str = "PK-TEST";
const SECRET: &str = "a-secret-of-the-test";

/// What the server does next on a connection.
#[derive(Clone)]
enum Step {
    Send(String),
    SendBinary(&'static [u8]),
    /// Waits for a message with this action.
    Expect(&'static str),
    /// Lets time pass, as a slow server does.
    Pause(Duration),
    /// Ends the connection without a word.
    Drop,
    Close,
    /// Reads and answers pings, but says nothing, until the client goes.
    Listen,
    /// Does not even read.
    Freeze,
}
use Step::{Close, Drop as DropIt, Expect, Freeze, Listen, Pause, Send, SendBinary};

/// A server with a script for each connection; the last one serves all further ones.
struct FakeAlpaca {
    url: Url,
    connections: Arc<AtomicUsize>,
    heard: Arc<Mutex<Vec<Value>>>,
}

impl FakeAlpaca {
    async fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/v2/test", listener.local_addr().unwrap()).parse().unwrap();
        let server = Self { url, connections: Arc::default(), heard: Arc::default() };
        let (connections, heard) = (server.connections.clone(), server.heard.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = connections.fetch_add(1, Ordering::SeqCst);
                let script = scripts[number.min(scripts.len() - 1)].clone();
                tokio::spawn(serve(stream, script, heard.clone()));
            }
        });
        server
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn actions(&self) -> Vec<String> {
        self.heard.lock().unwrap().iter().map(|said| said["action"].as_str().unwrap().to_owned()).collect()
    }
}

async fn serve(stream: TcpStream, script: Vec<Step>, heard: Arc<Mutex<Vec<Value>>>) {
    let Ok(mut socket) = accept_async(stream).await else { return };
    for step in script {
        match step {
            Send(text) => drop(socket.send(Frame::text(text)).await),
            SendBinary(bytes) => drop(socket.send(Frame::Binary(Bytes::from_static(bytes))).await),
            Expect(action) => match next_text(&mut socket).await {
                Some(said) => {
                    assert_eq!(said["action"], action);
                    heard.lock().unwrap().push(said);
                }
                None => return,
            },
            Pause(time) => tokio::time::sleep(time).await,
            DropIt => return,
            Close => return drop(socket.close(None).await),
            Listen => while socket.next().await.is_some_and(|frame| frame.is_ok()) {},
            Freeze => std::future::pending().await,
        }
    }
    while socket.next().await.is_some_and(|frame| frame.is_ok()) {}
}

async fn next_text(socket: &mut WebSocketStream<TcpStream>) -> Option<Value> {
    while let Some(Ok(frame)) = socket.next().await {
        if let Frame::Text(text) = frame {
            return serde_json::from_str(&text).ok();
        }
    }
    None
}

fn say(message: Value) -> Step {
    Send(json!([message]).to_string())
}

fn error(code: u16, message: &str) -> Step {
    say(json!({"T": "error", "code": code, "msg": message}))
}

fn trade(symbol: &str, id: u64) -> Value {
    json!({"T": "t", "i": id, "S": symbol, "x": "D", "p": 126.55, "s": id, "c": ["@", "I"], "z": "C",
           "t": "2021-02-22T15:51:44.208123456Z"})
}

/// The handshake, then `steps`.
fn after_handshake(steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let handshake = [
        say(json!({"T": "success", "msg": "connected"})),
        Expect("auth"),
        say(json!({"T": "success", "msg": "authenticated"})),
        Expect("subscribe"),
        say(json!({"T": "subscription", "trades": ["AAPL", "GOOG", "MSFT"], "quotes": []})),
    ];
    handshake.into_iter().chain(steps).collect()
}

fn impatient() -> Timing {
    Timing {
        handshake: Duration::from_secs(5),
        ping_after: Duration::from_millis(100),
        silence_max: Duration::from_millis(600),
        pause_first: Duration::from_millis(20),
        pause_max: Duration::from_millis(100),
        settled_after: Duration::from_secs(60),
    }
}

fn connect(stack: &Stack, url: &Url, timing: Timing) -> Running {
    let (url, key, secret) = (url.clone(), KEY.to_owned(), SECRET.to_owned());
    stack.produce(TradeSource::Alpaca(AlpacaSettings { url, key, secret, timing }))
}

/// The producer's records once there are so many.
async fn records(stack: &Stack, wanted: i64) -> Vec<Record> {
    eventually("the records in the topic", || async {
        let topic = stack.log.describe(TOPIC).await;
        topic.is_ok_and(|topic| topic.end_offsets().values().sum::<i64>() >= wanted)
    })
    .await;
    let records = stack.read_all().await;
    assert_eq!(records.len() as i64, wanted);
    records
}

fn trades(records: &[Record]) -> usize {
    records.iter().filter(|record| record.headers.get("error").is_none()).count()
}

async fn refused(script: Vec<Step>) -> String {
    let stack = Stack::start().await;
    let server = FakeAlpaca::start(vec![script]).await;
    let producer = connect(&stack, &server.url, impatient());
    let message = format!("{:#}", producer.ended().await.unwrap_err());
    assert_eq!(server.connections(), 1, "what waiting cannot mend is not tried again");
    assert!(!message.contains(SECRET) && !message.contains(KEY), "{message}");
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn trades_stream_into_the_log_with_what_alpaca_says_of_them() {
    let stack = Stack::start().await;
    let frames =
        [Send(json!([trade("AAPL", 1), trade("MSFT", 2)]).to_string()), Send(json!([trade("AAPL", 3)]).to_string())];
    let server = FakeAlpaca::start(vec![after_handshake(frames)]).await;
    let producer = connect(&stack, &server.url, impatient());
    let records = records(&stack, 3).await;
    assert!(producer.worker.meter.is_ready());
    let first = records.iter().find(|record| record.key.as_deref() == Some(b"MSFT")).unwrap();
    assert_eq!(first.headers.text("exchange"), Some("D"));
    assert_eq!((first.headers.text("conditions"), first.headers.text("tape")), (Some("@,I"), Some("C")));
    {
        let heard = server.heard.lock().unwrap();
        assert_eq!(heard[0], json!({"action": "auth", "key": KEY, "secret": SECRET}));
        assert_eq!(heard[1], json!({"action": "subscribe", "trades": ["AAPL", "GOOG", "MSFT"]}));
    }
    producer.stop().await.unwrap();
    // As the sink reads them.
    let sink = stack.sink(replay::StockSource::Alpaca, 500_000).await;
    eventually("the trades in bronze", || async { sink.worker.meter.is_ready() }).await;
    let engine = windlass_tasks::sql::SqlEngine::new(stack.lake().await).unwrap();
    let rows = crate::sql::rows(
        &engine,
        "SELECT symbol, price, size, CAST(ts AS varchar) AS ts, trade_id, source FROM bronze.stock_trades WHERE symbol = 'MSFT'",
    )
    .await;
    assert_eq!(rows, ["MSFT,126.55,2,2021-02-22T15:51:44.208123Z,MSFT-D-2-1614009104208123456,alpaca"]);
    sink.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_end_the_producer_with_the_reason() {
    let connected = say(json!({"T": "success", "msg": "connected"}));
    let message = refused(vec![connected, Expect("auth"), error(402, "auth failed")]).await;
    assert!(message.contains("402 (auth failed)") && message.contains("APCA_API_KEY_ID"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_the_plan_does_not_have_ends_the_producer_with_the_reason() {
    let mut script = after_handshake([]);
    script.pop();
    for (code, words) in [(405, "symbol limit exceeded"), (409, "insufficient subscription")] {
        let script = script.iter().cloned().chain([error(code, words)]).collect();
        let message = refused(script).await;
        assert!(message.contains(&code.to_string()) && message.contains(words), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_connection_is_made_again_and_nothing_after_it_is_lost() {
    let stack = Stack::start().await;
    let before = [Send(json!([trade("AAPL", 1), trade("AAPL", 2)]).to_string()), DropIt];
    // The second of them was sent before the drop, too.
    let after = [Send(json!([trade("AAPL", 2), trade("AAPL", 3)]).to_string()), Close];
    let last = [Send(json!([trade("AAPL", 4)]).to_string())];
    let scripts = vec![after_handshake(before), after_handshake(after), after_handshake(last)];
    let server = FakeAlpaca::start(scripts).await;
    let producer = connect(&stack, &server.url, impatient());
    let records = records(&stack, 5).await;
    assert_eq!(server.actions(), ["auth", "subscribe"].repeat(3));
    assert_eq!(producer.worker.meter.progress().errors, 2);
    let twice = records.iter().filter(|record| record.value == records[1].value).count();
    assert_eq!(twice, 2, "the repeat is byte for byte the same, so that silver drops it by its id");
    producer.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_frames_between_good_ones_become_dead_letters() {
    let stack = Stack::start().await;
    let mut negative = trade("AAPL", 7);
    negative["p"] = json!(-1.0);
    let frames = [
        Send(json!([trade("AAPL", 1)]).to_string()),
        Send("no JSON at all".to_owned()),
        Send(r#"[{"T":"t","S":"AAPL","p":NaN}]"#.to_owned()),
        SendBinary(b"\x91\x83\xa1T\xa1t"),
        Send(json!([{"T": "t", "S": "AAPL"}, trade("AAPL", 2), negative, {"T": "mystery"}, 5]).to_string()),
        Send(json!([{"T": "x", "S": "AAPL", "i": 1, "x": "D", "p": 1.0, "s": 1, "a": "C", "z": "C", "t": "2021-02-22T15:51:45Z"}]).to_string()),
        Send(json!([{"T": "c", "S": "AAPL", "oi": 1, "ci": 9}]).to_string()),
        Send("[]".to_owned()),
        Send(json!([trade("AAPL", 3)]).to_string()),
    ];
    let server = FakeAlpaca::start(vec![after_handshake(frames)]).await;
    let producer = connect(&stack, &server.url, impatient());
    let records = records(&stack, 12).await;
    assert_eq!(trades(&records), 3);
    let reasons: Vec<&str> = records.iter().filter_map(|record| record.headers.text("error")).collect();
    for wanted in [
        "not JSON",
        "binary",
        "has no `x`",
        "price is negative",
        "unknown kind `mystery`",
        "no `T`",
        "cancel",
        "correction",
    ] {
        assert!(reasons.iter().any(|reason| reason.contains(wanted)), "{wanted} is not among {reasons:?}");
    }
    let raw = records.iter().find(|record| record.headers.text("error").is_some_and(|e| e.contains("binary"))).unwrap();
    assert_eq!(raw.value.as_deref(), Some(&b"\x91\x83\xa1T\xa1t"[..]));
    assert_eq!(producer.worker.meter.progress().dead_letters, 9);
    assert_eq!((server.connections(), producer.worker.meter.progress().errors), (1, 0));
    producer.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_too_large_to_take_costs_the_connection_not_the_producer() {
    let stack = Stack::start().await;
    let huge = format!("[{}]", " ".repeat(5 << 20));
    let scripts = vec![after_handshake([Send(huge)]), after_handshake([Send(json!([trade("AAPL", 1)]).to_string())])];
    let server = FakeAlpaca::start(scripts).await;
    let producer = connect(&stack, &server.url, impatient());
    records(&stack, 1).await;
    assert_eq!((server.connections(), producer.worker.meter.progress().errors), (2, 1));
    producer.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_is_waited_for_and_a_quiet_one_is_pinged() {
    let stack = Stack::start().await;
    // Longer than the silence allowed, were it not for the answered pings.
    let quiet = Duration::from_millis(1_500);
    let mut script: Vec<Step> = Vec::new();
    for step in after_handshake([]) {
        script.extend([Pause(Duration::from_millis(100)), step]);
    }
    script.push(Listen);
    let server = FakeAlpaca::start(vec![script]).await;
    let producer = connect(&stack, &server.url, impatient());
    eventually("the subscription", || async { producer.worker.meter.is_ready() }).await;
    tokio::time::sleep(quiet).await;
    assert_eq!((server.connections(), producer.worker.meter.progress().errors), (1, 0));
    producer.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_is_given_up_for_a_new_one() {
    let stack = Stack::start().await;
    let server = FakeAlpaca::start(vec![
        after_handshake([Freeze]),
        after_handshake([Send(json!([trade("AAPL", 1)]).to_string())]),
    ])
    .await;
    let producer = connect(&stack, &server.url, impatient());
    records(&stack, 1).await;
    assert_eq!(server.connections(), 2);
    producer.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_greets_is_left_and_a_taken_place_is_waited_for() {
    let stack = Stack::start().await;
    let server = FakeAlpaca::start(vec![
        vec![Freeze],
        vec![say(json!({"T": "success", "msg": "connected"})), Expect("auth"), error(406, "connection limit exceeded")],
        vec![error(406, "connection limit exceeded"), Close],
        after_handshake([Send(json!([trade("AAPL", 1)]).to_string())]),
    ])
    .await;
    let timing = Timing { handshake: Duration::from_millis(500), ..impatient() };
    let producer = connect(&stack, &server.url, timing);
    records(&stack, 1).await;
    assert_eq!((server.connections(), producer.worker.meter.progress().errors), (4, 3));
    producer.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_connecting_or_waiting_is_heeded_at_once() {
    let stack = Stack::start().await;
    // Takes connections and never says a word, not even to open the WebSocket.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("ws://{}", mute.local_addr().unwrap()).parse().unwrap();
    let producer = connect(&stack, &url, Timing::default());
    let _open = tokio::time::timeout(PATIENCE, mute.accept()).await.unwrap().unwrap();
    let started = tokio::time::Instant::now();
    producer.stop().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    // And in the pause between two connections.
    drop(mute);
    let patient = Timing { pause_first: PATIENCE * 10, pause_max: PATIENCE * 10, ..impatient() };
    let producer = connect(&stack, &url, patient);
    eventually("the failure", || async { producer.worker.meter.progress().errors == 1 }).await;
    producer.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_behind_wss_is_a_failure_like_any_other() {
    let stack = Stack::start().await;
    let server = FakeAlpaca::start(vec![after_handshake([])]).await;
    let mut url = server.url.clone();
    url.set_scheme("wss").unwrap();
    let producer = connect(&stack, &url, impatient());
    eventually("the failure", || async { producer.worker.meter.progress().errors >= 1 }).await;
    producer.stop().await.unwrap();
}
