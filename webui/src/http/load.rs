//! Load: how many requests are answered at once, how many wait for that, and what is told of those for which there is no room.
//!
//! What always holds here: a request waits for its place within bounds in number and time, and before its body is read; and to
//! refuse costs a count: the log has one line in a while, however many come.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit},
    time::{sleep, timeout},
};

use crate::{
    app::App,
    auth::{faces, guard},
    error::ApiError,
};

/// Requests that are being answered: more would only wait for each other, and for the connections to PostgreSQL.
const REQUESTS_MAX: usize = 512;
/// So many more wait for a place, of each the head.
const WAITING_MAX: usize = 512;
/// And for so long: a crowd that is answered within seconds is no reason to refuse anybody.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Answered also when everything else is full: who watches over the server is told the truth.
const ALWAYS_ANSWERED: [&str; 2] = ["/api/v2/monitor/health", "/metrics"];
/// Refusals are told of in the log once in this time.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// The places of requests.
pub struct Gate {
    places: Semaphore,
    waiting: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Self { places: Semaphore::new(REQUESTS_MAX), waiting: Semaphore::new(WAITING_MAX) }
    }
}

impl Gate {
    /// A place, which is waited for when there are not too many who wait already.
    async fn place(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(place) = self.places.try_acquire() {
            return Some(place);
        }
        let _waits = self.waiting.try_acquire().ok()?;
        timeout(WAIT_MAX, self.places.acquire()).await.ok()?.ok()
    }
}

/// Lets a request in when there is room, and refuses it before it costs anything when there is none. The place is given back
/// when the answer begins: streams have places of their own.
pub async fn admit(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    if ALWAYS_ANSWERED.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match gate.place().await {
        Some(_place) => next.run(request).await,
        None => {
            let error = ApiError::Busy(format!("{REQUESTS_MAX} requests are being answered already"));
            faces::said_to(guard::face_of(&request), error)
        }
    }
}

/// Marks an answer that says that there was no room.
#[derive(Debug, Clone, Copy)]
pub struct Refused;

/// What was refused and not told of yet.
#[derive(Debug, Default)]
pub struct Refusals {
    untold: AtomicU64,
    some: Notify,
}

/// Counts the answers that say that there was no room.
pub async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let answer = next.run(request).await;
    if answer.extensions().get::<Refused>().is_some() {
        app.settings.requests.refused();
        app.refusals.untold.fetch_add(1, Ordering::Relaxed);
        app.refusals.some.notify_one();
    }
    answer
}

/// Tells of refusals until the server stops.
pub async fn tell(app: App) {
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = app.refusals.some.notified() => {}
        }
        tokio::select! {
            () = app.shutdown.cancelled() => {}
            () = sleep(TELL_EVERY) => {}
        }
        let requests = app.refusals.untold.swap(0, Ordering::Relaxed);
        if requests > 0 {
            tracing::warn!(
                requests,
                within_secs = TELL_EVERY.as_secs(),
                "requests were refused for want of room (windlass_http_requests_refused_total counts them)"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    impl Gate {
        /// One that has no place, and nobody waits for one.
        pub fn closed() -> Self {
            Self { places: Semaphore::new(0), waiting: Semaphore::new(0) }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_waits_for_its_places_and_only_what_is_too_much_is_refused() {
        let gate = Gate::default();
        let answered = async |_| {
            let place = gate.place().await?;
            sleep(Duration::from_secs(1)).await;
            drop(place);
            Some(())
        };
        let all = join_all((0..REQUESTS_MAX + WAITING_MAX).map(answered)).await;
        assert!(all.iter().all(Option::is_some), "whoever has a place gives it on within a second");
        let more = join_all((0..REQUESTS_MAX + WAITING_MAX + 7).map(answered)).await;
        assert_eq!(more.iter().filter(|one| one.is_none()).count(), 7);
        let held = join_all((0..REQUESTS_MAX).map(|_| gate.place())).await;
        assert!(gate.place().await.is_none() && held.len() == REQUESTS_MAX, "nobody waits for ever");
    }
}
