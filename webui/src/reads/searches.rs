//! Searches over many runs: each may keep a connection busy for as long as a statement may take, so only a few run at once.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::error::{ApiError, ApiResult};

/// A third of the pool's connections; the others are for what answers at once.
const AT_ONCE_MAX: usize = 4;
/// So many more wait for a place: less than requests may be under way, so that others have room beside them.
const WAITING_MAX: usize = 384;
/// And for so long: most searches take milliseconds, and an answer may take half a minute.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// The places of searches.
pub struct Searches {
    places: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Default for Searches {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE_MAX)), waiting: Semaphore::new(WAITING_MAX) }
    }
}

impl Searches {
    /// A place, held until it is dropped.
    ///
    /// # Errors
    /// [`ApiError::Busy`] when others search for long.
    pub async fn enter(&self) -> ApiResult<OwnedSemaphorePermit> {
        let busy = || ApiError::Busy("too many searches over many runs are under way".to_owned());
        let _waits = self.waiting.try_acquire().map_err(|_| busy())?;
        let place = timeout(WAIT_MAX, Arc::clone(&self.places).acquire_owned()).await;
        place.ok().and_then(Result::ok).ok_or_else(busy)
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

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

    #[tokio::test(start_paused = true)]
    async fn three_hundred_clients_that_search_at_once_are_answered_one_after_another() {
        let searches = Searches::default();
        let search = async |_| {
            let place = searches.enter().await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
            drop(place);
            Ok::<_, ApiError>(())
        };
        let found = join_all((0..300).map(search)).await;
        assert_eq!(found.iter().filter(|one| one.is_ok()).count(), 300);
        let crowd = join_all((0..WAITING_MAX + AT_ONCE_MAX + 50).map(search)).await;
        assert!(crowd.iter().any(Result::is_err), "how many wait is bounded");
    }
}
