//! A server that speaks as much of Trino's protocol as a test scripts, and fails on command.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::Instant,
};
use url::Url;

use super::PATIENCE;

/// The query that it always runs.
pub const QUERY: &str = "20261121_000000_00001_fake1";

/// What it does with a request.
#[derive(Clone)]
pub enum Act {
    /// Answers with a status, further header lines and a body.
    Answer(u16, &'static str, String),
    /// Cuts the connection.
    Reset,
    /// Says nothing.
    Silence,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Came {
    pub method: String,
    pub path: String,
    pub head: String,
}

/// The server.
pub struct Coordinator {
    pub address: std::net::SocketAddr,
    came: Arc<Mutex<Vec<Came>>>,
}

impl Coordinator {
    /// Acts on GET and POST as scripted, and goes on with the last act; a DELETE is always answered.
    pub async fn start(acts: impl Fn(&Url) -> Vec<Act>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), acts)
    }

    pub fn on(listener: TcpListener, acts: impl Fn(&Url) -> Vec<Act>) -> Self {
        let address = listener.local_addr().unwrap();
        let acts = acts(&format!("http://{address}/").parse().unwrap());
        let acts = Arc::new(Mutex::new(VecDeque::from(acts)));
        let came = Arc::new(Mutex::new(Vec::new()));
        let (all, script) = (Arc::clone(&came), acts);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&all)));
            }
        });
        Self { address, came }
    }

    pub fn url(&self) -> Url {
        format!("trino://me@{}/lake", self.address).parse().unwrap()
    }

    /// The requests with a method.
    pub fn came(&self, method: &str) -> Vec<Came> {
        self.came.lock().unwrap().iter().filter(|came| came.method == method).cloned().collect()
    }

    /// Waits until so many requests with a method have come.
    pub async fn until(&self, method: &str, count: usize) {
        let began = Instant::now();
        while self.came(method).len() < count {
            assert!(began.elapsed() < PATIENCE, "{:?}", self.came.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn serve(mut stream: TcpStream, acts: Arc<Mutex<VecDeque<Act>>>, all: Arc<Mutex<Vec<Came>>>) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let whole = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        (body.len() >= length.unwrap_or(0)).then_some(head)
    };
    let head = loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
        if let Some(head) = whole(&bytes) {
            break head;
        }
    };
    let mut words = head.split_whitespace();
    let (method, path) = (words.next().unwrap().to_uppercase(), words.next().unwrap().to_owned());
    let act = if method == "DELETE" { Act::Answer(204, "", String::new()) } else { next(&acts) };
    all.lock().unwrap().push(Came { method, path, head });
    match act {
        Act::Reset => stream.set_linger(Some(Duration::ZERO)).unwrap(),
        Act::Silence => {
            // Until the client hangs up.
            let _ = stream.read(&mut buffer).await;
        }
        Act::Answer(status, headers, body) => {
            let length = body.len();
            let text =
                format!("HTTP/1.1 {status} X\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}");
            let _ = stream.write_all(text.as_bytes()).await;
        }
    }
}

fn next(acts: &Mutex<VecDeque<Act>>) -> Act {
    let mut acts = acts.lock().unwrap();
    if acts.len() > 1 { acts.pop_front().unwrap() } else { acts.front().unwrap().clone() }
}

/// A page that says where the next one is.
pub fn page(server: &Url, token: u32, state: &str) -> Act {
    let next = server.join(&format!("v1/statement/executing/{QUERY}/secret/{token}")).unwrap();
    answer(&json!({"id": QUERY, "infoUri": "http://ui", "nextUri": next, "stats": {"state": state}, "warnings": []}))
}

/// The last page.
pub fn last(rows: &Value) -> Act {
    let columns = json!([{"name": "n", "type": "bigint", "typeSignature": {"rawType": "bigint", "arguments": []}}]);
    answer(&json!({"id": QUERY, "columns": columns, "data": rows, "stats": {"state": "FINISHED"}, "warnings": []}))
}

fn answer(body: &Value) -> Act {
    Act::Answer(200, "content-type: application/json\r\n", body.to_string())
}
