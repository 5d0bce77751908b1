//! Reads pieces of logs, also of those that are being written.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use link::query::{LogChunk, LogName};

/// The most that one piece has, whatever is asked for: it is one message of the link.
pub(super) const CHUNK_BYTES_MAX: u32 = 1024 * 1024;

/// Reads a piece of a log from the byte `offset`. It ends with a whole line when it has one. A log that does not exist
/// is empty; an offset beyond the end reads from the start, because the log was begun anew. Whether the log has ended is
/// not in the file: the worker that writes it says so.
///
/// # Errors
/// When the file is there and can not be read.
pub fn read(log_dir: &Path, name: &LogName, offset: u64, bytes_max: u32) -> io::Result<LogChunk> {
    let mut file = match File::open(super::path(log_dir, name)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(LogChunk { bytes: Vec::new(), length: 0, ended: false });
        }
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let offset = if offset > length { 0 } else { offset };
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(u64::from(bytes_max.min(CHUNK_BYTES_MAX))).read_to_end(&mut bytes)?;
    cut_to_lines(&mut bytes);
    Ok(LogChunk { bytes, length, ended: false })
}

/// Leaves the whole lines, unless there is none.
pub(super) fn cut_to_lines(bytes: &mut Vec<u8>) {
    if let Some(last) = bytes.iter().rposition(|byte| *byte == b'\n') {
        bytes.truncate(last + 1);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use model::AttemptId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn pieces_put_together_are_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let name = LogName::Attempt(AttemptId(Uuid::new_v4()));
        assert_eq!(read(dir.path(), &name, 5, 10).unwrap().length, 0);
        let path = super::super::path(dir.path(), &name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text: String = (0..50).map(|number| format!("line {number}\n")).collect();
        fs::write(&path, &text).unwrap();
        let mut found = Vec::new();
        while found.len() < text.len() {
            let chunk = read(dir.path(), &name, found.len() as u64, 30).unwrap();
            assert!(chunk.bytes.ends_with(b"\n") && chunk.length == text.len() as u64);
            found.extend(chunk.bytes);
        }
        assert_eq!(found, text.as_bytes());
        assert_eq!(read(dir.path(), &name, 1_000_000, 7).unwrap().bytes, b"line 0\n");
    }
}
