//! What a leadership starts lives in its scope and ends with it: tasks, threads, and through them their connections.

use std::time::Duration;

use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// How long the end of a scope may take. A thread that a dead disk holds ends when the disk answers; nobody waits for it.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// The owner of tasks and threads. All are told to end when it is dropped; [`Scope::end`] also waits for them.
#[derive(Debug, Default)]
pub struct Scope {
    handle: ScopeHandle,
}

/// Starts tasks in a scope.
#[derive(Debug, Clone, Default)]
pub struct ScopeHandle {
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Scope {
    /// For those who start something later.
    #[must_use]
    pub fn handle(&self) -> ScopeHandle {
        self.handle.clone()
    }

    /// Ends everything, and waits until it has ended.
    pub async fn end(self) {
        self.handle.stop.cancel();
        self.handle.tracker.close();
        if tokio::time::timeout(ENDS_WITHIN, self.handle.tracker.wait()).await.is_err() {
            let left = self.handle.tracker.len();
            tracing::warn!(
                left,
                "tasks or threads of an ended leadership still hang; they end when what they wait for answers"
            );
        }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.handle.stop.cancel();
    }
}

impl ScopeHandle {
    /// Starts a task that is dropped at the scope's end, wherever it waits.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let until_stopped = self.stop.clone().run_until_cancelled_owned(task);
        drop(self.tracker.spawn(async move {
            let _ended_or_stopped = until_stopped.await;
        }));
    }

    /// Held by something that is no task, such as a thread, until it has ended.
    pub fn guest(&self) -> TaskTrackerToken {
        self.tracker.token()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn what_is_started_in_a_scope_is_gone_when_it_has_ended() {
        let owned = Arc::new(());
        let scope = Scope::default();
        let held = Arc::clone(&owned);
        scope.handle().spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        let (guest, held) = (scope.handle().guest(), Arc::clone(&owned));
        let thread = std::thread::spawn(move || {
            let _guest = guest;
            std::thread::park_timeout(Duration::from_millis(50));
            drop(held);
        });
        scope.end().await;
        assert_eq!(Arc::strong_count(&owned), 1, "nothing holds it any more");
        thread.join().unwrap();
    }
}
