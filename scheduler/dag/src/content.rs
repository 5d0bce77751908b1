//! The content of a bundle's revision: its files by their names, bounded in number and size, and the hash that tells one
//! content from another.
//!
//! What always holds: a name is in its plain form and leads nowhere but below the root; what is hidden (a part of the name begins
//! with a dot) is not among it, as the DAG folder passes it over.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::{
    compiled::DagFile,
    files::{FILE_BYTES_MAX, FileProblem, ReadFile, plain_name},
};

/// How many files a revision may have: each is a row, and a server takes all of them at once.
pub const REVISION_FILES_MAX: usize = 5_000;
/// How large the files of a revision may be together: as large as those of one DAG may be.
pub const REVISION_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The files of a revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    files: BTreeMap<String, Entry>,
    bytes: usize,
}

/// What a revision has under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file.
    File(DagFile),
    /// Something that can not be taken: whoever asks for it is told why.
    Problem {
        /// How large it is.
        bytes: u64,
        /// Why it is not taken, as in "it is a symbolic link".
        why: String,
    },
}

/// Why a content does not take a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Its name leads elsewhere, or is not plain.
    #[error("{0}")]
    Name(String),
    /// It is larger than a file may be.
    #[error("file {name:?} has {bytes} bytes; a file of a bundle has at most {FILE_BYTES_MAX}")]
    FileTooLarge {
        /// Its name.
        name: String,
        /// Its size.
        bytes: usize,
    },
    /// There are too many.
    #[error(
        "with file {name:?} there are more than {REVISION_FILES_MAX} files; a bundle has at most so many: leave out what no DAG \
         needs"
    )]
    TooMany {
        /// The first one too many.
        name: String,
    },
    /// They are too large together.
    #[error(
        "with file {name:?} the files have {bytes} bytes together; a bundle has at most {REVISION_BYTES_MAX}: leave out what no \
         DAG needs"
    )]
    TooLarge {
        /// The one that is too much.
        name: String,
        /// How large they are with it.
        bytes: usize,
    },
}

impl Content {
    /// Adds a file; one that is hidden is passed over.
    ///
    /// # Errors
    /// [`ContentError`] when its name or its size is not taken.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), ContentError> {
        self.check_name(name)?;
        if bytes.len() > FILE_BYTES_MAX {
            return Err(ContentError::FileTooLarge { name: name.to_owned(), bytes: bytes.len() });
        }
        if is_hidden(name) {
            return Ok(());
        }
        self.make_room(name, bytes.len())?;
        self.files.insert(name.to_owned(), Entry::File(DagFile::of(name, bytes)));
        Ok(())
    }

    /// Notes something that can not be taken.
    ///
    /// # Errors
    /// [`ContentError`] when there are too many names.
    pub fn note(&mut self, name: &str, bytes: u64, why: impl Into<String>) -> Result<(), ContentError> {
        self.check_name(name)?;
        if is_hidden(name) {
            return Ok(());
        }
        self.make_room(name, 0)?;
        self.files.insert(name.to_owned(), Entry::Problem { bytes, why: why.into() });
        Ok(())
    }

    /// What is in it, by name.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.files.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// What it has under a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.files.get(name)
    }

    /// How many names it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// How large its files are together.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// SHA-256 in hex over names and contents: the same files give the same.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut digest = Sha256::new();
        for (name, entry) in &self.files {
            let content = match entry {
                Entry::File(file) => &file.sha256,
                Entry::Problem { why, .. } => why,
            };
            // No name and no reason has a NUL.
            digest.update(format!("{name}\0{content}\0"));
        }
        hex::encode(digest.finalize())
    }

    fn check_name(&self, name: &str) -> Result<(), ContentError> {
        match plain_name(name) {
            Ok(plain) if plain == name => Ok(()),
            Ok(plain) => Err(ContentError::Name(format!("file {name:?}: expected its plain name, {plain:?}"))),
            Err(why) => Err(ContentError::Name(why)),
        }
    }

    fn make_room(&mut self, name: &str, bytes: usize) -> Result<(), ContentError> {
        let before = match self.files.remove(name) {
            Some(Entry::File(file)) => file.bytes.len(),
            Some(Entry::Problem { .. }) | None => 0,
        };
        let all = self.bytes - before + bytes;
        if self.files.len() >= REVISION_FILES_MAX {
            return Err(ContentError::TooMany { name: name.to_owned() });
        }
        if all > REVISION_BYTES_MAX {
            return Err(ContentError::TooLarge { name: name.to_owned(), bytes: all });
        }
        self.bytes = all;
        Ok(())
    }
}

impl ReadFile for Content {
    fn read(&self, name: &str) -> Result<Vec<u8>, FileProblem> {
        match self.files.get(name) {
            Some(Entry::File(file)) => Ok(file.bytes.to_vec()),
            Some(Entry::Problem { bytes, .. }) if *bytes > FILE_BYTES_MAX as u64 => {
                Err(FileProblem::TooLarge { bytes: *bytes })
            }
            Some(Entry::Problem { why, .. }) => Err(FileProblem::Unreadable(why.clone())),
            None => Err(FileProblem::Missing),
        }
    }
}

/// Whether a file is passed over: itself, or a folder above it, begins with a dot.
#[must_use]
pub fn is_hidden(name: &str) -> bool {
    name.split('/').any(|part| part.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_root_or_is_too_much_is_refused_by_its_name() {
        let mut content = Content::default();
        for bad in ["../x.yaml", "/etc/passwd", "a/../../x", "./a.yaml", "a//b", "a\\b", "C:/x", "a\0b", ""] {
            let refused = content.add(bad, b"x").unwrap_err();
            assert!(matches!(refused, ContentError::Name(_)), "{bad:?}: {refused}");
        }
        let refused = content.add("large.sql", &vec![b'x'; FILE_BYTES_MAX + 1]).unwrap_err().to_string();
        assert!(refused.contains("large.sql") && refused.contains("1048577"), "{refused}");
        for number in 0..16 {
            content.add(&format!("{number}.bin"), &vec![0; FILE_BYTES_MAX]).unwrap();
        }
        let refused = content.add("last.bin", b"x").unwrap_err().to_string();
        assert!(refused.contains("last.bin") && refused.contains("16777217"), "{refused}");
        // The same name again takes the place of what was there.
        content.add("0.bin", b"x").unwrap();
        content.add("last.bin", b"x").unwrap();
        assert_eq!((content.len(), content.bytes()), (17, 15 * FILE_BYTES_MAX + 2));
    }

    #[test]
    fn names_are_counted_and_hidden_ones_are_not_among_them() {
        let mut content = Content::default();
        content.add(".git/config", b"x").unwrap();
        content.add("team/.cache/a.yaml", b"x").unwrap();
        assert!(content.is_empty());
        for number in 0..REVISION_FILES_MAX {
            content.note(&number.to_string(), 0, "no file").unwrap();
        }
        assert!(content.note("more", 0, "no file").unwrap_err().to_string().contains("\"more\""));
    }

    #[test]
    fn the_hash_is_that_of_names_and_contents() {
        let of = |files: &[(&str, &str)]| {
            let mut content = Content::default();
            files.iter().for_each(|(name, text)| content.add(name, text.as_bytes()).unwrap());
            content.hash()
        };
        assert_eq!(of(&[("a", "1"), ("b", "2")]), of(&[("b", "2"), ("a", "1")]));
        assert_ne!(of(&[("a", "1"), ("b", "2")]), of(&[("a", "2"), ("b", "1")]));
        assert_ne!(of(&[("a", "1")]), of(&[("b", "1")]));
        assert_ne!(of(&[]), of(&[("a", "")]));
    }

    #[test]
    fn what_could_not_be_taken_says_why_to_whoever_asks_for_it() {
        let mut content = Content::default();
        content.note("link.sql", 7, "it is a symbolic link").unwrap();
        content.note("huge.sql", 5 << 20, "it is too large").unwrap();
        assert!(content.read("link.sql").unwrap_err().to_string().contains("symbolic link"));
        assert_eq!(content.read("huge.sql").unwrap_err(), FileProblem::TooLarge { bytes: 5 << 20 });
        assert_eq!(content.read("none.sql").unwrap_err(), FileProblem::Missing);
    }
}
