//! Where the files of a bundle are: in a folder of this machine, or in a revision that the store has.

use std::{path::PathBuf, sync::Arc};

use dag::{Content, FileProblem, ReadFile, content::Entry};

use super::{
    list::Listing,
    read::{FolderReader, Stamp, Unread, dag_text, read_text, stamp},
};

/// Where the files of a bundle are.
#[derive(Debug, Clone)]
pub enum Source {
    /// Below a folder of this machine.
    Disk(PathBuf),
    /// In a stored revision.
    Stored(Stored),
    /// Nowhere: there is no such bundle any more.
    Gone,
}

/// A revision of a bundle.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its name; none while the bundle has none yet.
    pub revision: Option<Arc<str>>,
    /// Its files.
    pub content: Arc<Content>,
    /// Why the bundle could not be renewed, with its address: an error of the bundle's root, and no file counts as gone.
    pub not_renewed: Option<String>,
}

impl Source {
    pub(super) fn list(&self) -> Listing {
        match self {
            Self::Disk(root) => Listing::of(root),
            Self::Stored(stored) => Listing::of_content(&stored.content, stored.not_renewed.as_deref()),
            Self::Gone => Listing::default(),
        }
    }

    pub(super) fn stamp(&self, name: &str) -> Option<Stamp> {
        match self {
            Self::Disk(root) => stamp(root, name),
            Self::Stored(stored) => stored.content.get(name).map(|entry| match entry {
                Entry::File(file) => Stamp::Stored(file.sha256.clone()),
                Entry::Problem { bytes, why } => Stamp::Stored(format!("{bytes} {why}")),
            }),
            Self::Gone => None,
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<String, Unread> {
        match self {
            Self::Disk(root) => read_text(&root.join(name)),
            Self::Stored(stored) => match stored.content.get(name) {
                Some(Entry::File(file)) => dag_text(file.bytes.to_vec()),
                Some(Entry::Problem { why, .. }) => {
                    Err(Unread::Unreadable(format!("the file is not in the bundle: {why}")))
                }
                None => Err(Unread::Missing),
            },
            Self::Gone => Err(Unread::Missing),
        }
    }

    pub(super) fn revision(&self) -> Option<Arc<str>> {
        match self {
            Self::Stored(stored) => stored.revision.clone(),
            Self::Disk(_) | Self::Gone => None,
        }
    }

    /// Lends the files to the compiler of one of them.
    pub(super) fn reader(&self) -> FolderReader<'_> {
        FolderReader::new(self)
    }
}

impl ReadFile for Stored {
    fn read(&self, name: &str) -> Result<Vec<u8>, FileProblem> {
        self.content.read(name)
    }
}
