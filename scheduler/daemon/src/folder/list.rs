//! The names of the DAG files of a folder, and of the folders that could not be read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use dag::Content;

/// Folders below the DAG folder, at most so deep.
pub(super) const DEPTH_MAX: usize = 8;
/// What the DAG folder itself is called when it can not be read.
const ROOT: &str = "./";

/// What a folder has.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// YAML files; hidden ones and those behind symbolic links to folders are passed over.
    pub(super) names: BTreeSet<String>,
    /// Folders that could not be read, each with a slash at its end, and why.
    pub(super) unreadable: BTreeMap<String, String>,
    unknown: bool,
}

impl Listing {
    pub(super) fn of(root: &Path) -> Self {
        let mut listing = Self::default();
        listing.add(root, "", 0);
        listing
    }

    /// What a stored content has, which is as deep as a folder is looked at. With a reason why it could not be renewed, what it has
    /// may be there nevertheless.
    pub(super) fn of_content(content: &Content, not_renewed: Option<&str>) -> Self {
        let is_dag_file = |name: &str| is_yaml(name) && name.matches('/').count() <= DEPTH_MAX;
        let names = content.entries().map(|(name, _)| name).filter(|name| is_dag_file(name)).map(str::to_owned);
        let unreadable = not_renewed.map(|reason| (ROOT.to_owned(), reason.to_owned()));
        Self { names: names.collect(), unreadable: unreadable.into_iter().collect(), unknown: false }
    }

    /// What is not known yet: anything may be there.
    pub(super) fn unknown() -> Self {
        Self { unknown: true, ..Self::default() }
    }

    /// Whether a file is there, or may be.
    pub(super) fn has(&self, name: &str) -> bool {
        let is_below_unreadable = || {
            let folders = name.match_indices('/').map(|(slash, _)| &name[..=slash]);
            folders.chain([ROOT]).any(|folder| self.unreadable.contains_key(folder))
        };
        self.unknown || self.names.contains(name) || (!self.unreadable.is_empty() && is_below_unreadable())
    }

    fn add(&mut self, root: &Path, below: &str, depth: usize) {
        if let Err(error) = self.add_entries(root, below, depth) {
            // One that is gone since its parent was read is no error; the DAG folder itself has to be there.
            if below.is_empty() || error.kind() != io::ErrorKind::NotFound {
                let folder = if below.is_empty() { ROOT.to_owned() } else { format!("{below}/") };
                self.unreadable.insert(folder, error.to_string());
            }
        }
    }

    fn add_entries(&mut self, root: &Path, below: &str, depth: usize) -> io::Result<()> {
        for entry in fs::read_dir(root.join(below))? {
            let entry = entry?;
            let file_name = entry.file_name();
            let Some(file_name) = file_name.to_str().filter(|name| !name.starts_with('.')) else { continue };
            let name = if below.is_empty() { file_name.to_owned() } else { format!("{below}/{file_name}") };
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < DEPTH_MAX => self.add(root, &name, depth + 1),
                Ok(kind) if kind.is_dir() => {}
                Ok(_) if is_yaml(file_name) => drop(self.names.insert(name)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn is_yaml(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}
