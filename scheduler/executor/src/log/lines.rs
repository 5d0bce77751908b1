//! Cuts a stream of bytes into lines of bounded length.
//!
//! A carriage return takes the line back to its beginning, as on a terminal: what a progress bar showed before it is a state
//! of the line, and the line is what stands there in the end. The cut depends on the bytes alone, not on how they arrive.

use crate::Masker;

/// A longer line is split: pages show lines, and memory is bounded.
pub const LINE_BYTES_MAX: usize = 16 * 1024;

/// A long line without a safe place to split it is held back so far: no secret is longer.
const HELD_BYTES_MAX: usize = 256 * 1024;

/// A part of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'t> {
    /// A line, or the last piece of a long one.
    Line(&'t str),
    /// A piece of a long line that goes on.
    Piece(&'t str),
    /// What a line showed before a carriage return.
    State(&'t str),
}

impl<'t> Part<'t> {
    /// The text that stays on the line; none for what a return takes back.
    #[must_use]
    pub fn lasting(self) -> Option<&'t str> {
        match self {
            Self::Line(text) | Self::Piece(text) => Some(text),
            Self::State(_) => None,
        }
    }
}

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

    /// Takes bytes and gives the parts that they complete.
    pub fn push(&mut self, bytes: &[u8], mut part: impl FnMut(Part<'_>)) {
        for next in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let returned = self.waiting.ends_with(b"\r");
            if returned && next == b"\r" {
                continue;
            }
            // A return before the end of a line belongs to the end.
            if returned && next != b"\n" {
                let bytes = std::mem::take(&mut self.waiting);
                part(Part::State(&String::from_utf8_lossy(&bytes[..bytes.len() - 1])));
            }
            self.waiting.extend_from_slice(next);
            if self.waiting.ends_with(b"\n") {
                self.end_line(&mut part);
            }
            while self.waiting.len() > self.bytes_max && self.split(&mut part) == Split::Done {}
        }
    }

    /// Gives what is left when the stream ends.
    pub fn finish(mut self, mut part: impl FnMut(Part<'_>)) {
        if !self.waiting.is_empty() {
            self.end_line(&mut part);
        }
    }

    fn end_line(&mut self, part: &mut impl FnMut(Part<'_>)) {
        let bytes = std::mem::take(&mut self.waiting);
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        part(Part::Line(&String::from_utf8_lossy(bytes)));
    }

    fn split(&mut self, part: &mut impl FnMut(Part<'_>)) -> Split {
        let whole = complete_utf8(&self.waiting);
        let text = String::from_utf8_lossy(&self.waiting[..whole]).into_owned();
        let cut = match self.masker.safe_cut(&text) {
            Some(cut) => cut,
            None if text.len() < self.bytes_max + HELD_BYTES_MAX => return Split::NotYet,
            None => text.len(),
        };
        part(Part::Piece(&text[..cut]));
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
        let mut take = |part: Part<'_>| found.extend(part.lasting().map(|line| masker.mask(line).into_owned()));
        for chunk in chunks {
            splitter.push(chunk, &mut take);
        }
        splitter.finish(take);
        found
    }

    #[test]
    fn lines_come_whole_however_the_bytes_arrive() {
        assert_eq!(lines(&[b"a", b"b\r\nc\n\nd"], "zzz", 100), ["ab", "c", "", "d"]);
    }

    #[test]
    fn a_carriage_return_replaces_what_the_line_showed() {
        let text: &[u8] = b"10%\r20%\r\r30%\r\nnext\r\nlong long\rx\rlast\r";
        for size in 1..text.len() {
            let mut found = Vec::new();
            let mut splitter = LineSplitter::new(Masker::default(), 100);
            let mut take = |part: Part<'_>| found.push(format!("{part:?}"));
            text.chunks(size).for_each(|chunk| splitter.push(chunk, &mut take));
            splitter.finish(take);
            let expected = [
                "State(\"10%\")",
                "State(\"20%\")",
                "Line(\"30%\")",
                "Line(\"next\")",
                "State(\"long long\")",
                "State(\"x\")",
                "Line(\"last\")",
            ];
            assert_eq!(found, expected, "{size}");
        }
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
