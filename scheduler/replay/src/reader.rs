//! Reads a replay file line by line, counting.
//!
//! One row is one line, so a number in a message always names the line that an editor shows. The reader holds one line at
//! a time, whatever the file's size. A line that is no trade is given out with its fault and its text, so that nothing of
//! the file is lost; only the file itself failing ends the reading.

use crate::trade::{RowFault, Trade};
use crate::{HEADER, SourceError};
use csv::ByteRecord;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Read ahead from the disk; large enough that the decompressor rarely waits.
const BUFFER_BYTES: usize = 1 << 18;
/// A row has some 60 bytes; a line of this length means that the file is something else.
const LINE_BYTES_MAX: usize = 1 << 16;
/// How much of a wrong header an error message repeats.
const HEADER_SHOWN_CHARS: usize = 120;

/// A row of the file.
#[derive(Debug)]
pub struct Row<'a> {
    /// Its line in the file; the header is line 1.
    pub line: u64,
    /// The trade, or why it is none.
    pub trade: Result<Trade<'a>, RowFault>,
    /// The line without its end: what a dead letter keeps of it.
    pub text: &'a [u8],
}

/// Reads the rows of a replay file in their order.
pub struct TradeReader {
    path: PathBuf,
    input: Box<dyn BufRead + Send>,
    /// Number of lines read so far.
    line: u64,
    text: Vec<u8>,
    /// The fields of a line that has quotes; other lines are split in place.
    unquoted: ByteRecord,
}

impl TradeReader {
    /// Opens the file and reads its header.
    ///
    /// # Errors
    /// When the file cannot be read, is not named as a replay file, or starts with another header.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let input = open_input(path)?;
        let mut reader = Self { path: path.to_owned(), input, line: 0, text: Vec::new(), unquoted: ByteRecord::new() };
        reader.advance()?;
        let text = String::from_utf8_lossy(&reader.text);
        let found = text.trim_start_matches('\u{feff}').trim_end();
        if found != HEADER {
            let found = found.chars().take(HEADER_SHOWN_CHARS).collect();
            return Err(SourceError::Header { path: reader.path, found });
        }
        Ok(reader)
    }

    /// The next row, or nothing at the end of the file. Empty lines are passed over.
    ///
    /// # Errors
    /// [`SourceError::Read`] when the file cannot be read on, such as a truncated compressed one.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, SourceError> {
        loop {
            if !self.advance()? {
                return Ok(None);
            }
            if !self.text.is_empty() {
                break;
            }
        }
        let Self { line, text, unquoted, .. } = self;
        let trade = if text.contains(&b'"') { unquote(text, unquoted) } else { trade_of(text.split(|&b| b == b',')) };
        Ok(Some(Row { line: *line, trade, text }))
    }

    /// Reads one line into `text`, without its end. False at the end of the file.
    fn advance(&mut self) -> Result<bool, SourceError> {
        self.text.clear();
        let read = (&mut self.input).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut self.text);
        let failed = match read {
            Ok(0) => return Ok(false),
            Ok(LINE_BYTES_MAX) => Some(io::Error::other(format!("the line is longer than {LINE_BYTES_MAX} bytes"))),
            Ok(_) => None,
            Err(error) => Some(error),
        };
        self.line += 1;
        if let Some(cause) = failed {
            return Err(SourceError::Read { path: self.path.clone(), line: self.line, cause });
        }
        while matches!(self.text.last(), Some(b'\n' | b'\r')) {
            self.text.pop();
        }
        Ok(true)
    }
}

fn open_input(path: &Path) -> Result<Box<dyn BufRead + Send>, SourceError> {
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let compressed = name.ends_with(".csv.gz");
    if !compressed && !name.ends_with(".csv") {
        return Err(SourceError::Extension(path.to_owned()));
    }
    let file = File::open(path).map_err(|cause| SourceError::Read { path: path.to_owned(), line: 1, cause })?;
    let buffered = BufReader::with_capacity(BUFFER_BYTES, file);
    Ok(if compressed {
        Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(buffered)))
    } else {
        Box::new(buffered)
    })
}

fn unquote<'a>(text: &[u8], fields: &'a mut ByteRecord) -> Result<Trade<'a>, RowFault> {
    let mut line = csv::ReaderBuilder::new().has_headers(false).buffer_capacity(text.len()).from_reader(text);
    // Reading from memory fails for no reason; whatever the quotes are, they make some record.
    if line.read_byte_record(fields).is_err() {
        fields.clear();
    }
    trade_of(fields.iter())
}

fn trade_of<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Result<Trade<'a>, RowFault> {
    let mut found = [""; 5];
    let mut count = 0;
    for field in fields {
        if let Some(place) = found.get_mut(count) {
            *place = std::str::from_utf8(field).map_err(|_| RowFault::NotUtf8)?;
        }
        count += 1;
    }
    if count != found.len() {
        return Err(RowFault::Fields(count));
    }
    Trade::of_fields(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(content: &str) -> TradeReader {
        let mut file = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
        io::Write::write_all(&mut file, content.as_bytes()).unwrap();
        TradeReader::open(file.path()).unwrap()
    }

    #[test]
    fn rows_come_with_their_lines_and_bad_ones_with_their_text() {
        let mut rows = reader(
            "ts,symbol,price,size,trade_id\r\n\
             2024-01-02T10:00:00Z,AAPL,1.5,2,a\r\n\
             \r\n\
             2024-01-02T10:00:00Z,AAPL,oops,2,b\r\n\
             too,short\r\n\
             2024-01-02T10:00:01Z,\"MSFT\",2.5,3,c",
        );
        let mut seen = Vec::new();
        while let Some(row) = rows.next_row().unwrap() {
            let what = match &row.trade {
                Ok(trade) => trade.symbol.to_owned(),
                Err(fault) => format!("{fault} in {}", String::from_utf8_lossy(row.text)),
            };
            seen.push((row.line, what));
        }
        let expected = [
            (2, "AAPL"),
            (4, "price is not a number: `oops` in 2024-01-02T10:00:00Z,AAPL,oops,2,b"),
            (5, "the row has 2 fields, expected 5 in too,short"),
            (6, "MSFT"),
        ];
        assert_eq!(seen, expected.map(|(line, what)| (line, what.to_owned())));
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_header() {
        assert!(reader("\u{feff}ts,symbol,price,size,trade_id\n").next_row().unwrap().is_none());
    }

    #[test]
    fn a_line_without_end_does_not_fill_the_memory() {
        let mut rows = reader(&format!("{HEADER}\n{}", "x".repeat(LINE_BYTES_MAX * 2)));
        let message = rows.next_row().unwrap_err().to_string();
        assert!(message.contains("line 2") && message.contains("longer than"), "{message}");
    }
}
