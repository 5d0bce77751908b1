//! Small files in which a worker keeps what the next one on its directory has to know.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use serde::Serialize;

/// Writes a value as JSON, whole or not at all.
pub(super) fn write_whole(path: &Path, value: &impl Serialize) -> io::Result<()> {
    put_whole(path, &serde_json::to_vec(value)?).map(drop)
}

/// Puts a file with these bytes, whole or not at all, in a file's place, and leaves it open for more. It is for this user's
/// eyes only: it may have secrets of a run's conf, or XComs.
pub(super) fn put_whole(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&draft)?;
    file.set_len(0)?;
    file.write_all(bytes)?;
    fs::rename(draft, path)?;
    Ok(file)
}
