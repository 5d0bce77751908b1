//! Files for this user alone, written whole or not at all.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process,
};

/// Writes a file that only this user can read: all of it, in place of what was there, or nothing.
///
/// # Errors
/// What the system says.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension(format!("new-{}", process::id()));
    match fs::remove_file(&draft) {
        // One that was left behind may be readable by others.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let written = draft_of(&draft, bytes).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // It is of no use; what is to be told is why.
        let _gone_or_not = fs::remove_file(&draft);
    }
    written
}

fn draft_of(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_private_file_takes_the_place_of_an_open_one_and_leaves_no_draft() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write(&folder.path().join("none/a.key"), b"x").is_err());
        assert!(write(folder.path(), b"x").is_err(), "a folder is no place for a file");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
