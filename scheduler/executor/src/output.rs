//! What an attempt's process writes, on its way into the log.

use std::{io, time::Duration};

use tokio::{task::JoinHandle, time::timeout};

use crate::{
    Attempt, Outcome,
    log::{LINE_BYTES_MAX, Stream},
    process::{LastLine, Running, pump},
};

/// A line of standard output may be an XCom, which is longer than lines for people.
pub(crate) const OUTPUT_LINE_BYTES_MAX: usize = 128 * 1024;
/// A process that left its group may hold a pipe open for ever; what it still writes is nobody's.
const DRAIN_WAIT: Duration = Duration::from_secs(2);

/// Carries both standard streams of a process into its attempt's log.
pub(crate) struct Output {
    out: JoinHandle<String>,
    err: JoinHandle<()>,
}

impl Output {
    /// Starts to carry.
    pub(crate) fn follow(attempt: &Attempt, running: &mut Running) -> Self {
        let stdout = running.stdout.take().expect("standard output is a pipe");
        let (log, masker) = (attempt.log.clone(), attempt.masker.clone());
        let out = tokio::spawn(async move {
            let mut last = LastLine::default();
            let carry = |line: &str| {
                last.see(line);
                log.line(Stream::Out, line);
            };
            pump(stdout, masker, OUTPUT_LINE_BYTES_MAX, carry).await;
            last.text().to_owned()
        });
        Self { out, err: follow_errors(attempt, running) }
    }

    /// Waits for the last lines of a process whose group is gone, and gives the last one of standard output.
    pub(crate) async fn finish(self) -> String {
        drained(self.err).await;
        drained(self.out).await.unwrap_or_default()
    }
}

/// Carries standard error alone, for a process whose output is not for people.
pub(crate) fn follow_errors(attempt: &Attempt, running: &mut Running) -> JoinHandle<()> {
    let stderr = running.stderr.take().expect("standard error is a pipe");
    let (log, masker) = (attempt.log.clone(), attempt.masker.clone());
    tokio::spawn(async move { pump(stderr, masker, LINE_BYTES_MAX, |line| log.line(Stream::Err, line)).await })
}

/// What a task that carries a finished process's output comes to; nothing when its pipe stays open.
pub(crate) async fn drained<T>(mut task: JoinHandle<T>) -> Option<T> {
    match timeout(DRAIN_WAIT, &mut task).await {
        Ok(result) => result.ok(),
        Err(_) => {
            task.abort();
            None
        }
    }
}

/// Runs a process to its end while `output` takes what it writes, and waits for the rest of that.
pub(crate) async fn alongside<T>(process: impl Future<Output = T>, output: impl Future<Output = ()>) -> T {
    tokio::pin!(process, output);
    tokio::select! {
        ended = &mut process => {
            // What a pipe that stays open would still bring is nobody's.
            let _ = timeout(DRAIN_WAIT, output).await;
            ended
        }
        () = &mut output => process.await,
    }
}

/// The outcome of an attempt whose process could not be run.
pub(crate) fn could_not_run(error: io::Error) -> Outcome {
    Outcome::failed(format!("could not run its process: {error}"))
}
