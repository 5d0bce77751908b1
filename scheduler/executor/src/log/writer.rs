//! Writes one log. Lines reach the file within 200 ms, or at once when 64 KiB wait.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use chrono::{SecondsFormat, Utc};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    Part,
    written::{self, Written},
};
use crate::Masker;

/// How long a line may wait before it can be read.
const FLUSH_AFTER: Duration = Duration::from_millis(200);
/// So many waiting bytes are written at once.
const FLUSH_BYTES: usize = 64 * 1024;
/// How often what a progress bar shows is written.
const STATE_EVERY: Duration = Duration::from_secs(1);
/// The largest log: a task that writes more fills disks, not knowledge.
pub const LOG_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The most that the rendered fields may take.
const RENDERED_BYTES_MAX: usize = 32 * 1024;

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The process, on standard output.
    Out,
    /// The process, on standard error.
    Err,
    /// Windlass.
    Sys,
}

impl Stream {
    const fn name(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Err => "err",
            Self::Sys => "sys",
        }
    }
}

/// What happens when a log has reached [`LOG_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// The log reports a fault, and whoever writes it is stopped.
    Fault,
    /// The older half of the story goes: the file is kept once under another name and begun anew.
    Rotate,
}

/// A log that is being written. Clones write to the same file.
#[derive(Debug, Clone)]
pub struct Log(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    masker: Masker,
    path: PathBuf,
    overflow: Overflow,
    bytes_max: u64,
    state: Mutex<State>,
    /// Tells the flusher that lines wait, or that the log is gone.
    waiting: Arc<Notify>,
    faulted: CancellationToken,
}

#[derive(Debug)]
struct State {
    file: File,
    buffer: Vec<u8>,
    length: u64,
    fault: Option<String>,
    drawn: Drawn,
}

/// The lines that are being drawn over and over, by stream.
#[derive(Debug, Default)]
struct Drawn([Option<Drawing>; 2]);

#[derive(Debug, Clone, Copy)]
struct Drawing {
    began: Instant,
    due: Instant,
}

impl Drawn {
    fn of(&mut self, stream: Stream) -> Option<&mut Option<Drawing>> {
        match stream {
            Stream::Out => Some(&mut self.0[0]),
            Stream::Err => Some(&mut self.0[1]),
            Stream::Sys => None,
        }
    }

    fn forget(&mut self, stream: Stream) {
        self.of(stream).map(Option::take);
    }

    /// Whether a state is to be written now: the first one, and then after a second, or a hundredth of what it took so far.
    fn is_due(&mut self, stream: Stream, now: Instant) -> bool {
        let Some(drawing) = self.of(stream) else { return false };
        let began = drawing.map_or(now, |drawing| drawing.began);
        if drawing.is_some_and(|drawing| now < drawing.due) {
            return false;
        }
        let pause = STATE_EVERY.max((now - began) / 100);
        *drawing = Some(Drawing { began, due: now + pause });
        true
    }
}

impl Log {
    /// Opens the log for adding to it, and makes its directory.
    ///
    /// # Errors
    /// When the file can not be opened.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn open(path: &Path, masker: Masker, overflow: Overflow) -> io::Result<Self> {
        Self::open_bounded(path, masker, overflow, LOG_BYTES_MAX)
    }

    fn open_bounded(path: &Path, masker: Masker, overflow: Overflow, bytes_max: u64) -> io::Result<Self> {
        let file = open_file(path).or_else(|error| match path.parent() {
            Some(parent) if error.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
                open_file(path)
            }
            _ => Err(error),
        })?;
        // As a rule it is new.
        let length = match file.metadata()?.len() {
            0 => 0,
            _ => {
                written::mend(path)?;
                file.metadata()?.len()
            }
        };
        let state = Mutex::new(State { file, buffer: Vec::new(), length, fault: None, drawn: Drawn::default() });
        let waiting = Arc::new(Notify::new());
        let shared = Arc::new(Shared {
            masker,
            path: path.to_owned(),
            overflow,
            bytes_max,
            state,
            waiting: Arc::clone(&waiting),
            faulted: CancellationToken::new(),
        });
        tokio::spawn(flush_until_dropped(Arc::downgrade(&shared), waiting));
        Ok(Self(shared))
    }

    /// Adds a line, masked.
    pub fn line(&self, stream: Stream, text: &str) {
        self.add(&json!({"ts": now(), "stream": stream.name(), "text": self.0.masker.mask(text)}));
    }

    /// Adds a part of a stream. Of the states of a line few are written: the longer it is drawn, the fewer.
    pub fn part(&self, stream: Stream, part: Part<'_>) {
        match part {
            Part::Line(text) | Part::Piece(text) => {
                self.line(stream, text);
                self.0.lock().drawn.forget(stream);
            }
            Part::State(text) => {
                if !text.trim().is_empty() && self.0.lock().drawn.is_due(stream, Instant::now()) {
                    let text = self.0.masker.mask(text);
                    self.add(&json!({"ts": now(), "stream": stream.name(), "state": true, "text": text}));
                }
            }
        }
    }

    /// Adds a line of Windlass's own.
    pub fn system(&self, text: &str) {
        self.line(Stream::Sys, text);
    }

    /// Whether it has any line, of this attempt's earlier looks too.
    #[must_use]
    pub fn has_lines(&self) -> bool {
        let state = self.0.lock();
        state.length > 0 || !state.buffer.is_empty()
    }

    /// Adds the rendered fields, masked and cut to size: the first line of an attempt's log.
    pub fn rendered(&self, fields: &serde_json::Map<String, serde_json::Value>) {
        let masked = self.0.masker.mask_json(&serde_json::Value::Object(fields.clone()));
        let rendered = cut_to(masked, RENDERED_BYTES_MAX);
        self.add(&json!({"ts": now(), "stream": Stream::Sys.name(), "text": "Rendered fields", "rendered": rendered}));
    }

    /// How many lines of its process it has; none when it can not be read.
    pub async fn written(&self) -> Written {
        self.flush();
        let path = self.0.path.clone();
        let counted = tokio::task::spawn_blocking(move || written::written(&path)).await;
        counted.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// The first of these patterns that a line fits which its process wrote; none when it can not be read.
    pub(crate) async fn first_of(&self, patterns: Vec<regex::Regex>) -> Option<usize> {
        self.flush();
        let path = self.0.path.clone();
        let found = tokio::task::spawn_blocking(move || super::search::first_of(&path, &patterns)).await;
        found.ok().and_then(Result::ok).flatten()
    }

    /// Writes out what waits.
    pub fn flush(&self) {
        self.0.flush(&mut self.0.lock());
    }

    /// Waits until the log can not be written any more, and says why.
    pub async fn fault(&self) -> String {
        self.0.faulted.cancelled().await;
        self.0.lock().fault.clone().unwrap_or_default()
    }

    fn add(&self, record: &serde_json::Value) {
        let mut state = self.0.lock();
        if state.fault.is_some() {
            return;
        }
        if state.buffer.is_empty() {
            self.0.waiting.notify_one();
        }
        // Writing JSON to a Vec fails only for maps with keys that are not text.
        serde_json::to_writer(&mut state.buffer, record).expect("a record has text keys only");
        state.buffer.push(b'\n');
        if state.buffer.len() >= FLUSH_BYTES {
            self.0.flush(&mut state);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The buffer holds whole records at every point where a panic is possible, but for the one being added.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush(&self, state: &mut State) {
        if state.buffer.is_empty() || state.fault.is_some() {
            return;
        }
        let buffer = std::mem::take(&mut state.buffer);
        if let Err(reason) = self.make_room(state, buffer.len() as u64).and_then(|()| self.write(state, &buffer)) {
            state.fault = Some(reason);
            self.faulted.cancel();
        }
    }

    fn write(&self, state: &mut State, bytes: &[u8]) -> Result<(), String> {
        state.file.write_all(bytes).map_err(|error| format!("its log could not be written: {error}"))?;
        state.length += bytes.len() as u64;
        Ok(())
    }

    fn make_room(&self, state: &mut State, bytes: u64) -> Result<(), String> {
        if state.length + bytes <= self.bytes_max {
            return Ok(());
        }
        match self.overflow {
            Overflow::Fault => Err(format!("its log is over the limit of {} bytes", self.bytes_max)),
            Overflow::Rotate => {
                let renew = || {
                    fs::rename(&self.path, self.path.with_extension("1.jsonl"))?;
                    open_file(&self.path)
                };
                state.file = renew().map_err(|error| format!("its log could not be begun anew: {error}"))?;
                state.length = 0;
                Ok(())
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let mut state = self.lock();
        let buffer = std::mem::take(&mut state.buffer);
        // Nobody is left who could be told of a failure.
        let _ = state.file.write_all(&buffer);
        self.waiting.notify_one();
    }
}

async fn flush_until_dropped(log: Weak<Shared>, waiting: Arc<Notify>) {
    loop {
        waiting.notified().await;
        if log.strong_count() == 0 {
            return;
        }
        tokio::time::sleep(FLUSH_AFTER).await;
        let Some(shared) = log.upgrade() else { return };
        shared.flush(&mut shared.lock());
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Cuts the longest texts until the whole has at most `bytes_max` of JSON.
fn cut_to(mut value: serde_json::Value, bytes_max: usize) -> serde_json::Value {
    let mut text_max = bytes_max / 2;
    while value.to_string().len() > bytes_max {
        if text_max < 16 {
            return "too large to show".into();
        }
        cut_texts(&mut value, text_max);
        text_max /= 2;
    }
    value
}

fn cut_texts(value: &mut serde_json::Value, chars_max: usize) {
    use serde_json::Value as V;
    match value {
        V::String(text) => {
            if let Some((at, _)) = text.char_indices().nth(chars_max) {
                text.truncate(at);
                text.push('…');
            }
        }
        V::Array(items) => items.iter_mut().for_each(|item| cut_texts(item, chars_max)),
        V::Object(fields) => fields.values_mut().for_each(|field| cut_texts(field, chars_max)),
        V::Null | V::Bool(_) | V::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(path: &Path) -> Vec<String> {
        let records = fs::read_to_string(path).unwrap();
        let text =
            |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["text"].as_str().unwrap().to_owned();
        records.lines().map(text).collect()
    }

    #[tokio::test]
    async fn lines_can_be_read_soon_without_a_flush() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b.jsonl");
        let log = Log::open(&path, Masker::default(), Overflow::Fault).unwrap();
        log.line(Stream::Out, "one");
        while fs::read_to_string(&path).unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        log.system("two");
        drop(log);
        while texts(&path).len() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(texts(&path), ["one", "two"]);
    }

    #[tokio::test]
    async fn an_attempts_log_over_the_limit_is_a_fault_with_a_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log::open_bounded(&path, Masker::default(), Overflow::Fault, 1000).unwrap();
        (0..20).for_each(|_| log.line(Stream::Out, &"x".repeat(50)));
        log.flush();
        assert!(log.fault().await.contains("1000 bytes"));
        assert!(fs::metadata(&path).unwrap().len() <= 1000);
    }

    #[tokio::test]
    async fn a_services_log_over_the_limit_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let log = Log::open_bounded(&path, Masker::default(), Overflow::Rotate, 300).unwrap();
        for number in 0..20 {
            log.line(Stream::Err, &number.to_string());
            log.flush();
        }
        assert_eq!(texts(&path).last().unwrap(), "19");
        assert!(fs::metadata(&path).unwrap().len() <= 300);
        assert!(dir.path().join("log.1.jsonl").exists());
    }

    #[tokio::test]
    async fn of_a_line_that_is_drawn_over_and_over_few_states_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log::open(&path, Masker::default(), Overflow::Fault).unwrap();
        (0..4000).for_each(|step| log.part(Stream::Out, Part::State(&format!("{step} of 4000"))));
        log.part(Stream::Out, Part::Line("done"));
        log.part(Stream::Out, Part::State("0 of 2"));
        log.flush();
        assert_eq!(texts(&path), ["0 of 4000", "done", "0 of 2"]);
        assert_eq!(log.written().await.of(Stream::Out), 1);
        let mut drawn = Drawn::default();
        let began = Instant::now();
        let day = (0..86_400_u64).filter(|second| drawn.is_due(Stream::Err, began + Duration::from_secs(*second)));
        assert!((200..1000).contains(&day.count()));
    }

    #[test]
    fn rendered_fields_are_cut_to_size() {
        let value = json!({"a": "x".repeat(100_000), "b": "short"});
        let cut = cut_to(value, RENDERED_BYTES_MAX);
        assert!(cut.to_string().len() <= RENDERED_BYTES_MAX);
        assert_eq!(cut["b"], "short");
        assert!(cut["a"].as_str().unwrap().ends_with('…'));
    }
}
