//! Connections: taken one by one, counted, and closed when a client is slow.
//!
//! What always holds here: a client that sends nothing, or reads nothing, is gone after a while; no more connections are open
//! than [`CONNECTIONS_MAX`], because each is a file handle that the leader may need in the same process; and when the
//! server stops, what is being answered is answered, within [`GRACE`].

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, extract::ConnectInfo};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, Sleep},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Open connections: event streams, `wait`, and some for everybody else.
const CONNECTIONS_MAX: usize = 2_000;
/// Of one address beyond this machine that is no trusted proxy: more than browsers open, fewer than shut others out.
const CONNECTIONS_OF_ADDRESS_MAX: usize = 200;
/// A client has sent its headers within this, or is closed; so is a connection on which nothing is asked.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// More headers are refused; browsers send some twenty.
const HEADERS_MAX: usize = 100;
/// Headers and the first bytes of a body; larger heads are refused.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// A client that takes nothing of its answer for so long is closed.
const READS_WITHIN: Duration = Duration::from_secs(30);
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
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = open.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(taken) => taken,
            Err(error) => {
                tracing::debug!(%error, "a connection could not be taken");
                tokio::time::sleep(AGAIN_AFTER).await;
                continue;
            }
        };
        let address = peer.ip().to_canonical();
        let alone = if address.is_loopback() || is_proxy(address) { None } else { Some(address) };
        match places.take(alone) {
            Some(place) => drop(open.spawn(connection(stream, peer, router.clone(), shutdown.clone(), place))),
            None => drop(stream.try_write(FULL)),
        }
    }
    drop(listener);
    let rest = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, rest).await.is_err() {
        tracing::warn!(connections = open.len(), "connections are closed while they are being answered");
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, shutdown: CancellationToken, _place: Place) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps small packets back");
    }
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = router.clone().oneshot(request.map(axum::body::Body::new));
        async move { answer.await.map_err(|never: Infallible| match never {}) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(Impatient::new(stream)), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, client.address = %peer.ip(), "a connection ended badly");
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
    of_address: Option<(IpAddr, Counts)>,
}

impl Places {
    /// A place, counted for an address when one is given; none when there is none.
    fn take(&self, address: Option<IpAddr>) -> Option<Place> {
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let of_address = match address {
            None => None,
            Some(address) => {
                let mut counts = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
                let count = counts.entry(address).or_insert(0);
                if *count >= CONNECTIONS_OF_ADDRESS_MAX {
                    return None;
                }
                *count += 1;
                Some((address, Arc::clone(&self.by_address)))
            }
        };
        Some(Place { _one_of_all: permit, of_address })
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

/// A stream whose writes fail when the other side takes nothing for [`READS_WITHIN`].
struct Impatient<S> {
    stream: S,
    /// Runs while a write waits.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    const fn new(stream: S) -> Self {
        Self { stream, patience: None }
    }

    fn judge<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.patience = None;
            return written;
        }
        let until = Instant::now() + READS_WITHIN;
        let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        match patience.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

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

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_given_up() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut stream = Impatient::new(ours);
        let error = stream.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn what_is_said_when_all_is_full_is_as_long_as_it_says() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
    }
}
