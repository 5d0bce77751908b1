//! The files that a DAG refers to: names are checked before anything is read, sizes after.
//!
//! This crate opens nothing itself; [`ReadFile`] is how its caller lends it a DAG folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sha2::{Digest, Sha256};

use crate::{
    compiled::DagFile,
    problem::{Place, Problems},
};

/// How large one file may be: versions carry their files, and a version is kept for ever.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// How large the files of one DAG may be together, for the same reason.
pub const FILES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// So many ends of a folder's path are looked at.
const SEARCHED_PARTS_MAX: usize = 32;

/// Reads files of a DAG folder.
///
/// Names are relative, with `/` between their parts, and never have a part `..`; an implementation refuses names that
/// leave the folder through a symbolic link.
pub trait ReadFile {
    /// The whole content of a file.
    ///
    /// # Errors
    /// A [`FileProblem`] that says why there is none.
    fn read(&self, name: &str) -> Result<Vec<u8>, FileProblem>;
}

/// Why a file could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileProblem {
    /// Nothing of that name exists.
    #[error("there is no such file below the DAG folder")]
    Missing,
    /// The name leads out of the DAG folder.
    #[error("it leads out of the DAG folder, through a symbolic link or otherwise")]
    Outside,
    /// It is larger than a file may be; it need not be read to know that.
    #[error("it has {bytes} bytes, but a file of a DAG has at most {FILE_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// It is a directory, or reading it failed.
    #[error("reading it failed: {0}")]
    Unreadable(String),
}

/// The files of one DAG, as far as they have been asked for.
pub(crate) struct FileSet<'r> {
    /// None when names are taken as they are, because the files were read before.
    reader: Option<&'r dyn ReadFile>,
    found: BTreeMap<String, DagFile>,
    /// Files whose imports have been followed.
    followed: BTreeSet<String>,
    /// Folders that names are looked for in after that of the DAG file.
    searched: Vec<String>,
    /// Names that were looked for in vain.
    missing: BTreeSet<String>,
    /// The folder of the DAG file, as the beginning of names: empty, or with a slash at its end.
    beside: String,
    bytes: usize,
}

impl FileSet<'_> {
    /// The files of an operator that is read again: what it names was found with its version.
    pub(crate) fn taken() -> Self {
        let (found, followed, searched, missing, beside) = Default::default();
        FileSet { reader: None, found, followed, searched, missing, beside, bytes: 0 }
    }

    /// Whether names are taken as they are.
    pub(crate) const fn is_taken(&self) -> bool {
        self.reader.is_none()
    }

    /// Whether the imports of a file are still to be followed; they are from now on.
    pub(crate) fn follow(&mut self, file: &str) -> bool {
        self.followed.insert(file.to_owned())
    }
}

impl<'r> FileSet<'r> {
    /// No file yet.
    pub(crate) fn new(reader: &'r dyn ReadFile, dag_file: &str) -> Self {
        let beside = dag_file.rfind('/').map_or("", |end| &dag_file[..=end]).to_owned();
        let (found, followed, searched, missing) = Default::default();
        Self { reader: Some(reader), found, followed, searched, missing, beside, bytes: 0 }
    }

    /// From now on names are looked for in these folders, too (Airflow's `template_searchpath`). One of another machine
    /// (`/usr/local/airflow/include/sql`) means that of the longest end of its path in which a name is found.
    pub(crate) fn search_in(&mut self, folders: Vec<String>) {
        self.searched = folders;
    }

    /// The file of a name that is not there from the top of the DAG folder.
    fn elsewhere(&mut self, plain: &str) -> Result<Option<String>, String> {
        let mut names = vec![format!("{}{plain}", self.beside)];
        for folder in &self.searched {
            let parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
            let ends =
                (0..=parts.len()).take(SEARCHED_PARTS_MAX).map(|start| [&parts[start..], &[plain]].concat().join("/"));
            names.extend(ends);
        }
        for name in names {
            if let Some(found) = self.find(&name)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The folder of the DAG file: empty, or with a slash at its end.
    pub(crate) fn beside(&self) -> &str {
        &self.beside
    }

    /// Adds the file of that name when there is one, and returns its plain name. A name that no file below the DAG folder can
    /// have is that of no file.
    ///
    /// # Errors
    /// What is wrong with a file that is there.
    pub(crate) fn find(&mut self, name: &str) -> Result<Option<String>, String> {
        let Ok(plain) = plain_name(name) else { return Ok(None) };
        let Some(reader) = self.reader else { return Ok(Some(plain)) };
        if self.found.contains_key(&plain) {
            return Ok(Some(plain));
        }
        if self.missing.contains(&plain) {
            return Ok(None);
        }
        let read = reader.read(&plain);
        if read == Err(FileProblem::Missing) {
            self.missing.insert(plain);
            return Ok(None);
        }
        let file = self.accept(&plain, read)?;
        self.found.insert(plain.clone(), file);
        Ok(Some(plain))
    }

    /// The text of a file that was added; none when it is no text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.found.get(name).and_then(|file| std::str::from_utf8(&file.bytes).ok())
    }

    /// Adds the file of that name; a problem is noted at the place that names it. Returns the name in its plain form.
    pub(crate) fn add(&mut self, name: &str, place: &Place, problems: &mut Problems) -> Option<String> {
        let plain = match plain_name(name) {
            Ok(plain) => plain,
            Err(message) => {
                problems.add(place, message);
                return None;
            }
        };
        let found = match self.find(&plain) {
            Ok(None) => self.elsewhere(&plain),
            found => found,
        };
        match found {
            Ok(Some(found)) => Some(found),
            Ok(None) => {
                problems.add(place, format!("file {plain:?}: {}", FileProblem::Missing));
                None
            }
            Err(message) => {
                problems.add(place, message);
                None
            }
        }
    }

    /// What was found, by name.
    pub(crate) fn into_files(self) -> Vec<DagFile> {
        self.found.into_values().collect()
    }

    fn accept(&mut self, name: &str, read: Result<Vec<u8>, FileProblem>) -> Result<DagFile, String> {
        let bytes = read.and_then(within_limit).map_err(|why| format!("file {name:?}: {why}"))?;
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > FILES_BYTES_MAX {
            return Err(format!(
                "with file {name:?} the files of this DAG have {} bytes together; at most {FILES_BYTES_MAX} are allowed",
                self.bytes
            ));
        }
        Ok(DagFile::of(name, &bytes))
    }
}

impl DagFile {
    /// A file with this content.
    #[must_use]
    pub fn of(name: &str, bytes: &[u8]) -> Self {
        Self { name: name.to_owned(), sha256: hex::encode(Sha256::digest(bytes)), bytes: Arc::from(bytes) }
    }
}

fn within_limit(bytes: Vec<u8>) -> Result<Vec<u8>, FileProblem> {
    if bytes.len() > FILE_BYTES_MAX { Err(FileProblem::TooLarge { bytes: bytes.len() as u64 }) } else { Ok(bytes) }
}

/// The name without `./` and doubled slashes, or why it can not be the name of a file below the DAG folder.
pub(crate) fn plain_name(name: &str) -> Result<String, String> {
    let absolute = name.starts_with('/') || name.starts_with('~') || name.contains(':');
    if absolute || name.contains('\\') || name.chars().any(char::is_control) {
        return Err(format!("file {name:?}: expected a name relative to the DAG folder, with / between its parts"));
    }
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(format!("file {name:?}: \"..\" would leave the DAG folder"));
    }
    if parts.is_empty() {
        return Err("expected the name of a file".to_owned());
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leaves_the_folder_is_refused_before_anything_is_read() {
        for bad in ["../x.sql", "a/../../x", "/etc/passwd", "~/x", "C:\\x", "a\\b", "", "./", "a\0b"] {
            assert!(plain_name(bad).is_err(), "{bad:?}");
        }
        assert_eq!(plain_name("./sql//stock/a.sql").unwrap(), "sql/stock/a.sql");
    }
}
