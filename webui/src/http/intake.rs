//! The bodies of requests, as far as they are taken: so many bytes, within so much time.
//!
//! What always holds here: a body that says that it is too large is refused before anything of it is read; a client that sends
//! its body slowly is told so before the time for the answer is over; and every handler reads its body in this way.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    BoxError, Form,
    body::{Body, Bytes, HttpBody},
    extract::{FromRequest, Request, State},
    http::StatusCode,
    middleware::Next,
    response::Response,
};
use hyper::body::{Frame, SizeHint};
use serde::de::DeserializeOwned;
use tokio::time::Sleep;

use crate::{
    auth::{faces, guard},
    error::{ApiError, ApiResult},
    router::{BODY_BYTES_MAX, DEPLOY_BYTES_MAX},
};

/// A body did not come in its time.
#[derive(Debug, thiserror::Error)]
#[error("it did not come within {} s", .within.as_secs_f32())]
struct TooSlow {
    within: Duration,
}

/// A body that has to come within a time, which begins with its request's head.
struct Timely {
    body: Body,
    within: Duration,
    until: Pin<Box<Sleep>>,
}

impl HttpBody for Timely {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let within = self.within;
        self.until.as_mut().poll(cx).map(|()| Some(Err(TooSlow { within }.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Refuses a body that says that it is larger than any route takes, and gives every other one its time.
pub async fn limit(State(within): State<Duration>, request: Request, next: Next) -> Response {
    if let Err(error) = refuse_larger(&request, largest(request.uri().path())) {
        return faces::said_to(guard::face_of(&request), error);
    }
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let until = Box::pin(tokio::time::sleep(within));
    next.run(request.map(|body| Body::new(Timely { body, within, until }))).await
}

/// How large a body may be at most. The route itself is not known here yet, and looks again.
fn largest(path: &str) -> usize {
    let is_deployment = path.starts_with("/api/v2/dagBundles/") && path.ends_with("/revisions");
    if is_deployment { DEPLOY_BYTES_MAX } else { BODY_BYTES_MAX }
}

/// What a body says of its size at the beginning.
fn refuse_larger(request: &Request, bytes_max: usize) -> ApiResult<()> {
    let is_larger = usize::try_from(request.body().size_hint().lower()).map_or(true, |bytes| bytes > bytes_max);
    if is_larger { Err(ApiError::TooLarge { bytes_max }) } else { Ok(()) }
}

/// The whole body of a request, for a route that takes so many bytes.
///
/// # Errors
/// [`ApiError::TooLarge`], [`ApiError::TooSlow`], and [`ApiError::BadRequest`] when the connection broke.
pub async fn read(request: Request, bytes_max: usize) -> ApiResult<Bytes> {
    refuse_larger(&request, bytes_max)?;
    Bytes::from_request(request, &()).await.map_err(|error| unread(error.status(), &error, bytes_max))
}

/// The fields of a form.
///
/// # Errors
/// As [`read`], and [`ApiError::BadRequest`] when it is none.
pub async fn read_form<T: DeserializeOwned>(request: Request, bytes_max: usize) -> ApiResult<T> {
    refuse_larger(&request, bytes_max)?;
    let form = Form::from_request(request, &()).await;
    form.map(|Form(fields)| fields).map_err(|error| unread(error.status(), &error, bytes_max))
}

/// Why a body could not be read.
fn unread(status: StatusCode, error: &(dyn Error + 'static), bytes_max: usize) -> ApiError {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        return ApiError::TooLarge { bytes_max };
    }
    let causes = std::iter::successors(Some(error), |&error| error.source());
    match causes.filter_map(|cause| cause.downcast_ref::<TooSlow>()).next() {
        Some(TooSlow { within }) => ApiError::TooSlow { within: *within },
        None => ApiError::BadRequest(format!("the body could not be read: {error}")),
    }
}
