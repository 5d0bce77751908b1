//! How a worker is asked to end: first to leave when its attempts have ended, then at once.

use tokio_util::sync::CancellationToken;

/// The request to end a worker, shared by whoever may ask.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    leave: CancellationToken,
    stop: CancellationToken,
}

impl Shutdown {
    /// Asks the worker to take nothing new, to let its attempts run for as long as its settings allow, and to end.
    pub fn leave(&self) {
        self.leave.cancel();
    }

    /// Asks the worker to end now: what runs is handed back.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// The first request, then the second: what signals do.
    pub fn ask(&self) {
        if self.leave.is_cancelled() {
            self.stop.cancel();
        }
        self.leave.cancel();
    }

    pub(super) async fn leaving(&self) {
        self.leave.cancelled().await;
    }

    pub(super) async fn stopping(&self) {
        self.stop.cancelled().await;
    }
}

impl From<CancellationToken> for Shutdown {
    /// A token that ends the worker at once.
    fn from(stop: CancellationToken) -> Self {
        Self { leave: CancellationToken::new(), stop }
    }
}
