//! Logs of attempts and services, read through the leader, which asks the worker that has them; those of attempts also
//! from the archive that they are shipped to, when no worker has them.
//!
//! A log is named by ids that the database knows, never by a text of the client: no path is built from input.

use futures::{Stream, stream};
use link::{ArchiveError, LogChunk, LogPlace, Query, Reply, query::LogName};
use model::{ServiceKey, WorkerId};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    app::App,
    error::{ApiError, ApiResult},
    reads::instances::TaskOfRun,
};

/// What one answer carries at most: a screen shows some 20 KiB, and the link must not be held up.
pub const CHUNK_BYTES_MAX: u32 = 256 * 1024;

/// A log that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Log {
    /// An attempt's.
    Attempt(AttemptLog),
    /// A service's: it lies at its worker only.
    Service(ServiceKey, Option<WorkerId>),
}

/// The log of an attempt: where it is in the archive, and which worker has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptLog {
    /// Its ids.
    pub place: LogPlace,
    /// Its worker, when the row knows it.
    pub worker: Option<WorkerId>,
}

impl Log {
    /// A text that no other log has.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Attempt(of) => of.place.attempt.to_string(),
            Self::Service(key, _) => key.to_string(),
        }
    }

    fn name(&self) -> LogName {
        match self {
            Self::Attempt(of) => LogName::Attempt(of.place.attempt),
            Self::Service(key, _) => LogName::Service(key.clone()),
        }
    }

    const fn worker(&self) -> Option<WorkerId> {
        match self {
            Self::Attempt(of) => of.worker,
            Self::Service(_, worker) => *worker,
        }
    }
}

/// A line of a log as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LogLine {
    /// When it was written, RFC 3339.
    #[serde(default)]
    pub ts: String,
    /// `out`, `err` or `sys`.
    #[serde(default)]
    pub stream: String,
    /// The text.
    #[serde(default)]
    pub text: String,
    /// The rendered fields, in the line that an attempt begins with.
    #[serde(default)]
    pub rendered: Option<Value>,
}

/// Lines of a log, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// Whole lines.
    pub lines: Vec<LogLine>,
    /// The offset after them.
    pub next: u64,
    /// The log's length now.
    pub length: u64,
    /// Whether nothing more will come and all has been read.
    pub ended: bool,
    /// The address in the archive, when it was read from there.
    pub archived_at: Option<String>,
}

/// The same before its lines are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPiece {
    /// Whole lines as they are stored.
    pub bytes: Vec<u8>,
    /// The offset after them.
    pub next: u64,
    /// The log's length now.
    pub length: u64,
    /// Whether nothing more will come and all has been read.
    pub ended: bool,
    /// The address in the archive, when it was read from there.
    pub archived_at: Option<String>,
}

impl LogPiece {
    fn into_page(self) -> LogPage {
        LogPage {
            lines: lines_of(&self.bytes),
            next: self.next,
            length: self.length,
            ended: self.ended,
            archived_at: self.archived_at,
        }
    }
}

/// Whole lines from an offset on.
///
/// # Errors
/// [`ApiError::NotFound`] when the log is gone with its worker, [`ApiError::NoLeader`] when nobody can fetch it.
pub async fn read(app: &App, log: &Log, offset: u64) -> ApiResult<LogPage> {
    Ok(read_piece(app, log, offset).await?.into_page())
}

/// Whole lines from an offset on, as they are stored.
///
/// # Errors
/// As [`read`].
pub async fn read_piece(app: &App, log: &Log, offset: u64) -> ApiResult<LogPiece> {
    let at_worker = ask_worker(app, log, offset).await;
    // A worker that does not have the log answers that it is empty.
    if at_worker.as_ref().is_ok_and(|piece| piece.length > 0) {
        return at_worker;
    }
    match (in_archive(app, log, offset).await, at_worker) {
        (Ok(Some(piece)), _) => Ok(piece),
        (Err(error), Err(ApiError::NotFound(detail))) => Err(ApiError::NotFound(format!("{detail}; {error}"))),
        (Ok(None) | Err(_), at_worker) => at_worker,
    }
}

async fn ask_worker(app: &App, log: &Log, offset: u64) -> ApiResult<LogPiece> {
    let question = Query::ReadLog { log: log.name(), worker: log.worker(), offset, bytes_max: CHUNK_BYTES_MAX };
    match app.leader.ask(question).await? {
        Reply::Log(chunk) => Ok(piece_of(chunk, offset)),
        Reply::NotFound { detail } => Err(ApiError::NotFound(detail)),
        other => Err(ApiError::Internal(format!("the leader answered a question for a log with {other:?}"))),
    }
}

/// What the archive has of a log.
async fn in_archive(app: &App, log: &Log, offset: u64) -> Result<Option<LogPiece>, ArchiveError> {
    let (Log::Attempt(AttemptLog { place, .. }), Some(archive)) = (log, &app.settings.log_archive) else {
        return Ok(None);
    };
    let chunk = archive.read(place, offset, CHUNK_BYTES_MAX).await?;
    Ok(chunk.map(|chunk| LogPiece { archived_at: Some(archive.address(place)), ..piece_of(chunk, offset) }))
}

/// The last lines of a log, for a page that opens it.
///
/// # Errors
/// As [`read`].
pub async fn tail(app: &App, log: &Log) -> ApiResult<LogPage> {
    let first = read(app, log, 0).await?;
    if first.next >= first.length {
        return Ok(first);
    }
    let start = first.length.saturating_sub(u64::from(CHUNK_BYTES_MAX));
    let mut page = read(app, log, start).await?;
    // The first line was cut by the jump.
    if start > 0 && !page.lines.is_empty() {
        page.lines.remove(0);
    }
    Ok(page)
}

/// A log from a piece of it on, piece by piece, as long as it was when that piece was read: what is written meanwhile is for
/// the next request. The last piece comes with true, and none after it.
pub fn pieces(app: App, log: Log, first: LogPage) -> impl Stream<Item = ApiResult<(LogPage, bool)>> {
    let until = first.length;
    stream::try_unfold(Next::Is(first), move |next| {
        let (app, log) = (app.clone(), log.clone());
        async move {
            let page = match next {
                Next::Is(first) => first,
                Next::At(offset) => read(&app, &log, offset).await?,
                Next::Nothing => return Ok(None),
            };
            let is_last = page.next >= until || page.lines.is_empty();
            let next = if is_last { Next::Nothing } else { Next::At(page.next) };
            Ok(Some(((page, is_last), next)))
        }
    })
}

/// What is sent next of a log.
enum Next {
    Is(LogPage),
    At(u64),
    Nothing,
}

/// Cuts a chunk after its last whole line. A line longer than a chunk comes in pieces, so that reading never stands still.
fn piece_of(chunk: LogChunk, offset: u64) -> LogPiece {
    let LogChunk { mut bytes, length, ended } = chunk;
    let reaches_end = offset + bytes.len() as u64 >= length;
    let whole = match bytes.iter().rposition(|byte| *byte == b'\n') {
        _ if ended && reaches_end => bytes.len(),
        Some(last) => last + 1,
        None if bytes.len() as u64 >= u64::from(CHUNK_BYTES_MAX) => bytes.len(),
        None => 0,
    };
    bytes.truncate(whole);
    let next = offset + whole as u64;
    LogPiece { bytes, next, length, ended: ended && next >= length, archived_at: None }
}

/// The lines of some bytes.
pub fn lines_of(bytes: &[u8]) -> Vec<LogLine> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(line_of).collect()
}

fn line_of(bytes: &[u8]) -> LogLine {
    serde_json::from_slice(bytes).unwrap_or_else(|_| LogLine {
        ts: String::new(),
        stream: "out".to_owned(),
        text: String::from_utf8_lossy(bytes).into_owned(),
        rendered: None,
    })
}

/// A try's log: the current attempt's, or that of a superseded one; none when it was never begun.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn log_of_try(app: &App, of: &TaskOfRun, try_number: i16) -> ApiResult<Option<AttemptLog>> {
    let (attempt, worker) = if try_number == of.try_number() {
        let row = of.stored.as_ref().map(|stored| &stored.row).filter(|_| try_number > 0);
        (row.and_then(|row| row.attempt), row.and_then(|row| row.worker))
    } else {
        let past = store::read::tries(&app.pool, of.key).await?;
        let past = past.iter().find(|past| past.try_number.get() == try_number);
        (past.and_then(|past| past.attempt), past.and_then(|past| past.worker_id))
    };
    let place = |attempt| LogPlace {
        dag_id: of.run.dag_id.clone(),
        run_id: of.run.run_id.clone(),
        task_id: of.task().task_id.clone(),
        map_index: of.key.map,
        try_number,
        attempt,
    };
    Ok(attempt.map(|attempt| AttemptLog { place: place(attempt), worker }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_of(text: &str, length: u64, ended: bool, offset: u64) -> LogPage {
        piece_of(LogChunk { bytes: text.as_bytes().to_vec(), length, ended }, offset).into_page()
    }

    #[test]
    fn a_line_that_is_still_being_written_waits_for_its_end() {
        let text = "{\"ts\":\"t\",\"stream\":\"out\",\"text\":\"a\"}\n{\"ts";
        let page = page_of(text, text.len() as u64, false, 10);
        assert_eq!(page.lines.len(), 1);
        assert_eq!(page.next, 10 + text.find("\n").unwrap() as u64 + 1);
        assert!(!page.ended);
    }

    #[test]
    fn an_ended_log_is_read_to_its_last_byte() {
        let page = page_of("no json", 7, true, 0);
        assert_eq!(page.lines[0].text, "no json");
        assert!(page.ended);
    }

    #[test]
    fn a_line_longer_than_a_chunk_comes_in_pieces() {
        let text = "x".repeat(CHUNK_BYTES_MAX as usize);
        let page = page_of(&text, text.len() as u64 * 2, false, 0);
        assert_eq!(page.next, text.len() as u64);
    }
}
