//! Carries what a container writes into lines, each once, whatever happens to the connection or the worker.
//!
//! The engine keeps all that was written. After a break everything is read again from the start, and as many lines of each
//! stream are passed over as were given before: the cut into lines depends on the bytes alone.

use std::time::Duration;

use bollard::{container::LogOutput, models::ContainerState};
use futures::StreamExt as _;
use tokio::time::{Instant, sleep};

use super::{DockerError, engine::Engine};
use crate::{
    Masker,
    log::{LINE_BYTES_MAX, LineSplitter, Part, Stream, Written},
    output::OUTPUT_LINE_BYTES_MAX,
};

/// How long an engine may be away: long enough for it to be restarted or replaced by a newer one.
const AWAY_MAX: Duration = Duration::from_secs(60);
/// The pause before it is asked again.
const AWAY_PAUSE: Duration = Duration::from_millis(500);
/// How long the end of the output may be ahead of the end of the container.
const SETTLE_WAIT: Duration = Duration::from_secs(2);

/// What takes the lines.
pub(super) trait Sink: Send {
    /// A part of a stream, for the first time.
    fn part(&mut self, stream: Stream, part: Part<'_>);

    /// A part that was given before this worker started.
    fn seen(&mut self, stream: Stream, part: Part<'_>) {
        let _ = (stream, part);
    }
}

/// A container whose output is carried.
pub(super) struct Follow<'a, S> {
    engine: &'a Engine,
    id: &'a str,
    masker: Masker,
    sink: S,
    /// The lines that an earlier worker has carried.
    inherited: Written,
    /// The lines that were given to the sink, inherited ones included.
    given: Written,
}

/// One reading from the start.
struct Reading {
    out: LineSplitter,
    err: LineSplitter,
    read: Written,
}

impl<'a, S: Sink> Follow<'a, S> {
    /// Follows a container from the line after those that are `inherited`.
    pub(super) fn new(engine: &'a Engine, id: &'a str, masker: Masker, inherited: Written, sink: S) -> Self {
        Self { engine, id, masker, sink, inherited, given: Written::default() }
    }

    /// Carries everything until the container does not run any more; how it ended.
    pub(super) async fn run(&mut self) -> Result<ContainerState, DockerError> {
        let mut away_since = None;
        loop {
            let reading = self.read().await;
            self.engine.settle(self.id, SETTLE_WAIT).await;
            match self.engine.inspect(self.id).await {
                Ok(found) => {
                    away_since = None;
                    let state = found.state.unwrap_or_default();
                    if !is_alive(&state) {
                        // Docker 20.10 ends the stream at times before the lines that were written last, and a connection
                        // may have broken; what a container that has ended has written is there whole.
                        if let Some(whole) = self.read().await.or(reading) {
                            self.finish(whole);
                        }
                        return Ok(state);
                    }
                }
                Err(error @ DockerError::Away { .. }) => {
                    let since = *away_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > AWAY_MAX {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
            sleep(AWAY_PAUSE).await;
        }
    }

    /// What became of the lines.
    pub(super) fn into_sink(self) -> S {
        self.sink
    }

    /// Reads from the start as far as it goes; nothing when the connection broke.
    async fn read(&mut self) -> Option<Reading> {
        let mut reading = Reading {
            out: LineSplitter::new(self.masker.clone(), OUTPUT_LINE_BYTES_MAX),
            err: LineSplitter::new(self.masker.clone(), LINE_BYTES_MAX),
            read: Written::default(),
        };
        let mut output = std::pin::pin!(self.engine.logs(self.id));
        while let Some(piece) = output.next().await {
            self.take(&mut reading, piece.ok()?);
        }
        Some(reading)
    }

    fn take(&mut self, reading: &mut Reading, piece: LogOutput) {
        let Reading { out, err, read } = reading;
        match piece {
            LogOutput::StdErr { message } => err.push(&message, |part| self.give(read, Stream::Err, part)),
            LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
                out.push(&message, |part| self.give(read, Stream::Out, part));
            }
        }
    }

    /// The last lines may have no end of their own.
    fn finish(&mut self, reading: Reading) {
        let Reading { out, err, mut read } = reading;
        out.finish(|part| self.give(&mut read, Stream::Out, part));
        err.finish(|part| self.give(&mut read, Stream::Err, part));
    }

    fn give(&mut self, read: &mut Written, stream: Stream, part: Part<'_>) {
        if let Part::State(_) = part {
            // It belongs to the line that comes; one that was given is over.
            if read.of(stream) >= self.given.of(stream) {
                self.sink.part(stream, part);
            }
            return;
        }
        let number = read.count(stream);
        if number <= self.given.of(stream) {
            return;
        }
        self.given.count(stream);
        if number <= self.inherited.of(stream) {
            self.sink.seen(stream, part);
        } else {
            self.sink.part(stream, part);
        }
    }
}

fn is_alive(state: &ContainerState) -> bool {
    [state.running, state.paused, state.restarting].contains(&Some(true))
}
