//! Small files in which a worker keeps what the next one on its directory has to know.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use serde::Serialize;

/// Writes a value as JSON, whole or not at all, for this user's eyes only: it may have secrets of a run's conf.
pub(super) fn write_whole(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    fs::rename(draft, path)
}
