//! Where the stock producer's trades come from, and the replay file's form.
//!
//! Both binaries link this: `windlass` refuses a wrong `STOCK_SOURCE` before it starts anything, and `windlass-tasks`
//! reads the same file by the same rules. Whatever [`check`] accepts can be opened and has the right header; a row that
//! cannot be read is never an error of the file but a [`RowFault`] with its line.

mod reader;
mod trade;

pub use reader::{Row, TradeReader};
pub use trade::{RowFault, Trade, ValueFault};

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The header that a replay file starts with; the columns stand in this order.
pub const HEADER: &str = "ts,symbol,price,size,trade_id";

/// What the stock producer reads, as `STOCK_SOURCE` says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StockSource {
    /// Random walks from a seed, without end.
    Mock,
    /// Live market data of Alpaca.
    Alpaca,
    /// The rows of a file, then the end.
    Replay(PathBuf),
}

impl StockSource {
    /// Reads the value of `STOCK_SOURCE`; an empty one is the default, `mock`.
    ///
    /// # Errors
    /// [`SourceError::Unknown`] for a word that names no source, [`SourceError::NoFile`] for `replay:` without a path.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        match text.trim() {
            "" | "mock" => Ok(Self::Mock),
            "alpaca" => Ok(Self::Alpaca),
            "replay" | "replay:" => Err(SourceError::NoFile),
            other => match other.strip_prefix("replay:") {
                Some(path) => Ok(Self::Replay(PathBuf::from(path))),
                None => Err(SourceError::Unknown(other.to_owned())),
            },
        }
    }

    /// Whether the source comes to an end by itself.
    pub fn is_finite(&self) -> bool {
        match self {
            Self::Mock | Self::Alpaca => false,
            Self::Replay(_) => true,
        }
    }
}

impl FromStr for StockSource {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for StockSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mock => f.write_str("mock"),
            Self::Alpaca => f.write_str("alpaca"),
            Self::Replay(path) => write!(f, "replay:{}", path.display()),
        }
    }
}

/// Why a source cannot be used. The text is for the person who set `STOCK_SOURCE`.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The word names no source.
    #[error("STOCK_SOURCE is `{0}`, which is no source; use `mock`, `alpaca` or `replay:<file.csv or file.csv.gz>`")]
    Unknown(String),
    /// `replay:` stands alone.
    #[error("STOCK_SOURCE is `replay:` without a file; write `replay:<file.csv or file.csv.gz>`")]
    NoFile,
    /// The name does not end as a replay file's does.
    #[error("the replay file {} must end in .csv or .csv.gz", .0.display())]
    Extension(PathBuf),
    /// The file cannot be opened or read.
    #[error("cannot read the replay file {}, at line {line}: {cause}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The line that could not be read, counted from 1.
        line: u64,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The first line is not the header.
    #[error("{}, line 1: the header is `{found}`, but it must be `{HEADER}`", .path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// The line that stands there, shortened.
        found: String,
    },
}

/// Makes sure that the source can be started: a replay's file can be read and has the right header. A live source's keys
/// are its producer's business alone.
///
/// # Errors
/// The reason, naming the file and the line.
pub fn check(source: &StockSource) -> Result<(), SourceError> {
    match source {
        StockSource::Mock | StockSource::Alpaca => Ok(()),
        StockSource::Replay(path) => check_file(path),
    }
}

fn check_file(path: &Path) -> Result<(), SourceError> {
    let mut reader = TradeReader::open(path)?;
    reader.next_row().map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn file(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        (dir, path)
    }

    fn gz(content: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn sources_are_read_and_printed_alike() {
        for text in ["mock", "alpaca", "replay:/data/a b.csv.gz"] {
            assert_eq!(StockSource::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(StockSource::parse("").unwrap(), StockSource::Mock);
    }

    #[test]
    fn an_unknown_source_is_refused_with_the_choices() {
        let message = StockSource::parse("kraken").unwrap_err().to_string();
        assert!(message.contains("`kraken`") && message.contains("replay:<file.csv"), "{message}");
        assert!(matches!(StockSource::parse("replay:"), Err(SourceError::NoFile)));
    }

    #[test]
    fn a_missing_file_is_named() {
        let message = check(&StockSource::Replay("/no/such.csv".into())).unwrap_err().to_string();
        assert!(message.contains("/no/such.csv") && message.contains("No such file"), "{message}");
    }

    #[test]
    fn a_wrong_header_is_shown_with_its_line() {
        let (_dir, path) = file("t.csv", b"time,symbol,price\n1,2,3\n");
        let message = check(&StockSource::Replay(path)).unwrap_err().to_string();
        assert!(message.contains("t.csv, line 1: the header is `time,symbol,price`"), "{message}");
    }

    #[test]
    fn an_empty_file_has_no_header() {
        let (_dir, path) = file("t.csv", b"");
        assert!(matches!(check(&StockSource::Replay(path)), Err(SourceError::Header { .. })));
    }

    #[test]
    fn a_compressed_file_is_read_and_a_false_one_is_an_error() {
        let (_dir, good) = file("t.csv.gz", &gz(&format!("{HEADER}\n2024-01-02T15:00:00Z,AAPL,1.5,2,a\n")));
        check(&StockSource::Replay(good)).unwrap();
        let (_dir, bad) = file("t.csv.gz", HEADER.as_bytes());
        assert!(matches!(check(&StockSource::Replay(bad)), Err(SourceError::Read { line: 1, .. })));
    }

    #[test]
    fn a_truncated_file_ends_with_its_line() {
        let mut rows = format!("{HEADER}\n");
        for n in 0..20_000 {
            rows.push_str(&format!("2024-01-02T15:00:00Z,AAPL,1.5,2,trade-{}\n", n * 7919 % 20_000));
        }
        let whole = gz(&rows);
        let (_dir, path) = file("t.csv.gz", &whole[..whole.len() / 2]);
        let mut reader = TradeReader::open(&path).unwrap();
        let error = loop {
            match reader.next_row() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the truncated file was read to an end"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, SourceError::Read { line, .. } if line > 1_000), "{error}");
    }

    #[test]
    fn other_endings_are_refused() {
        let (_dir, path) = file("t.parquet", b"PAR1");
        assert!(matches!(check(&StockSource::Replay(path)), Err(SourceError::Extension(_))));
    }
}
