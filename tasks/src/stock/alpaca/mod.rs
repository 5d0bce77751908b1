//! Live trades of Alpaca's market data stream.
//!
//! A connection that ends for any reason is made again, after a pause that grows and is partly random; only what waiting
//! cannot mend (wrong keys, a feed that is not subscribed to, too many symbols) ends the producer, with the reason. What is
//! received reaches the topic: a message that is no trade goes there raw with its reason, so that the sink puts it among
//! the dead letters. Cancels and corrections go the same way and change no trade. What is sent while nobody is connected
//! is lost, since the stream cannot be read again; a repeat after a new connection has the same `trade_id`, by which
//! silver takes each trade once. The keys never reach a log.

mod fault;
mod protocol;
mod session;
mod settings;

pub use fault::{AlpacaError, Refusal, Verdict};
pub use settings::{AlpacaSettings, Timing};

use super::encoder::TradeEncoder;
use super::outlet::Outlet;
use crate::runtime::service::Worker;
use session::{Ended, Session};
use std::time::Duration;
use tokio::time::Instant;

/// What a trade's `source` says.
const NAME: &str = "alpaca";

/// Reads the stream into the outlet until the worker is stopped.
///
/// # Errors
/// What a new connection would not mend, and the log's own failures.
pub(super) async fn produce(
    settings: &AlpacaSettings,
    symbols: &[String],
    worker: &Worker,
    mut encoder: TradeEncoder,
    mut outlet: Outlet,
) -> anyhow::Result<()> {
    let mut pauses = Pauses::new(settings.timing);
    loop {
        worker.meter.turn();
        let mut session = Session::new(settings, symbols, worker, &mut encoder, &mut outlet);
        let ended = session.run().await;
        let lasted = session.subscribed_at().map(|at| at.elapsed());
        match ended {
            Ok(Ended::Stopped) => break,
            Err(AlpacaError::Log(error)) => return Err(error.into()),
            Err(error) => match error.verdict() {
                Verdict::Final => return Err(error.into()),
                Verdict::Retry => worker.failed(&error),
            },
        }
        // What was received before the connection ended must not wait for the next one.
        outlet.settle().await?;
        let pause = pauses.next(lasted);
        tracing::info!(millis = pause.as_millis(), "the next connection to Alpaca is made after a pause");
        if !wait(worker, pause).await {
            break;
        }
    }
    Ok(outlet.settle().await?)
}

/// Whether the pause is over; otherwise the worker is to stop.
async fn wait(worker: &Worker, pause: Duration) -> bool {
    let over = Instant::now() + pause;
    loop {
        // A worker that waits for its next connection is healthy.
        worker.meter.turn();
        let next = over.min(Instant::now() + Duration::from_secs(1));
        tokio::select! {
            () = worker.stop.cancelled() => return false,
            () = tokio::time::sleep_until(next) => {}
        }
        if Instant::now() >= over {
            return true;
        }
    }
}

/// How long to wait before each connection.
struct Pauses {
    timing: Timing,
    span: Duration,
}

impl Pauses {
    fn new(timing: Timing) -> Self {
        Self { timing, span: timing.pause_first }
    }

    /// The pause after a connection that was subscribed for so long, or never: a random part of a span that doubles.
    fn next(&mut self, subscribed_for: Option<Duration>) -> Duration {
        if subscribed_for.is_some_and(|lasted| lasted >= self.timing.settled_after) {
            self.span = self.timing.pause_first;
        }
        let span = self.span;
        self.span = (span * 2).min(self.timing.pause_max);
        // At least half, so that a crowd of clients is spread without any of them hurrying.
        span.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_start_again_after_a_connection_that_lasted() {
        let timing = Timing::default();
        let mut pauses = Pauses::new(timing);
        let first = pauses.next(None);
        assert!(first <= timing.pause_first && first >= timing.pause_first / 2);
        for _ in 0..20 {
            assert!(pauses.next(Some(Duration::ZERO)) <= timing.pause_max);
        }
        assert!(pauses.next(None) >= timing.pause_max / 2);
        assert!(pauses.next(Some(timing.settled_after)) <= timing.pause_first);
    }
}
