//! A folder with one file for each secret.

use std::{
    fs::File,
    io::{ErrorKind, Read as _},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2},
    sys::stat::Mode,
};

use crate::backend::SECRET_BYTES_MAX;

/// The longest name that file systems take, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// Whether an id can be the name of a file here. Names with a dot in front are the mount's own, such as `..data`.
pub(super) fn is_name(id: &str) -> bool {
    !id.is_empty() && id.len() <= NAME_BYTES_MAX && !id.starts_with('.') && !id.contains(['/', '\0'])
}

/// The text of the file of this name, without the newline at its end.
///
/// # Errors
/// Why it can not be read.
pub(super) fn read(folder: &Path, id: &str) -> Result<Option<String>, String> {
    if !is_name(id) {
        return Ok(None);
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let within =
        open(folder, flags, Mode::empty()).map_err(|error| format!("the folder can not be opened: {error}"))?;
    // The kernel follows the links of Kubernetes' mounts, and refuses one that leads out of the folder. A pipe does not block.
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = match openat2(&within, id, how) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT) => return Ok(None),
        Err(Errno::EXDEV | Errno::ELOOP) => return Err("it is a link that leads out of its folder".to_owned()),
        Err(error) => return Err(format!("it can not be opened: {error}")),
    };
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is no file".to_owned());
    }
    text(file).map(|text| Some(text.strip_suffix('\n').map_or(text.as_str(), without_return).to_owned()))
}

fn without_return(line: &str) -> &str {
    line.strip_suffix('\r').unwrap_or(line)
}

/// The text of a file of bounded size.
pub(super) fn text(file: File) -> Result<String, String> {
    let mut text = String::new();
    match file.take(SECRET_BYTES_MAX as u64 + 1).read_to_string(&mut text) {
        Ok(bytes) if bytes > SECRET_BYTES_MAX => Err(format!("it has more than {SECRET_BYTES_MAX} bytes")),
        Ok(_) => Ok(text),
        Err(error) if error.kind() == ErrorKind::InvalidData => Err("it is not UTF-8 text".to_owned()),
        Err(error) => Err(format!("it can not be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn a_mount_of_kubernetes_is_read_through_its_links() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("..2026_01")).unwrap();
        fs::write(home.path().join("..2026_01/api_key"), "k\r\n").unwrap();
        symlink("..2026_01", home.path().join("..data")).unwrap();
        symlink("..data/api_key", home.path().join("api_key")).unwrap();
        assert_eq!(read(home.path(), "api_key").unwrap().as_deref(), Some("k"));
        assert_eq!(read(home.path(), "other").unwrap(), None);
        assert_eq!(read(home.path(), "..data").unwrap(), None);
    }

    #[test]
    fn nothing_outside_of_the_folder_is_read() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("inner");
        fs::create_dir(&folder).unwrap();
        fs::write(home.path().join("outside"), "s3cret").unwrap();
        fs::create_dir(folder.join("sub")).unwrap();
        fs::write(folder.join("sub/x"), "s3cret").unwrap();
        symlink("../outside", folder.join("relative")).unwrap();
        symlink(home.path().join("outside"), folder.join("absolute")).unwrap();
        symlink("/proc/self/environ", folder.join("magic")).unwrap();
        nix::unistd::mkfifo(&folder.join("pipe"), Mode::S_IRWXU).unwrap();
        for id in ["../outside", "sub/x", "/etc/hostname", ".", "..", "", "a\0b", ".hidden", "..%2foutside"] {
            assert_eq!(read(&folder, id).unwrap(), None, "{id}");
        }
        for id in ["relative", "absolute", "magic", "pipe", "sub"] {
            assert!(!read(&folder, id).unwrap_err().contains("s3cret"), "{id}");
        }
    }

    #[test]
    fn a_secret_has_a_size_and_is_text() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("large"), "x".repeat(SECRET_BYTES_MAX + 1)).unwrap();
        fs::write(home.path().join("odd"), [0xff, 0xfe]).unwrap();
        assert!(read(home.path(), "large").unwrap_err().contains("more than"));
        assert!(read(home.path(), "odd").unwrap_err().contains("UTF-8"));
    }
}
