//! Carries what a process writes into lines.

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{
    Masker,
    log::{LineSplitter, Part},
};

/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;

/// Reads until the end of the stream and gives each line to `line`, and each piece of one that is too long. A slow reader of
/// lines slows the process down.
pub async fn pump<R>(stream: R, masker: Masker, line_bytes_max: usize, mut line: impl FnMut(&str))
where
    R: AsyncRead + Unpin,
{
    pump_parts(stream, masker, line_bytes_max, |part| part.lasting().into_iter().for_each(&mut line)).await;
}

/// Reads until the end of the stream and gives its parts. A slow reader of parts slows the process down.
pub(crate) async fn pump_parts<R>(mut stream: R, masker: Masker, line_bytes_max: usize, mut take: impl FnMut(Part<'_>))
where
    R: AsyncRead + Unpin,
{
    let mut splitter = LineSplitter::new(masker, line_bytes_max);
    let mut bytes = vec![0; READ_BYTES];
    loop {
        match stream.read(&mut bytes).await {
            // A pipe that fails has no more to give than one that has ended.
            Ok(0) | Err(_) => break,
            Ok(read) => splitter.push(&bytes[..read], &mut take),
        }
    }
    splitter.finish(take);
}

/// Remembers the last line that is not empty.
#[derive(Debug, Default)]
pub struct LastLine(String);

impl LastLine {
    /// Takes the next line.
    pub fn see(&mut self, line: &str) {
        if !line.trim().is_empty() {
            line.clone_into(&mut self.0);
        }
    }

    /// The last line.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}
