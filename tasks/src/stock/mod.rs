//! The stock pipeline's workers: trades from a source to the topic, and from the topic to the bronze tables.

pub mod alpaca;
pub mod codec;
pub mod producer;
pub mod sink;

mod batch;
mod encoder;
mod foreign;
mod mock;
mod outlet;
mod playback;
mod resume;
mod settled;

use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;

/// Partitions of the topic when it is made.
pub const PARTITIONS: i32 = 3;

/// Names of the headers that a record of the topic may have.
pub mod header {
    /// The source's id.
    pub const SOURCE: &str = "source";
    /// The line in the source.
    pub const LINE: &str = "line";
    /// Why what the source gave is no trade; the record's value is that as it was given.
    pub const ERROR: &str = "error";
}

/// The id of a replay file: what it contains, wherever it lies.
///
/// # Errors
/// When it cannot be read.
pub async fn source_id(path: &Path) -> std::io::Result<String> {
    let path = path.to_owned();
    let hashed = tokio::task::spawn_blocking(move || hash_file(&path)).await;
    hashed.expect("hashing does not panic, and nobody cancels it")
}

fn hash_file(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(format!("replay:{}", hex::encode(hash.finalize()))),
            read => hash.update(&buffer[..read]),
        }
    }
}
