//! Looks for a pattern in the lines that an attempt has written.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Seek as _, SeekFrom},
    path::Path,
};

use regex::Regex;

/// So much of a log is looked at, from its end: what made an attempt fail stands there.
const SEARCHED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Whether a line of standard output or standard error fits.
pub(super) fn has_line(path: &Path, pattern: &Regex) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(SEARCHED_BYTES_MAX)))?;
    // A line that begins before that is no JSON, and fits nothing.
    for line in BufReader::new(file).split(b'\n') {
        let Ok(line) = serde_json::from_slice::<serde_json::Value>(&line?) else { continue };
        let is_of_process = matches!(line["stream"].as_str(), Some("out" | "err"));
        if is_of_process && line["text"].as_str().is_some_and(|text| pattern.is_match(text)) {
            return Ok(true);
        }
    }
    Ok(false)
}
