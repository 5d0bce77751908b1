//! What a handler leaves of a request's body is read before its answer is sent.
//!
//! A route that refuses a request (no login, another site, a body that is too large) has its answer before it has read the
//! body. Sent at once, that answer is lost: the connection is then closed while the client still sends, the kernel answers
//! what comes with a reset, and the client is told of a broken connection instead of its mistake; or it has just sent the
//! rest, takes the connection for a kept one and loses its next request. So the rest is read first, within bounds in bytes
//! and time; a client that sends more, or says that it will, is told at once that the connection ends.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{StatusCode, header},
};
use hyper::body::{Frame, Incoming, SizeHint};

use crate::router::BODY_BYTES_MAX;

/// What is read and thrown away: all of a body that is taken, and one that is up to twice as large as that.
const LEFT_BYTES_MAX: usize = 2 * BODY_BYTES_MAX;
/// The rest of a body comes within this.
const LEFT_WITHIN: Duration = Duration::from_secs(10);

/// A body that its handler and whoever sends the answer read in turn.
struct Shared {
    body: Incoming,
    /// Whether it was asked for: who waits to be invited (`Expect: 100-continue`) is invited by that.
    asked: bool,
    ended: bool,
}

impl Shared {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.asked = true;
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.ended = !matches!(frame, Some(Ok(_)));
        Poll::Ready(frame)
    }

    /// Whether nothing of the rest is worth to be waited for: it is not sent before the answer, is too much, or comes too slowly.
    fn is_hopeless(&self, status: StatusCode, waits: bool) -> bool {
        let is_too_much = self.body.size_hint().lower() > LEFT_BYTES_MAX as u64;
        let refused_unseen = status == StatusCode::PAYLOAD_TOO_LARGE && !self.asked;
        is_too_much || refused_unseen || status == StatusCode::REQUEST_TIMEOUT || (waits && !self.asked)
    }

    fn is_at_end(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }
}

/// A handle on a shared body: the handler's.
struct OfHandler(Arc<Mutex<Shared>>);

impl HttpBody for OfHandler {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        locked(&self.0).poll(cx)
    }

    fn is_end_stream(&self) -> bool {
        locked(&self.0).is_at_end()
    }

    fn size_hint(&self) -> SizeHint {
        locked(&self.0).body.size_hint()
    }
}

/// What is left of a body when its handler has ended.
pub struct Leftover {
    /// None for a request without a body.
    body: Option<Arc<Mutex<Shared>>>,
    /// Whether the client sends its body only when it is invited to.
    waits: bool,
}

/// Parts a request from what its handler may leave of it.
pub fn parted(request: hyper::Request<Incoming>) -> (Request, Leftover) {
    let waits = request.headers().contains_key(header::EXPECT);
    if request.body().is_end_stream() {
        return (request.map(Body::new), Leftover { body: None, waits });
    }
    let (parts, body) = request.into_parts();
    let shared = Arc::new(Mutex::new(Shared { body, asked: false, ended: false }));
    let request = Request::from_parts(parts, Body::new(OfHandler(Arc::clone(&shared))));
    (request, Leftover { body: Some(shared), waits })
}

impl Leftover {
    /// Reads the rest before an answer with this status; false when there is more than is read, so that the connection can serve
    /// no further request.
    pub async fn read_out(self, status: StatusCode) -> bool {
        let Some(shared) = self.body else { return true };
        if locked(&shared).is_at_end() {
            return true;
        }
        if locked(&shared).is_hopeless(status, self.waits) {
            return false;
        }
        let reading = async {
            let mut left = LEFT_BYTES_MAX;
            while let Some(frame) = poll_fn(|cx| locked(&shared).poll(cx)).await {
                // A client that has gone has nothing more to send.
                let Ok(frame) = frame else { return false };
                match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    Some(rest) => left = rest,
                    None => return false,
                }
            }
            true
        };
        tokio::time::timeout(LEFT_WITHIN, reading).await.unwrap_or(false)
    }
}

fn locked(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
