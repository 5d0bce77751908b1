//! Searches over many runs: each may keep a connection busy for as long as a statement may take, so only a few run at once.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::error::{ApiError, ApiResult};

/// A third of the pool's connections; the others are for what answers at once.
const AT_ONCE_MAX: usize = 4;
/// A place that is not free within this is not waited for: most searches take milliseconds.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// The places of searches.
pub struct Searches(Arc<Semaphore>);

impl Default for Searches {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE_MAX)))
    }
}

impl Searches {
    /// A place, held until it is dropped.
    ///
    /// # Errors
    /// [`ApiError::Busy`] when others search for long.
    pub async fn enter(&self) -> ApiResult<OwnedSemaphorePermit> {
        let place = timeout(WAIT_MAX, Arc::clone(&self.0).acquire_owned()).await;
        let busy = || ApiError::Busy(format!("{AT_ONCE_MAX} searches over many runs are under way"));
        place.ok().and_then(Result::ok).ok_or_else(busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_search_too_many_is_told_to_come_again() {
        let searches = Searches::default();
        let mut held = Vec::new();
        for _ in 0..AT_ONCE_MAX {
            held.push(searches.enter().await.unwrap());
        }
        assert!(matches!(searches.enter().await, Err(ApiError::Busy(_))));
        held.pop();
        assert!(searches.enter().await.is_ok());
    }
}
