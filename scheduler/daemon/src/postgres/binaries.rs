//! Finds the programs of an installed PostgreSQL: the newest one, or the one that made the cluster.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{error::PostgresError, layout::Layout};

/// Where Debian and its relatives put each version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// The oldest major version that the state's queries run on.
const MAJOR_MIN: u32 = 14;

/// A folder with `initdb` and `postgres` of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    folder: PathBuf,
    major: u32,
}

impl Binaries {
    /// The version that made the cluster; the newest for a new one.
    pub(super) fn find(layout: &Layout) -> Result<Self, PostgresError> {
        let mut found: Vec<Self> = folders().into_iter().filter_map(Self::of).collect();
        found.retain(|binaries| binaries.major >= MAJOR_MIN);
        let Ok(made_by) = fs::read_to_string(layout.data.join("PG_VERSION")) else {
            return found.into_iter().max_by_key(|binaries| binaries.major).ok_or(PostgresError::NoBinaries);
        };
        let made_by = made_by.trim().parse().unwrap_or(0);
        let versions = found.iter().map(|binaries| binaries.major.to_string()).collect::<Vec<_>>().join(", ");
        found.into_iter().find(|binaries| binaries.major == made_by).ok_or(PostgresError::OtherVersion {
            data: layout.data.clone(),
            made_by,
            found: versions,
        })
    }

    /// One of its programs.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn of(folder: PathBuf) -> Option<Self> {
        if !folder.join("initdb").is_file() {
            return None;
        }
        let output = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
        let major = major_of(&String::from_utf8_lossy(&output.stdout))?;
        Some(Self { folder, major })
    }
}

/// A program of the newest version that has it; Debian's wrappers on the search path choose by clusters of their own.
pub(super) fn newest_program(name: &str) -> Option<PathBuf> {
    let version = |folder: &PathBuf| folder.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    let mut folders: Vec<PathBuf> = folders().into_iter().filter(|folder| folder.join(name).is_file()).collect();
    folders.sort_by_key(version);
    folders.pop().map(|folder| folder.join(name))
}

/// Folders of the search path first, so that somebody can choose.
fn folders() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    if let Ok(versions) = fs::read_dir(Path::new(DEBIAN)) {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    folders
}

/// `postgres (PostgreSQL) 15.8 (Debian …)` is 15; so is `15beta1`.
fn major_of(version: &str) -> Option<u32> {
    let number = version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_postgres_says() {
        assert_eq!(major_of("postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)"), Some(15));
        assert_eq!(major_of("postgres (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(major_of("nothing"), None);
    }
}
