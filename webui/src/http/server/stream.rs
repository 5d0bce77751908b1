//! The stream below a connection: it gives up on a client that takes nothing, and ends without losing what was said last.
//!
//! A socket that is closed with bytes unread makes the kernel send a reset, and a reset throws away what the other side has
//! not read yet: the answer. So the writing side is closed first, and for a while what still comes is read and forgotten.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// A client that takes nothing of its answer for so long is closed.
const READS_WITHIN: Duration = Duration::from_secs(30);
/// After the last word a client has so long to read it and to close its side.
const LINGERS_FOR: Duration = Duration::from_secs(3);
/// What a client may still send meanwhile: a large upload that was refused.
const LINGERS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes that are forgotten at a time.
const FORGOTTEN_AT_ONCE: usize = 16 * 1024;

/// A stream whose writes fail when the other side takes nothing for [`READS_WITHIN`], and whose end is gentle.
pub struct Impatient<S> {
    stream: S,
    /// Runs while a write waits.
    patience: Option<Pin<Box<Sleep>>>,
    /// Runs when all was said.
    lingering: Option<Lingering>,
}

struct Lingering {
    until: Pin<Box<Sleep>>,
    bytes_left: usize,
}

impl<S> Impatient<S> {
    pub const fn new(stream: S) -> Self {
        Self { stream, patience: None, lingering: None }
    }

    fn judge<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.patience = None;
            return written;
        }
        let until = Instant::now() + READS_WITHIN;
        let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        match patience.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Lingering {
    fn new() -> Self {
        Self { until: Box::pin(tokio::time::sleep(LINGERS_FOR)), bytes_left: LINGERS_BYTES_MAX }
    }

    /// Ready when the other side has closed, or has had its time.
    fn poll<S: AsyncRead + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; FORGOTTEN_AT_ONCE];
        while self.until.as_mut().poll(cx).is_pending() && self.bytes_left > 0 {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
            self.bytes_left = self.bytes_left.saturating_sub(buffer.filled().len());
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingering.is_none() {
            let shut = Pin::new(&mut this.stream).poll_shutdown(cx);
            ready!(this.judge(cx, shut))?;
        }
        this.lingering.get_or_insert_with(Lingering::new).poll(&mut this.stream, cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_given_up() {
        let (ours, _theirs) = tokio::io::duplex(16);
        let mut stream = Impatient::new(ours);
        let error = stream.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_waits_for_what_the_client_still_sends_but_not_for_ever() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let mut stream = Impatient::new(ours);
        let before = Instant::now();
        let sending = async {
            theirs.write_all(&[0; 100_000]).await.unwrap();
            theirs.shutdown().await.unwrap();
            let mut nothing = Vec::new();
            theirs.read_to_end(&mut nothing).await.unwrap();
        };
        let (ended, ()) = tokio::join!(stream.shutdown(), sending);
        ended.unwrap();
        assert_eq!(before.elapsed(), Duration::ZERO, "nothing is waited for when the client has closed");
        let (ours, _silent) = tokio::io::duplex(1024);
        Impatient::new(ours).shutdown().await.unwrap();
        let waited = before.elapsed();
        assert!(waited >= LINGERS_FOR && waited < LINGERS_FOR * 2, "{waited:?}");
    }
}
