//! Looks for a pattern in the lines that an attempt has written.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Seek as _, SeekFrom},
    path::Path,
};

use regex::Regex;

/// So much of a log is looked at, from its end: what made an attempt fail stands there.
const SEARCHED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The first of these patterns that a line of standard output or standard error fits.
pub(super) fn first_of(path: &Path, patterns: &[Regex]) -> io::Result<Option<usize>> {
    let mut first = None;
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(SEARCHED_BYTES_MAX)))?;
    // A line that begins before that is no JSON, and fits nothing.
    for line in BufReader::new(file).split(b'\n') {
        let Ok(line) = serde_json::from_slice::<serde_json::Value>(&line?) else { continue };
        let is_of_process = matches!(line["stream"].as_str(), Some("out" | "err"));
        let Some(text) = line["text"].as_str().filter(|_| is_of_process) else { continue };
        // Those after one that fits need not be looked for any more.
        let open = &patterns[..first.unwrap_or(patterns.len())];
        first = open.iter().position(|pattern| pattern.is_match(text)).or(first);
        if first == Some(0) {
            break;
        }
    }
    Ok(first)
}
