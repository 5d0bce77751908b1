//! What an attempt's process writes, on its way into the log.

use std::{io, time::Duration};

use anstream::adapter::strip_str;
use model::XComValue;
use serde_json::Value;
use tokio::{io::AsyncRead, task::JoinHandle, time::timeout};

use crate::{
    Attempt, Outcome,
    log::{LINE_BYTES_MAX, Part, Stream},
    process::{Running, pump, pump_parts},
    xcom,
};

/// A line of standard output may be an XCom, which is longer than lines for people.
pub(crate) const OUTPUT_LINE_BYTES_MAX: usize = 128 * 1024;
/// Of a line that may be an XCom so much is kept; colours are taken out before it is measured.
const KEPT_BYTES_MAX: usize = 2 * XComValue::BYTES_MAX;
/// A longer last line is no part of a sentence.
const WORDS_CHARS_MAX: usize = 300;
/// A process that left its group may hold a pipe open for ever; what it still writes is nobody's.
const DRAIN_WAIT: Duration = Duration::from_secs(2);

/// Carries both standard streams of a process into its attempt's log.
pub(crate) struct Output {
    out: JoinHandle<LastLine>,
    err: JoinHandle<LastLine>,
}

/// What a process has said in the end.
#[derive(Debug, Default)]
pub(crate) struct LastWords {
    /// The last line of its standard output.
    pub(crate) out: LastLine,
    /// The last line of its standard error.
    pub(crate) err: LastLine,
}

/// The last line of a stream that is not empty, whole: of one that is too long, its length.
#[derive(Debug, Default)]
pub(crate) struct LastLine {
    /// What has come of the line that has not ended.
    begun: Text,
    last: Text,
}

#[derive(Debug, Default)]
struct Text {
    text: String,
    bytes: usize,
}

impl LastLine {
    /// Takes the next part of the stream.
    pub(crate) fn see(&mut self, part: Part<'_>) {
        match part {
            Part::State(_) => self.begun = Text::default(),
            Part::Piece(text) => self.begun.add(text),
            Part::Line(text) => {
                self.begun.add(text);
                let line = std::mem::take(&mut self.begun);
                if !line.text.trim().is_empty() || line.bytes > line.text.len() {
                    self.last = line;
                }
            }
        }
    }

    /// What a command returns by it: an object or a list when the line is one in JSON, else its text, without colours.
    ///
    /// # Errors
    /// One sentence when the line is longer than an XCom, or holds a number that would not be exact.
    pub(crate) fn value(&self) -> Result<Option<Value>, String> {
        let text = strip_str(&self.last.text).to_string();
        let bytes = if self.last.bytes > self.last.text.len() { self.last.bytes } else { text.len() };
        if bytes > XComValue::BYTES_MAX {
            return Err(format!(
                "the last line of its output has {bytes} bytes, over the limit of {} for an XCom: pass large data by a file or a \
                 table, or set do_xcom_push: false",
                XComValue::BYTES_MAX
            ));
        }
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Ok(None);
        }
        if trimmed.starts_with(['{', '[']) {
            match xcom::parse(trimmed) {
                Ok(value) => return Ok(Some(value)),
                Err(xcom::ParseError::NotExact(number)) => {
                    return Err(format!(
                        "the last line of its output is JSON with {number}, which is more than JSON's readers keep exactly: \
                         write it as a text"
                    ));
                }
                Err(xcom::ParseError::NotJson(_)) => {}
            }
        }
        Ok(Some(text.into()))
    }

    /// The line as a part of a sentence, when it is short enough for one.
    pub(crate) fn words(&self) -> Option<String> {
        let text = strip_str(&self.last.text).to_string();
        let text = text.trim();
        (!text.is_empty() && text.chars().count() <= WORDS_CHARS_MAX).then(|| text.to_owned())
    }
}

impl Text {
    fn add(&mut self, text: &str) {
        self.bytes += text.len();
        if self.bytes <= KEPT_BYTES_MAX {
            self.text.push_str(text);
        }
    }
}

impl Output {
    /// Starts to carry.
    pub(crate) fn follow(attempt: &Attempt, running: &mut Running) -> Self {
        let stdout = running.stdout.take().expect("standard output is a pipe");
        let stderr = running.stderr.take().expect("standard error is a pipe");
        Self {
            out: carry(attempt, stdout, Stream::Out, OUTPUT_LINE_BYTES_MAX),
            err: carry(attempt, stderr, Stream::Err, LINE_BYTES_MAX),
        }
    }

    /// Waits for the last lines of a process whose group is gone, and gives the last ones.
    pub(crate) async fn finish(self) -> LastWords {
        let err = drained(self.err).await.unwrap_or_default();
        LastWords { out: drained(self.out).await.unwrap_or_default(), err }
    }
}

fn carry<R>(attempt: &Attempt, stream: R, name: Stream, line_bytes_max: usize) -> JoinHandle<LastLine>
where
    R: AsyncRead + Send + Unpin + 'static,
{
    let (log, masker) = (attempt.log.clone(), attempt.masker.clone());
    tokio::spawn(async move {
        let mut last = LastLine::default();
        let take = |part: Part<'_>| {
            last.see(part);
            log.part(name, part);
        };
        pump_parts(stream, masker, line_bytes_max, take).await;
        last
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Masker, log::LineSplitter};
    use serde_json::json;

    fn value_of(output: &[u8]) -> Result<Option<Value>, String> {
        let mut last = LastLine::default();
        let mut splitter = LineSplitter::new(Masker::default(), OUTPUT_LINE_BYTES_MAX);
        splitter.push(output, |part| last.see(part));
        splitter.finish(|part| last.see(part));
        last.value()
    }

    #[test]
    fn text_stays_text_and_objects_and_lists_are_json() {
        for (output, value) in [
            ("1.10", json!("1.10")),
            ("7391e48\n", json!("7391e48")),
            ("1e5", json!("1e5")),
            ("true\n\n  \n", json!("true")),
            ("\"quoted\"", json!("\"quoted\"")),
            ("  a b ", json!("  a b ")),
            (" [1, 2.50, \"x\"] ", json!([1, 2.5, "x"])),
            ("{\"a\": 18446744073709551615}", json!({"a": u64::MAX})),
            ("{not json}", json!("{not json}")),
            ("50%\r100%\r\n", json!("100%")),
            ("50%\r100%\r", json!("100%")),
            ("\u{1b}[1;32mdone\u{1b}[0m\u{1b}]8;;http://x\u{7}", json!("done")),
        ] {
            assert_eq!(value_of(output.as_bytes()), Ok(Some(value)), "{output:?}");
        }
        assert_eq!(value_of(b"\n \n"), Ok(None));
    }

    #[test]
    fn a_part_of_a_line_is_never_the_value() {
        for bytes in [XComValue::BYTES_MAX + 1, 140_000, 200_000, 1_000_000] {
            for text in ["x".repeat(bytes), format!("[\"{}\"]", "x".repeat(bytes - 4))] {
                let why = value_of(format!("first\n{text}\n").as_bytes()).unwrap_err();
                assert!(why.contains(&format!("has {bytes} bytes")), "{why}");
            }
            assert_eq!(value_of(format!("{}\nlast", "x".repeat(bytes)).as_bytes()), Ok(Some(json!("last"))));
        }
        let bar: String = (0..4000).map(|step| format!("{step:25}\r")).collect();
        assert_eq!(value_of(format!("{bar}all done").as_bytes()), Ok(Some(json!("all done"))));
    }

    #[test]
    fn a_number_that_json_readers_would_round_is_refused() {
        let why = value_of(b"{\"id\": 123456789012345678901234567890}").unwrap_err();
        assert!(why.contains("123456789012345678901234567890"), "{why}");
        assert!(value_of(b"[1e30, \"18446744073709551616\"]").is_ok());
    }
}
