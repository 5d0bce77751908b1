//! A directory of its own for each attempt, gone with it.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// An attempt's directory: its working directory unless it names one, and the place of generated files.
#[derive(Debug)]
pub struct Workspace(Option<TempDir>);

impl Workspace {
    /// Makes a fresh directory below `parent`, readable by its owner alone.
    ///
    /// # Errors
    /// When the directory can not be made.
    pub fn create(parent: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        let dir = tempfile::Builder::new().prefix("attempt-").tempdir_in(parent).map_err(|error| {
            io::Error::new(error.kind(), format!("making a working directory below {}: {error}", parent.display()))
        })?;
        Ok(Self(Some(dir)))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.as_ref().expect("the directory is taken only by drop").path()
    }

    /// Writes a file that its owner alone can read. The name is one of ours, without directories.
    ///
    /// # Errors
    /// When it can not be written.
    pub fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.path().join(name);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(path)
    }
}

impl Drop for Workspace {
    /// Removing a large tree takes long, so that a thread which may block does it; the worker clears what is left of a
    /// killed one when it starts.
    fn drop(&mut self) {
        let dir = self.0.take();
        match tokio::runtime::Handle::try_current() {
            Ok(handle) => drop(handle.spawn_blocking(move || drop(dir))),
            Err(_) => drop(dir),
        }
    }
}
