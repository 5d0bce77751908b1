//! A frame: the length of its body as a big-endian u32, then the body, a message in MessagePack with named fields.
//!
//! Fields that the reader does not know are ignored, so that one side may be newer. Ids and instants are text.

use std::{io, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::message::{Head, Message};

/// The longest body. The largest messages are all XComs of an expanded task and files of 1 MiB; a length beyond this
/// is not one of ours.
pub const FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How much of an announced length is set aside before bytes have come: a lie costs no more than this.
const BYTES_TRUSTED: usize = 64 * 1024;

/// A frame could not be written or read. The connection is of no further use.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FrameError {
    /// The stream failed.
    #[error("the connection failed: {0}")]
    Io(Arc<io::Error>),
    /// The body is longer than it may be.
    #[error("a message of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// How long it may be here, [`FRAME_BYTES_MAX`] at most.
        limit: usize,
    },
    /// The message has no form in MessagePack.
    #[error("a message could not be written: {0}")]
    Encode(String),
    /// The body is no message of the expected kind.
    #[error("a message could not be understood: {0}; leader and worker may be of versions that do not fit")]
    Decode(String),
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// Writes one frame; the caller flushes.
///
/// # Errors
/// [`FrameError`] when the message is too large or the stream fails.
pub async fn write_frame<W, M>(stream: &mut W, message: &M) -> Result<(), FrameError>
where
    W: AsyncWrite + Unpin,
    M: Serialize,
{
    let body = encode(message)?;
    let length = u32::try_from(body.len()).map_err(|_| too_large(body.len()))?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&body).await?;
    Ok(())
}

/// Reads one frame; `None` when the stream ends before it begins.
///
/// # Errors
/// [`FrameError`] when the length is over the limit, the stream ends inside, or the body is no such message.
pub async fn read_frame<R, M>(stream: &mut R) -> Result<Option<M>, FrameError>
where
    R: AsyncRead + Unpin,
    M: DeserializeOwned,
{
    read_frame_within(stream, FRAME_BYTES_MAX).await
}

/// The same with a lower limit, for those who are not known yet.
pub(super) async fn read_frame_within<R, M>(stream: &mut R, limit: usize) -> Result<Option<M>, FrameError>
where
    R: AsyncRead + Unpin,
    M: DeserializeOwned,
{
    match read_body(stream, limit).await? {
        Some(body) => decode(&body).map(Some),
        None => Ok(None),
    }
}

/// Reads one message of a link. One that is whole and not known here is what [`Message::unreadable`] makes of it.
pub(super) async fn read_message<R, M>(stream: &mut R) -> Result<Option<M>, FrameError>
where
    R: AsyncRead + Unpin,
    M: Message,
{
    let Some(body) = read_body(stream, FRAME_BYTES_MAX).await? else { return Ok(None) };
    match decode(&body) {
        Ok(message) => Ok(Some(message)),
        Err(error) => {
            let stand_in = decode::<Head>(&body).ok().and_then(|head| M::unreadable(head, error.to_string()));
            stand_in.map(Some).ok_or(error)
        }
    }
}

async fn read_body<R: AsyncRead + Unpin>(stream: &mut R, limit: usize) -> Result<Option<Vec<u8>>, FrameError> {
    let Some(length) = read_length(stream).await? else { return Ok(None) };
    if length > limit {
        return Err(FrameError::TooLarge { bytes: length, limit });
    }
    let mut body = Vec::with_capacity(length.min(BYTES_TRUSTED));
    let read = stream.take(length as u64).read_to_end(&mut body).await?;
    if read < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(Some(body))
}

async fn read_length<R: AsyncRead + Unpin>(stream: &mut R) -> Result<Option<usize>, FrameError> {
    let mut bytes = [0; 4];
    if stream.read(&mut bytes[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut bytes[1..]).await?;
    Ok(Some(u32::from_be_bytes(bytes) as usize))
}

fn encode<M: Serialize>(message: &M) -> Result<Vec<u8>, FrameError> {
    let mut body = Vec::new();
    let mut serializer = rmp_serde::Serializer::new(&mut body).with_struct_map().with_human_readable();
    message.serialize(&mut serializer).map_err(|error| FrameError::Encode(error.to_string()))?;
    if body.len() > FRAME_BYTES_MAX {
        return Err(too_large(body.len()));
    }
    Ok(body)
}

fn too_large(bytes: usize) -> FrameError {
    FrameError::TooLarge { bytes, limit: FRAME_BYTES_MAX }
}

fn decode<M: DeserializeOwned>(body: &[u8]) -> Result<M, FrameError> {
    let mut deserializer = rmp_serde::Deserializer::new(body).with_human_readable();
    M::deserialize(&mut deserializer).map_err(|error| FrameError::Decode(error.to_string()))
}

#[cfg(test)]
mod tests {
    use model::{AttemptEnd, AttemptId, DagId, EndKind, MapIndex, RunId, TaskId, TaskIdx, XComValue};
    use uuid::Uuid;

    use super::*;
    use crate::{
        FetchItem, FetchKey, Fetched, FromWorker, LogChunk, Reply, ToWorker,
        query::{ClusterView, PoolView, PoolWaiter, TaskWhy, WorkerView},
    };

    async fn through<M: Serialize + DeserializeOwned>(message: &M) -> M {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, message).await.unwrap();
        read_frame(&mut bytes.as_slice()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_message_arrives_as_it_was_sent() {
        let mut end = AttemptEnd::new(EndKind::Success, "");
        end.xcoms.push(XComValue {
            key: "k".into(),
            value: serde_json::json!({"a": [1, -2.5, null, "x"], "big": i64::MAX}),
        });
        let ended = FromWorker::Ended { seq: 7, attempt: AttemptId(Uuid::new_v4()), end: Box::new(end) };
        assert_eq!(through(&ended).await, ended);
        let key = FetchKey::XCom { task: TaskIdx(3), map_index: Some(MapIndex::UNMAPPED), key: "return_value".into() };
        let fetch = FromWorker::Fetch { id: 1, attempt: Some(AttemptId(Uuid::new_v4())), key };
        assert_eq!(through(&fetch).await, fetch);
    }

    #[tokio::test]
    async fn every_answer_of_the_leader_can_be_sent() {
        let waiter = PoolWaiter {
            dag_id: DagId::new("d").unwrap(),
            run_id: RunId::new("r").unwrap(),
            task_id: TaskId::new("t").unwrap(),
        };
        let pool = PoolView { name: "narrow".to_owned(), next: vec![waiter], ..PoolView::default() };
        let worker = WorkerView {
            name: "w".to_owned(),
            slots: 4,
            used: 1,
            alive: true,
            leaving: false,
            services: Vec::new(),
            attempts: vec![AttemptId(Uuid::new_v4())],
        };
        let why =
            TaskWhy { task_id: TaskId::new("t").unwrap(), map_index: MapIndex::UNMAPPED, sentence: "waits".to_owned() };
        let replies = [
            Reply::Why { sentence: "waits".to_owned(), tasks: vec![why] },
            Reply::Log(LogChunk { bytes: vec![1, 2], length: 2, ended: true }),
            Reply::Cluster(ClusterView { leader: "h".to_owned(), epoch: 1, workers: vec![worker] }),
            Reply::Pools { pools: vec![pool] },
            Reply::NotFound { detail: "gone".to_owned() },
        ];
        for reply in replies {
            assert_eq!(through(&reply).await, reply);
        }
    }

    #[tokio::test]
    async fn bytes_are_carried_as_bytes() {
        let fetched = ToWorker::Fetched(Fetched { id: 1, item: FetchItem::File(vec![0xff; 1000]) });
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &fetched).await.unwrap();
        assert!(bytes.len() < 1100, "{} bytes for 1000", bytes.len());
        assert_eq!(read_frame::<_, ToWorker>(&mut bytes.as_slice()).await.unwrap().unwrap(), fetched);
    }

    #[tokio::test]
    async fn a_length_over_the_limit_is_refused_before_anything_is_read() {
        let lie = u32::MAX.to_be_bytes();
        let error = read_frame::<_, ToWorker>(&mut lie.as_slice()).await.unwrap_err();
        assert!(matches!(error, FrameError::TooLarge { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_frame_that_breaks_off_is_an_error_and_an_end_between_frames_is_not() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &ToWorker::Ack { seq: 1 }).await.unwrap();
        let cut = &bytes[..bytes.len() - 1];
        assert!(matches!(read_frame::<_, ToWorker>(&mut &*cut).await, Err(FrameError::Io(_))));
        assert!(read_frame::<_, ToWorker>(&mut [].as_slice()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_not_known_here_is_told_and_closes_nothing() {
        let read = async |message: serde_json::Value| {
            let mut bytes = Vec::new();
            write_frame(&mut bytes, &message).await.unwrap();
            write_frame(&mut bytes, &ToWorker::Ack { seq: 1 }).await.unwrap();
            bytes
        };
        let attempt = AttemptId(Uuid::from_u128(7));
        let newer = serde_json::json!({"type": "assign", "attempt": attempt, "operator": {"operator": "flink"}});
        let bytes = read(newer).await;
        let mut stream = bytes.as_slice();
        let ToWorker::Unreadable { kind, attempt: about, .. } = read_message(&mut stream).await.unwrap().unwrap()
        else {
            panic!("an operator that is not known can not be read")
        };
        assert_eq!((kind.as_str(), about), ("assign", Some(attempt)));
        assert_eq!(read_message(&mut stream).await.unwrap(), Some(ToWorker::Ack { seq: 1 }));
        let ended = serde_json::json!({"type": "ended", "seq": 4, "attempt": attempt, "end": {"kind": "melted"}});
        let bytes = read(ended).await;
        let ended: FromWorker = read_message(&mut bytes.as_slice()).await.unwrap().unwrap();
        let FromWorker::Ended { seq: 4, end, .. } = ended else { panic!("its attempt has ended, however: {ended:?}") };
        assert!(end.kind == EndKind::Failed && end.reason.contains("can not be read"), "{end:?}");
        let bytes = read(serde_json::json!({"type": "hello", "worker": 3})).await;
        assert!(read_message::<_, FromWorker>(&mut bytes.as_slice()).await.is_err(), "nothing works without a Hello");
    }

    #[tokio::test]
    async fn a_field_of_a_newer_version_is_ignored() {
        let newer = serde_json::json!({"type": "ack", "seq": 4, "weather": "fine"});
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &newer).await.unwrap();
        let read: ToWorker = read_frame(&mut bytes.as_slice()).await.unwrap().unwrap();
        assert_eq!(read, ToWorker::Ack { seq: 4 });
    }
}
