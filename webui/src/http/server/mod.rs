//! Connections: taken one by one, counted, and closed when a client is slow.
//!
//! What always holds here: a client that sends nothing, or reads nothing, is gone after a while; no more connections are open
//! than [`CONNECTIONS_MAX`], because each is a file handle that the leader may need in the same process; no connection is
//! closed under a client that has been answered and sends its next request, as long as there is room; and when the
//! server stops, what is being answered is answered, within [`GRACE`].

mod leftover;
mod stream;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::ConnectInfo,
    http::{HeaderValue, header},
};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use self::stream::Impatient;

/// Open connections: event streams, `wait`, and some for everybody else.
const CONNECTIONS_MAX: usize = 2_000;
/// Of one address beyond this machine that is no trusted proxy: more than browsers open, fewer than shut others out.
const CONNECTIONS_OF_ADDRESS_MAX: usize = 200;
/// Refusals that are being said: each is a connection, too.
const REFUSALS_MAX: usize = 50;
/// A new client has sent its first headers within this, or is closed.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// A client that was answered may ask again within this: clients keep connections for 60 to 115 s (Go and Rust for 90 s,
/// Firefox for 115 s), and a request that meets a close on its way fails, because only some may be sent twice.
const IDLE_MAX: Duration = Duration::from_secs(120);
/// More headers are refused; browsers send some twenty.
const HEADERS_MAX: usize = 100;
/// Headers and the first bytes of a body; larger heads are refused.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// What is being answered when the server stops may go on for so long.
const GRACE: Duration = Duration::from_secs(10);
/// The pause after a connection could not be taken, such as for want of file handles.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// What is said to a connection that is one too many.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-type: application/json\r\n\
    connection: close\r\ncontent-length: 83\r\n\r\n\
    {\"detail\": \"too many connections are open; nothing was changed, try again in 5 s\"}\n";

/// Serves until `shutdown` is cancelled.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    is_proxy: impl Fn(IpAddr) -> bool,
    shutdown: &CancellationToken,
) {
    let places = Places::default();
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let ends = Ends { shutdown: shutdown.clone(), crowded: Arc::default() };
    let mut open = JoinSet::new();
    let mut trouble = Trouble::default();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = open.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let Some((stream, peer)) = trouble.past(accepted) else {
            tokio::time::sleep(AGAIN_AFTER).await;
            continue;
        };
        let address = peer.ip().to_canonical();
        let alone = if address.is_loopback() || is_proxy(address) { None } else { Some(address) };
        let taken = places.take(alone);
        if taken.as_ref().is_none_or(|place| place.last_quarter) {
            ends.crowded.notify_waiters();
        }
        match (taken, Arc::clone(&refusals).try_acquire_owned()) {
            (Some(place), _) => drop(open.spawn(connection(stream, peer, router.clone(), ends.clone(), place))),
            (None, Ok(permit)) => drop(open.spawn(refuse(stream, permit))),
            (None, Err(_)) => {}
        }
    }
    drop(listener);
    let rest = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, rest).await.is_err() {
        tracing::warn!(connections = open.len(), "connections are closed while they are being answered");
    }
}

/// Connections that can not be taken: told once, until one can be taken again.
#[derive(Default)]
struct Trouble {
    is_told: bool,
}

impl Trouble {
    fn past<T>(&mut self, accepted: io::Result<T>) -> Option<T> {
        match accepted {
            Ok(taken) => {
                if std::mem::take(&mut self.is_told) {
                    tracing::info!("connections are taken again");
                }
                Some(taken)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_told, true) {
                    tracing::warn!(%error, "a connection could not be taken; more file handles (ulimit -n) may help");
                }
                None
            }
        }
    }
}

/// What ends a connection that waits for its next request.
#[derive(Clone)]
struct Ends {
    shutdown: CancellationToken,
    /// Told when places become few: who was answered makes room.
    crowded: Arc<Notify>,
}

impl Ends {
    /// Returns when a connection should end after what it is answering.
    async fn come(&self, asked: &AtomicBool) {
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                // Who has not been answered once has not had its turn.
                () = self.crowded.notified() => if asked.load(Ordering::Relaxed) { return },
            }
        }
    }
}

/// Says that there is no room.
async fn refuse(stream: TcpStream, _permit: OwnedSemaphorePermit) {
    let mut stream = Impatient::new(stream);
    if let Err(error) = stream.write_all(FULL).await {
        return tracing::debug!(%error, "a client did not hear that there is no room");
    }
    if let Err(error) = stream.shutdown().await {
        tracing::debug!(%error, "a refused connection ended badly");
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, ends: Ends, _place: Place) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps small packets back");
    }
    if let Err(error) = converse(stream, peer, router, &ends).await {
        tracing::debug!(%error, client.address = %peer.ip(), "a connection ended badly");
    }
}

/// Answers what is asked on a connection, until one side has enough.
async fn converse<S>(stream: S, peer: SocketAddr, router: Router, ends: &Ends) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asked = AtomicBool::new(false);
    let service = hyper::service::service_fn(|request: hyper::Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let (mut request, left) = leftover::parted(request);
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = router.clone().oneshot(request);
        async move {
            let mut answer = answer.await?;
            if !left.read_out(answer.status()).await {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(Impatient::new(stream)), service);
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        ended = serving.as_mut() => ended,
        () = never_asked(&asked) => Ok(()),
        () = ends.come(&asked) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    }
}

/// Returns when a client has let the time for its first headers pass.
async fn never_asked(asked: &AtomicBool) {
    tokio::time::sleep(HEADERS_WITHIN).await;
    if asked.load(Ordering::Relaxed) {
        std::future::pending().await
    }
}

/// Places for connections: so many in all, and of one address.
#[derive(Clone)]
struct Places {
    all: Arc<Semaphore>,
    by_address: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

impl Default for Places {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(CONNECTIONS_MAX)), by_address: Arc::default() }
    }
}

/// How many connections are open of each address.
type Counts = Arc<Mutex<BTreeMap<IpAddr, usize>>>;

/// A place, given back when it is dropped.
struct Place {
    _one_of_all: OwnedSemaphorePermit,
    /// Whether few are left after it, in all or for its address.
    last_quarter: bool,
    of_address: Option<(IpAddr, Counts)>,
}

impl Places {
    /// A place, counted for an address when one is given; none when there is none.
    fn take(&self, address: Option<IpAddr>) -> Option<Place> {
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let mut last_quarter = self.all.available_permits() < CONNECTIONS_MAX / 4;
        let of_address = match address {
            None => None,
            Some(address) => {
                let mut counts = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
                let count = counts.entry(address).or_insert(0);
                if *count >= CONNECTIONS_OF_ADDRESS_MAX {
                    return None;
                }
                *count += 1;
                last_quarter |= *count > CONNECTIONS_OF_ADDRESS_MAX / 4 * 3;
                Some((address, Arc::clone(&self.by_address)))
            }
        };
        Some(Place { _one_of_all: permit, last_quarter, of_address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((address, counts)) = &self.of_address else { return };
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{http::StatusCode, routing::post};
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, DuplexStream};

    use super::*;

    #[test]
    fn an_address_has_a_part_of_all_places_and_gives_them_back() {
        let places = Places::default();
        let address = Some(IpAddr::from([192, 0, 2, 1]));
        let held: Vec<Place> = (0..CONNECTIONS_OF_ADDRESS_MAX).filter_map(|_| places.take(address)).collect();
        assert_eq!(held.len(), CONNECTIONS_OF_ADDRESS_MAX);
        assert!(places.take(address).is_none());
        let others: Vec<Place> = std::iter::from_fn(|| places.take(None)).collect();
        assert_eq!(held.len() + others.len(), CONNECTIONS_MAX);
        drop((held, others));
        assert!(places.take(address).is_some());
        assert!(places.by_address.lock().unwrap().is_empty());
    }

    #[test]
    fn what_is_said_when_all_is_full_is_as_long_as_it_says() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
    }

    /// A client without any library's help.
    struct Raw<S>(BufReader<S>);

    impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
        async fn say(&mut self, text: &str) {
            self.0.write_all(text.as_bytes()).await.unwrap();
        }

        /// The next answer's head and body.
        async fn answer(&mut self) -> (String, String) {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(self.0.read_line(&mut head).await.unwrap(), 0, "closed after {head:?}");
            }
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).await.unwrap();
            (head, String::from_utf8(body).unwrap())
        }

        async fn is_closed(&mut self) -> bool {
            self.0.read(&mut [0]).await.unwrap() == 0
        }
    }

    /// Refuses without looking at the body, or reads it.
    fn sample() -> Router {
        Router::new()
            .route("/refuse", post(async || (StatusCode::FORBIDDEN, "no")))
            .route("/read", post(async |body: String| body.len().to_string()))
    }

    fn ends() -> Ends {
        Ends { shutdown: CancellationToken::new(), crowded: Arc::default() }
    }

    fn pretended() -> (Raw<DuplexStream>, tokio::task::JoinHandle<()>, Ends) {
        let (ours, theirs) = tokio::io::duplex(BUFFER_BYTES_MAX);
        let ends = ends();
        let of_server = ends.clone();
        let serving = tokio::spawn(async move {
            let peer = SocketAddr::from(([192, 0, 2, 1], 1));
            drop(converse(ours, peer, sample(), &of_server).await);
        });
        (Raw(BufReader::new(theirs)), serving, ends)
    }

    async fn real() -> (Raw<TcpStream>, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        tokio::spawn(async move { serve(listener, sample(), |_| false, &stop).await });
        (Raw(BufReader::new(TcpStream::connect(address).await.unwrap())), shutdown)
    }

    const MORE: &str = "POST /read HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nok";

    #[tokio::test]
    async fn who_still_sends_is_refused_and_goes_on() {
        let (mut client, stop) = real().await;
        let body = "x".repeat(600_000);
        for path in ["/refuse", "/read"] {
            let head = format!("POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n", body.len());
            client.say(&(head + &body[..1_000])).await;
            // Time in which a refusal would be sent and the connection closed.
            tokio::time::sleep(Duration::from_millis(200)).await;
            client.say(&body[1_000..]).await;
            let (head, said) = client.answer().await;
            let right = if path == "/refuse" { ("HTTP/1.1 403", "no") } else { ("HTTP/1.1 200", "600000") };
            assert!(head.starts_with(right.0) && said == right.1, "{head}{said}");
            client.say(MORE).await;
            assert_eq!(client.answer().await.1, "2", "the connection is kept");
        }
        stop.cancel();
    }

    #[tokio::test]
    async fn who_sends_more_than_is_ever_read_hears_why_and_that_the_connection_ends() {
        let (mut client, stop) = real().await;
        let body = "x".repeat(10_000_000);
        client.say("POST /refuse HTTP/1.1\r\nhost: h\r\ncontent-length: 10000000\r\n\r\n").await;
        client.say(&body).await;
        let (head, said) = client.answer().await;
        assert!(head.starts_with("HTTP/1.1 403") && head.contains("\r\nconnection: close\r\n"), "{head}");
        assert_eq!(said, "no");
        stop.cancel();
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_to_be_invited_is_refused_without_an_invitation() {
        let expect = |path: &str| {
            format!("POST {path} HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        };
        let (mut client, serving, _ends) = pretended();
        client.say(&expect("/refuse")).await;
        let (head, _) = client.answer().await;
        assert!(head.starts_with("HTTP/1.1 403") && head.contains("connection: close"), "{head}");
        drop(client);
        serving.await.unwrap();
        let (mut client, _, _ends) = pretended();
        client.say(&expect("/read")).await;
        let mut invitation = String::new();
        client.0.read_line(&mut invitation).await.unwrap();
        assert_eq!(invitation, "HTTP/1.1 100 Continue\r\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_goes_or_stops_in_its_body_holds_nothing() {
        let half = "POST /refuse HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\nhalf";
        let (mut client, serving, _ends) = pretended();
        client.say(half).await;
        drop(client);
        serving.await.unwrap();
        let (mut client, serving, _ends) = pretended();
        client.say(half).await;
        let (head, _) = client.answer().await;
        assert!(head.starts_with("HTTP/1.1 403") && head.contains("connection: close"), "{head}");
        serving.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_kept_connection_outlasts_the_pools_of_clients_and_a_silent_one_does_not() {
        let (mut client, serving, _ends) = pretended();
        for pause in [0, 95, 116] {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            client.say(MORE).await;
            assert!(client.answer().await.0.starts_with("HTTP/1.1 200"), "after {pause} s");
        }
        assert!(client.is_closed().await);
        serving.await.unwrap();
        let (mut client, serving, _ends) = pretended();
        let before = tokio::time::Instant::now();
        client.say("POST /read HTTP/1.1\r\nhost: ").await;
        assert!(client.is_closed().await);
        assert!(before.elapsed() < HEADERS_WITHIN * 2);
        serving.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn when_places_are_few_who_was_answered_makes_room() {
        let (mut waiting, _, ends) = pretended();
        waiting.say(MORE).await;
        waiting.answer().await;
        ends.crowded.notify_waiters();
        assert!(waiting.is_closed().await);
        let (mut new, _, ends) = pretended();
        tokio::task::yield_now().await;
        ends.crowded.notify_waiters();
        new.say(MORE).await;
        assert_eq!(new.answer().await.1, "2", "who has not been answered is");
    }

    #[test]
    fn connections_that_can_not_be_taken_are_told_of_once() {
        let mut trouble = Trouble::default();
        let fails = || Err::<(), _>(io::Error::other("too many open files"));
        assert!(trouble.past(fails()).is_none() && trouble.is_told);
        assert!(trouble.past(fails()).is_none() && trouble.is_told);
        assert!(trouble.past(Ok(())).is_some() && !trouble.is_told, "the next time is told again");
    }
}
