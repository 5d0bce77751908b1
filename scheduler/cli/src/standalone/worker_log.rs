//! The log of a standalone's worker, bounded: the worker outlives the process that opened the file for it, so it watches
//! the file itself, and goes on in a new one when it is long.

use std::{fs, io, path::PathBuf, time::Duration};

use daemon::home::Home;
use nix::unistd::{dup2_stderr, dup2_stdout};

/// A file that is longer becomes the old one, and replaces the one before.
const BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How often its length is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Where it lies.
#[must_use]
pub fn path(home: &Home) -> PathBuf {
    home.logs().join("worker.log")
}

/// Keeps the log of this process short, for as long as it runs.
pub async fn keep_short(path: PathBuf) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Err(error) = turn_over(&path, BYTES_MAX) {
            tracing::warn!(%error, path = %path.display(), "the worker's log can not be turned over");
        }
    }
}

fn turn_over(path: &PathBuf, bytes_max: u64) -> io::Result<()> {
    if fs::metadata(path)?.len() <= bytes_max {
        return Ok(());
    }
    fs::rename(path, path.with_extension("log.1"))?;
    let fresh = fs::File::options().create(true).append(true).open(path)?;
    dup2_stdout(&fresh)?;
    dup2_stderr(&fresh)?;
    Ok(())
}
