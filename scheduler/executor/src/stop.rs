//! The request to end an attempt early. The first cause counts.

use std::sync::{Arc, OnceLock};

use model::EndKind;
use tokio_util::sync::CancellationToken;

/// Why an attempt is to end early, and how that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopCause {
    /// In which way the attempt ends.
    pub kind: EndKind,
    /// One sentence.
    pub reason: String,
}

/// The request to end one attempt, shared by those who may ask and the executor that obeys.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    token: CancellationToken,
    cause: Arc<OnceLock<StopCause>>,
}

impl Stop {
    /// Asks for the end. Only the first request has an effect.
    pub fn request(&self, cause: StopCause) {
        if self.cause.set(cause).is_ok() {
            self.token.cancel();
        }
    }

    /// Waits for a request.
    pub async fn requested(&self) -> StopCause {
        self.token.cancelled().await;
        self.cause.get().cloned().expect("the cause is set before the token is cancelled")
    }

    /// Whether the end has been asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }
}
