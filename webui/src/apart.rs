//! The web server on threads of its own, for a process that also leads.
//!
//! What always holds here: nothing that a request does, a long computation or a blocked thread included, takes time from
//! the caller's runtime. The two share no thread and no connection of PostgreSQL; questions cross by a bounded channel.

use std::{io, net::TcpListener, sync::Arc, thread, time::Duration};

use link::LeaderPort;
use tokio::{runtime::Builder, sync::oneshot};
use tokio_util::sync::CancellationToken;

use crate::{AppSettings, ServeError, serve};

/// Pages wait for PostgreSQL most of the time: two threads serve hundreds of sessions.
const THREADS: usize = 2;
/// What a request may still do with its thread or connection when the server ends; then they are left to themselves.
const END_WITHIN: Duration = Duration::from_secs(2);

/// The database of a web server that runs apart.
#[derive(Debug, Clone)]
pub struct WebDatabase {
    /// Its URL.
    pub url: String,
    /// How long a statement may take.
    pub statement_timeout: Duration,
}

/// A web server on its own threads.
#[derive(Debug)]
pub struct Apart {
    /// None when its end has been told.
    ended: Option<oneshot::Receiver<Result<(), ServeError>>>,
}

impl Apart {
    /// Returns when the server has ended, with all that it was answering: by `shutdown`, or because it can not go on. Its
    /// end is told once; who asks again does not wait.
    ///
    /// # Errors
    /// As [`serve`].
    pub async fn ended(&mut self) -> Result<(), ServeError> {
        let Some(end) = &mut self.ended else { return Ok(()) };
        let died = || ServeError::Socket(io::Error::other("its threads ended without a word; the log has more"));
        let ended = end.await.unwrap_or_else(|_| Err(died()));
        self.ended = None;
        ended
    }
}

/// Serves as [`serve`] does, on threads and connections of its own. A thread that is blocked then ends with the process.
///
/// # Errors
/// [`ServeError::Socket`] when the threads can not be started.
pub fn serve_apart(
    settings: AppSettings,
    listener: TcpListener,
    database: WebDatabase,
    leader: Arc<dyn LeaderPort>,
    shutdown: CancellationToken,
) -> Result<Apart, ServeError> {
    listener.set_nonblocking(true)?;
    let runtime =
        Builder::new_multi_thread().worker_threads(THREADS).thread_name("windlass-web").enable_all().build()?;
    let (tell, ended) = oneshot::channel();
    thread::Builder::new().name("windlass-web".to_owned()).spawn(move || {
        let serving = async {
            let pools = store::open_for_web(&database.url, database.statement_timeout).await?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let served = serve(settings, listener, pools.clone(), leader, shutdown).await;
            if tokio::time::timeout(END_WITHIN, pools.close()).await.is_err() {
                tracing::warn!("connections of the web server to PostgreSQL are left to their statements' time limit");
            }
            served
        };
        let served = runtime.block_on(serving);
        runtime.shutdown_timeout(END_WITHIN);
        // Whoever started it may have gone.
        drop(tell.send(served));
    })?;
    Ok(Apart { ended: Some(ended) })
}
