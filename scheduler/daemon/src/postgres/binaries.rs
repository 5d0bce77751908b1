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

/// The programs of one version that copy databases: `pg_dump`, `pg_restore`, `psql`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    folder: PathBuf,
    major: u32,
}

impl Clients {
    /// What has to be there.
    const PROGRAMS: [&str; 3] = ["pg_dump", "pg_restore", "psql"];

    /// Those that are installed, the oldest first.
    #[must_use]
    pub fn installed() -> Vec<Self> {
        let mut found: Vec<Self> = folders().into_iter().filter_map(Self::of).collect();
        found.sort_by_key(|clients| clients.major);
        found
    }

    /// Those for a server of this version, the best first: an older `pg_dump` refuses the server, and a newer one writes what
    /// the server does not understand, such as settings that it has not.
    #[must_use]
    pub fn for_server(major: u32) -> Vec<Self> {
        let mut found = Self::installed();
        found.retain(|clients| clients.major >= major);
        found
    }

    /// Their major version.
    #[must_use]
    pub const fn major(&self) -> u32 {
        self.major
    }

    /// One of them.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn of(folder: PathBuf) -> Option<Self> {
        let is_there = |name: &&str| folder.join(name).is_file();
        // Debian's wrapper on the search path takes the version of a cluster of its own choice.
        let real = folder.join(Self::PROGRAMS[0]).canonicalize().ok()?;
        if real.ends_with("pg_wrapper") || !Self::PROGRAMS.iter().all(is_there) {
            return None;
        }
        let output = Command::new(real).arg("--version").output().ok()?;
        let major = major_of(&String::from_utf8_lossy(&output.stdout))?;
        Some(Self { folder, major })
    }
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
    fn clients_are_told_by_their_own_version_and_only_where_all_of_them_are() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            let path = folder.path().join(name);
            fs::write(&path, "#!/bin/sh\necho 'pg_dump (PostgreSQL) 16.4'\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        place("pg_dump");
        assert_eq!(Clients::of(folder.path().to_owned()), None, "psql is missing");
        place("pg_restore");
        place("psql");
        assert_eq!(Clients::of(folder.path().to_owned()).unwrap().major(), 16);
        fs::rename(folder.path().join("pg_dump"), folder.path().join("pg_wrapper")).unwrap();
        std::os::unix::fs::symlink("pg_wrapper", folder.path().join("pg_dump")).unwrap();
        assert_eq!(Clients::of(folder.path().to_owned()), None, "the wrapper answers for whatever it chooses");
        let versions: Vec<u32> = Clients::for_server(MAJOR_MIN).iter().map(Clients::major).collect();
        assert!(versions.is_sorted() && versions.iter().all(|major| *major >= MAJOR_MIN), "{versions:?}");
    }

    #[test]
    fn the_major_version_is_read_from_what_postgres_says() {
        assert_eq!(major_of("postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)"), Some(15));
        assert_eq!(major_of("postgres (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(major_of("nothing"), None);
    }
}
