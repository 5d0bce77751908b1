//! How long to wait for a coordinator that can not answer now, and when to give up.

use std::time::Duration;

use rand::Rng as _;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use tokio::time::Instant;

/// A coordinator that restarts is back within two minutes; Trino itself keeps a query for five without its client.
const GIVE_UP_AFTER: Duration = Duration::from_secs(120);
/// The first pause.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause of our own making.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Whatever the server asks for: a longer pause would be a query without a client.
const ASKED_MAX: Duration = Duration::from_secs(60);

/// The patience with one request.
#[derive(Debug)]
pub(super) struct Patience {
    began: Instant,
    tries: u32,
}

impl Patience {
    /// It begins with the first try.
    pub(super) fn begin() -> Self {
        Self { began: Instant::now(), tries: 0 }
    }

    /// How long to wait before the next try; none when it is over.
    pub(super) fn pause(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.tries += 1;
        let own = PAUSE_MAX.min(PAUSE_MIN.saturating_mul(1 << self.tries.min(16)));
        // Whoever fails together does not come back together.
        let pause = rand::rng().random_range(own / 2..=own).max(asked.unwrap_or_default().min(ASKED_MAX));
        (self.began.elapsed() + pause < GIVE_UP_AFTER).then_some(pause)
    }

    /// For the reason: `12 tries within 118 s`.
    pub(super) fn spent(&self) -> String {
        format!("{} tries within {} s", self.tries, self.began.elapsed().as_secs())
    }
}

/// The seconds that a server asks for; a date is not worth a clock here.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_patience_ends() {
        let mut patience = Patience::begin();
        let mut pauses = Vec::new();
        while let Some(pause) = patience.pause(None) {
            pauses.push(pause);
            tokio::time::advance(pause).await;
        }
        assert!(pauses[0] <= Duration::from_millis(200), "{pauses:?}");
        assert!(pauses.len() > 10 && pauses.len() < 60, "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= PAUSE_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_asks_for_is_heeded_within_reason() {
        let mut patience = Patience::begin();
        assert_eq!(patience.pause(Some(Duration::from_secs(7))), Some(Duration::from_secs(7)));
        assert_eq!(patience.pause(Some(Duration::from_secs(86_400))), Some(ASKED_MAX));
    }
}
