//! Cuts a stream of bytes into lines of bounded length.

use crate::Masker;

/// A longer line is split: pages show lines, and memory is bounded.
pub const LINE_BYTES_MAX: usize = 16 * 1024;

/// A long line without a safe place to split it is held back so far: no secret is longer.
const HELD_BYTES_MAX: usize = 256 * 1024;

/// Collects bytes until a line is whole. A long line is split where no secret is parted, so that each piece can be masked
/// by itself.
#[derive(Debug)]
pub struct LineSplitter {
    masker: Masker,
    bytes_max: usize,
    waiting: Vec<u8>,
}

impl LineSplitter {
    /// Splits lines that are longer than `bytes_max`.
    #[must_use]
    pub fn new(masker: Masker, bytes_max: usize) -> Self {
        Self { masker, bytes_max, waiting: Vec::new() }
    }

    /// Takes bytes and gives the lines that they complete to `line`.
    pub fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&str)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.waiting.extend_from_slice(part);
            if self.waiting.ends_with(b"\n") {
                self.end_line(&mut line);
            }
            while self.waiting.len() > self.bytes_max && self.split(&mut line) == Split::Done {}
        }
    }

    /// Gives what is left when the stream ends.
    pub fn finish(mut self, mut line: impl FnMut(&str)) {
        if !self.waiting.is_empty() {
            self.end_line(&mut line);
        }
    }

    fn end_line(&mut self, line: &mut impl FnMut(&str)) {
        let bytes = std::mem::take(&mut self.waiting);
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        line(&String::from_utf8_lossy(bytes));
    }

    fn split(&mut self, line: &mut impl FnMut(&str)) -> Split {
        let whole = complete_utf8(&self.waiting);
        let text = String::from_utf8_lossy(&self.waiting[..whole]).into_owned();
        let cut = match self.masker.safe_cut(&text) {
            Some(cut) => cut,
            None if text.len() < self.bytes_max + HELD_BYTES_MAX => return Split::NotYet,
            None => text.len(),
        };
        line(&text[..cut]);
        self.waiting = [&text.as_bytes()[cut..], &self.waiting[whole..]].concat();
        Split::Done
    }
}

/// Whether a long line could be split.
#[derive(PartialEq, Eq)]
enum Split {
    Done,
    NotYet,
}

/// How many bytes are before a character that has begun but not ended.
fn complete_utf8(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Ok(_) | Err(_) => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]], secret: &str, bytes_max: usize) -> Vec<String> {
        let masker = Masker::default();
        masker.add(secret);
        let mut found = Vec::new();
        let mut splitter = LineSplitter::new(masker.clone(), bytes_max);
        for chunk in chunks {
            splitter.push(chunk, |line| found.push(masker.mask(line).into_owned()));
        }
        splitter.finish(|line| found.push(masker.mask(line).into_owned()));
        found
    }

    #[test]
    fn lines_come_whole_however_the_bytes_arrive() {
        assert_eq!(lines(&[b"a", b"b\r\nc\n\nd"], "zzz", 100), ["ab", "c", "", "d"]);
    }

    #[test]
    fn a_secret_over_a_chunk_or_a_split_is_masked() {
        assert_eq!(lines(&[b"my hun", b"ter22 is\n"], "hunter22", 100), ["my *** is"]);
        for before in 0..64 {
            let text = format!("{}hunter22{}", "-".repeat(before), "=".repeat(64));
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(5).collect();
            let found = lines(&chunks, "hunter22", 32).concat();
            assert!(found.contains("***") && !found.contains("hunter"), "{before}: {found}");
        }
    }

    #[test]
    fn a_split_keeps_characters_whole() {
        let text = "ä".repeat(100);
        let chunks: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(lines(&chunks, "zzz", 15).concat(), text);
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_such() {
        assert_eq!(lines(&[b"a\xff\xfeb\n"], "zzz", 100), ["a\u{fffd}\u{fffd}b"]);
    }
}
