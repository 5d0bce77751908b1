//! News for open pages: one connection listens for changed runs, and everybody who watches is told.
//!
//! A hint says only what to fetch again. Whoever misses one is told to fetch everything, so nothing stays stale.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::StreamExt;
use model::RunKey;
use store::Hint;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, broadcast, broadcast::error::RecvError},
    time::Instant,
};
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};

use crate::{
    app::App,
    error::{ApiError, ApiResult},
};

/// At most ten hints a second: people do not read faster, and pages fetch on each.
const HINT_PAUSE: Duration = Duration::from_millis(100);
/// More changed runs than this in one hint, and "everything" is the shorter text.
const RUNS_MAX: usize = 200;
/// Hints that a slow watcher may fall behind before it is told to fetch everything.
const HINTS_BEHIND_MAX: usize = 64;
/// Open event streams of one web process; each is a connection and a small buffer.
const WATCHERS_MAX: usize = 1_000;
/// What is sent when everything may have changed.
const EVERYTHING: &str = "*";

/// Everybody who watches.
pub struct Hub {
    hints: broadcast::Sender<Arc<str>>,
    places: Arc<Semaphore>,
}

impl Default for Hub {
    fn default() -> Self {
        Self { hints: broadcast::Sender::new(HINTS_BEHIND_MAX), places: Arc::new(Semaphore::new(WATCHERS_MAX)) }
    }
}

impl Hub {
    /// A place among those who watch, held as long as they do.
    ///
    /// # Errors
    /// [`ApiError::NoLeader`], to be asked again, when all are taken.
    pub fn place(&self) -> ApiResult<OwnedSemaphorePermit> {
        Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| ApiError::NoLeader("too many clients wait to be told of changes".to_owned()))
    }

    fn tell(&self, hint: &str) {
        // Nobody watching is not an error.
        let _ = self.hints.send(Arc::from(hint));
    }
}

/// Passes on what the process hears of changed runs until the server stops.
pub async fn pass_on(app: App) {
    let mut news = app.hints.subscribe();
    let stop = app.shutdown.clone();
    loop {
        let first = tokio::select! {
            () = stop.cancelled() => return,
            first = news.recv() => first,
        };
        let mut changed = Changed::default();
        changed.add(first);
        let until = Instant::now() + HINT_PAUSE;
        while let Ok(more) = tokio::time::timeout_at(until, news.recv()).await {
            changed.add(more);
        }
        if let Some(hint) = changed.hint() {
            app.hub.tell(&hint);
        }
    }
}

/// What has changed since the last hint.
#[derive(Default)]
struct Changed {
    runs: BTreeSet<i64>,
    everything: bool,
}

impl Changed {
    /// Takes a piece of news; what was missed stands for everything.
    fn add(&mut self, news: Result<Hint, RecvError>) {
        match news {
            Ok(Hint::Changes(runs)) if !runs.is_empty() => self.runs.extend(runs.into_iter().map(RunKey::get)),
            Ok(Hint::Changes(_) | Hint::Everything) | Err(RecvError::Lagged(_) | RecvError::Closed) => {
                self.everything = true;
            }
            Ok(Hint::Inbox | Hint::Answers(_)) => {}
        }
        self.everything |= self.runs.len() > RUNS_MAX;
    }

    fn hint(&self) -> Option<String> {
        if self.everything {
            return Some(EVERYTHING.to_owned());
        }
        let runs: Vec<_> = self.runs.iter().map(ToString::to_string).collect();
        (!runs.is_empty()).then(|| runs.join(","))
    }
}

/// `GET /events`: a `changed` event with the runs to fetch again, `*` for everything.
pub async fn events(State(app): State<App>) -> ApiResult<Response> {
    let place = app.hub.place()?;
    let hints = BroadcastStream::new(app.hub.hints.subscribe()).map(move |hint| {
        let _held_while_the_stream_lives = &place;
        let text = match &hint {
            Ok(hint) => hint.as_ref(),
            Err(BroadcastStreamRecvError::Lagged(_)) => EVERYTHING,
        };
        Ok::<_, Infallible>(Event::default().event("changed").data(text))
    });
    let stop = app.shutdown.clone();
    let stream = hints.take_until(stop.cancelled_owned());
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint_of(news: Vec<Result<Hint, RecvError>>) -> Option<String> {
        let mut changed = Changed::default();
        news.into_iter().for_each(|one| changed.add(one));
        changed.hint()
    }

    fn changes(runs: impl IntoIterator<Item = i64>) -> Result<Hint, RecvError> {
        Ok(Hint::Changes(runs.into_iter().map(RunKey).collect()))
    }

    #[test]
    fn a_hint_names_each_run_once() {
        assert_eq!(hint_of(vec![changes([7, 3]), changes([7])]).unwrap(), "3,7");
    }

    #[test]
    fn what_can_not_be_named_is_everything() {
        for news in [changes([]), Ok(Hint::Everything), Err(RecvError::Lagged(3)), changes(0..300)] {
            assert_eq!(hint_of(vec![changes([1]), news]).unwrap(), EVERYTHING);
        }
    }

    #[test]
    fn commands_and_answers_are_no_news_for_pages() {
        assert_eq!(hint_of(vec![Ok(Hint::Inbox), Ok(Hint::Answers(Vec::new()))]), None);
    }
}
