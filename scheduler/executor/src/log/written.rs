//! How far a log is: what an earlier worker wrote of a stream that is now read again.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use serde::Deserialize;

use super::Stream;

/// How much is looked at from the end at a time, for the last whole line.
const STEP: u64 = 64 * 1024;

/// Lines of each stream of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    out: u64,
    err: u64,
}

impl Written {
    /// How many lines of a stream.
    #[must_use]
    pub const fn of(self, stream: Stream) -> u64 {
        match stream {
            Stream::Out => self.out,
            Stream::Err => self.err,
            Stream::Sys => 0,
        }
    }

    /// Counts one more line; its number, from 1.
    pub const fn count(&mut self, stream: Stream) -> u64 {
        let count = match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
            Stream::Sys => return 0,
        };
        *count += 1;
        *count
    }
}

/// The part of a line that says whose it is.
#[derive(Deserialize)]
struct Line<'l> {
    stream: &'l str,
    /// What a line showed for a while is no line.
    #[serde(default)]
    state: bool,
}

/// Counts the lines of a log.
///
/// # Errors
/// When the file can not be read.
pub(super) fn written(path: &Path) -> io::Result<Written> {
    let mut written = Written::default();
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        match serde_json::from_slice::<Line<'_>>(&line).map(|line| if line.state { "" } else { line.stream }) {
            Ok("out") => written.out += 1,
            Ok("err") => written.err += 1,
            Ok(_) | Err(_) => {}
        }
        line.clear();
    }
    Ok(written)
}

/// Takes half a line away that a killed worker has left at the end: the next one would be glued to it.
///
/// # Errors
/// When the file can not be read or cut.
pub(super) fn mend(path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let length = file.metadata()?.len();
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(STEP);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        (&mut file).take(end - start).read_to_end(&mut bytes)?;
        if let Some(last) = bytes.iter().rposition(|byte| *byte == b'\n') {
            let whole = start + last as u64 + 1;
            return if whole < length { file.set_len(whole) } else { Ok(()) };
        }
        end = start;
    }
    if length > 0 { file.set_len(0) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn lines_are_counted_by_stream_and_half_a_line_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        mend(&path).unwrap();
        let whole =
            "{\"ts\":\"1\",\"stream\":\"sys\",\"text\":\"a\"}\n{\"stream\":\"out\",\"text\":\"\\\"\",\"ts\":\"2\"}\n";
        for half in ["", "{\"stream\":\"out\",\"te", &"x".repeat(200_000)] {
            fs::write(&path, format!("{whole}{half}")).unwrap();
            mend(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), whole);
            let written = written(&path).unwrap();
            assert_eq!((written.of(Stream::Out), written.of(Stream::Err)), (1, 0));
        }
        fs::write(&path, "half").unwrap();
        mend(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
    }
}
