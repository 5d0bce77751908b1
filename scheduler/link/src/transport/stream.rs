//! A link over a byte stream: one task writes what is sent, one reads what arrives.

use std::sync::{Arc, OnceLock};

use serde::Serialize;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, BufWriter},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use super::{
    Claim, FrameError, Link, LinkReceiver, LinkSender, MESSAGES_WAITING_MAX, frame::read_message, write_frame,
};
use crate::Message;

/// Makes a link of a stream. It ends when the stream ends, when a frame can not be read or written, or when its sending
/// half is dropped; the stream is closed then.
pub fn over_stream<S, Out, In>(stream: S) -> Link<Out, In>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
    Out: Serialize + Send + Sync + 'static,
    In: Message + Send + 'static,
{
    over_stream_with(stream, ())
}

/// The same; `kept` is dropped when the stream is closed.
pub(super) fn over_stream_with<S, Out, In, K>(stream: S, kept: K) -> Link<Out, In>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
    Out: Serialize + Send + Sync + 'static,
    In: Message + Send + 'static,
    K: Send + 'static,
{
    let (reader, writer) = tokio::io::split(stream);
    let (out_sender, out_receiver) = mpsc::channel(MESSAGES_WAITING_MAX);
    let (in_sender, in_receiver) = mpsc::channel(MESSAGES_WAITING_MAX);
    let fault = Arc::new(OnceLock::new());
    let over = CancellationToken::new();
    tokio::spawn(read_all(reader, in_sender, Arc::clone(&fault), over.clone()));
    tokio::spawn(async move {
        write_all(writer, out_receiver, over).await;
        drop(kept);
    });
    Link {
        sender: LinkSender(out_sender),
        receiver: LinkReceiver { messages: in_receiver, fault },
        claim: Claim::Trusted,
    }
}

async fn write_all<W, Out>(writer: W, mut messages: mpsc::Receiver<Out>, over: CancellationToken)
where
    W: AsyncWrite + Unpin,
    Out: Serialize,
{
    let mut writer = BufWriter::new(writer);
    let written = over.run_until_cancelled(write_until_closed(&mut writer, &mut messages)).await;
    if let Some(Err(error)) = written {
        tracing::warn!(%error, "a connection of the worker link ended while sending");
    }
    over.cancel();
    // The other side may be gone already: then there is nothing left to close.
    let _ = writer.shutdown().await;
}

/// Flushes only when nothing more waits, so that a burst of messages costs few system calls.
async fn write_until_closed<W, Out>(writer: &mut W, messages: &mut mpsc::Receiver<Out>) -> Result<(), FrameError>
where
    W: AsyncWrite + Unpin,
    Out: Serialize,
{
    while let Some(message) = messages.recv().await {
        write_frame(writer, &message).await?;
        if messages.is_empty() {
            writer.flush().await?;
        }
    }
    writer.flush().await?;
    Ok(())
}

async fn read_all<R, In>(
    reader: R,
    messages: mpsc::Sender<In>,
    fault: Arc<OnceLock<FrameError>>,
    over: CancellationToken,
) where
    R: AsyncRead + Unpin,
    In: Message,
{
    let mut reader = BufReader::new(reader);
    let read = over.run_until_cancelled(read_until_closed(&mut reader, &messages)).await;
    if let Some(Err(error)) = read {
        // Only this task sets the fault, and only here.
        let _ = fault.set(error);
    }
    over.cancel();
}

async fn read_until_closed<R, In>(reader: &mut R, messages: &mpsc::Sender<In>) -> Result<(), FrameError>
where
    R: AsyncRead + Unpin,
    In: Message,
{
    while let Some(message) = read_message(reader).await? {
        if messages.send(message).await.is_err() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FromWorker, ToWorker};

    fn beat() -> FromWorker {
        FromWorker::Beat { services: Vec::new(), started: Vec::new(), leaving: false }
    }

    #[tokio::test]
    async fn messages_pass_in_both_directions_in_order() {
        let (left, right) = tokio::io::duplex(1024);
        let worker: Link<FromWorker, ToWorker> = over_stream(left);
        let mut leader: Link<ToWorker, FromWorker> = over_stream(right);
        worker.send(beat()).await.unwrap();
        assert_eq!(leader.recv().await.unwrap(), Some(beat()));
        let (_sender, mut received) = worker.split();
        for seq in 0..1000 {
            let send = leader.send(ToWorker::Ack { seq });
            let (sent, got) = tokio::join!(send, received.recv());
            sent.unwrap();
            assert_eq!(got.unwrap(), Some(ToWorker::Ack { seq }));
        }
    }

    #[tokio::test]
    async fn what_was_sent_before_closing_still_arrives() {
        let (left, right) = tokio::io::duplex(64);
        let worker: Link<FromWorker, ToWorker> = over_stream(left);
        let mut leader: Link<ToWorker, FromWorker> = over_stream(right);
        worker.send(beat()).await.unwrap();
        drop(worker);
        assert_eq!(leader.recv().await.unwrap(), Some(beat()));
        assert_eq!(leader.recv().await.unwrap(), None);
    }

    #[tokio::test]
    async fn garbage_ends_the_link_with_a_reason() {
        let (mut left, right) = tokio::io::duplex(64);
        let mut leader: Link<ToWorker, FromWorker> = over_stream(right);
        left.write_all(&[0, 0, 0, 1, 0xc1]).await.unwrap();
        assert!(matches!(leader.recv().await, Err(FrameError::Decode(_))));
    }
}
