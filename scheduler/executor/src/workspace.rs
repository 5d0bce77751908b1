//! A directory of its own for each attempt, gone with it.
//!
//! A file system such as ext4 gives no inode out again for a minute, and whoever makes a file passes all those that were
//! freed meanwhile. At some hundred attempts a second that search is what they cost, so a directory in which an attempt has
//! left nothing is used again, under another name, with the file that its command was in.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Directories that wait for the next attempts. More were needed at once.
const IDLE_MAX: usize = 32;
/// The file that a command lies in.
const COMMAND_FILE: &str = "command.sh";
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// The bits of a mode that say who may do what.
const PERMISSIONS: u32 = 0o777;

/// Where a worker's attempts have their directories. Clones mean the same place.
#[derive(Debug, Clone)]
pub struct Workspaces(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    parent: PathBuf,
    /// Directories with an empty [`COMMAND_FILE`] and nothing else.
    idle: Mutex<Vec<PathBuf>>,
}

impl Workspaces {
    /// They will be made below this directory, which is made with the first one.
    #[must_use]
    pub fn below(parent: PathBuf) -> Self {
        Self(Arc::new(Inner { parent, idle: Mutex::default() }))
    }

    /// Where they are.
    #[must_use]
    pub fn parent(&self) -> &Path {
        &self.0.parent
    }

    /// Makes a fresh directory, readable by its owner alone.
    ///
    /// # Errors
    /// When the directory can not be made.
    pub fn make(&self) -> io::Result<Workspace> {
        let path = self.fresh("attempt");
        let make = || fs::DirBuilder::new().mode(DIR_MODE).create(&path);
        let made = make().or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(self.parent())?;
                make()
            }
            _ => Err(error),
        });
        made.map_err(|error| {
            let parent = self.parent().display();
            io::Error::new(error.kind(), format!("making a working directory below {parent}: {error}"))
        })?;
        Ok(Workspace { path, of: self.clone() })
    }

    /// A directory with nothing in it but a command, and the command's file.
    ///
    /// # Errors
    /// When they can not be made.
    pub(crate) fn with_command(&self, command: &str) -> io::Result<(Workspace, PathBuf)> {
        while let Some(idle) = self.take_idle() {
            let workspace = Workspace { path: idle, of: self.clone() };
            // One that somebody has removed or changed meanwhile, as cleaners of /tmp do, is of no use.
            if let Ok(found) = workspace.used_again(command) {
                return Ok(found);
            }
        }
        let workspace = self.make()?;
        let file = workspace.write(COMMAND_FILE, command)?;
        Ok((workspace, file))
    }

    fn take_idle(&self) -> Option<PathBuf> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// A name that nobody has heard before.
    fn fresh(&self, kind: &str) -> PathBuf {
        self.parent().join(format!("{kind}-{:016x}", rand::random::<u64>()))
    }
}

/// An attempt's directory: its working directory unless it names one, and the place of generated files. Dropped, it is
/// removed with all that is in it.
#[derive(Debug)]
pub struct Workspace {
    /// Empty once the directory is somebody else's.
    path: PathBuf,
    of: Workspaces,
}

impl Workspace {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file that its owner alone can read. The name is one of ours, without directories.
    ///
    /// # Errors
    /// When it can not be written.
    pub fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.path().join(name);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(path)
    }

    /// Writes a file below a folder of ours, by the name that it has below the DAG folder.
    ///
    /// # Errors
    /// When it can not be written, or its name leads elsewhere.
    pub(crate) fn write_below(&self, folder: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        let is_plain = |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
        if !Path::new(name).components().all(is_plain) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("the name {name:?} is not plain")));
        }
        let path = self.path().join(folder).join(name);
        if let Some(parent) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(parent)?;
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&path)?;
        file.write_all(bytes)
    }

    /// Gives the directory back for another attempt to use, when nothing is in it but the file of its command. Nothing may
    /// run in it any more.
    pub(crate) fn give_back(mut self) {
        let path = self.of.fresh("idle");
        // Nobody's path leads to a later attempt's files, and a command, which may hold secrets, is gone with its attempt.
        let made_idle = || empty(&self.path.join(COMMAND_FILE)).and_then(|()| fs::rename(&self.path, &path));
        if !self.is_as_made() || made_idle().is_err() {
            return;
        }
        self.path = path;
        let mut idle = self.of.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(std::mem::take(&mut self.path));
        }
    }

    /// Whether it is as it was when the attempt began.
    fn is_as_made(&self) -> bool {
        let has_mode = |found: &fs::Metadata, mode: u32| found.mode() & PERMISSIONS == mode;
        let is_alone = || {
            let mut names = fs::read_dir(&self.path)?.map(|entry| Ok::<_, io::Error>(entry?.file_name()));
            Ok::<_, io::Error>(
                names.next().transpose()?.is_some_and(|name| name == COMMAND_FILE) && names.next().is_none(),
            )
        };
        let is_command = |found: &fs::Metadata| found.is_file() && found.nlink() == 1 && has_mode(found, FILE_MODE);
        fs::symlink_metadata(&self.path).is_ok_and(|found| found.is_dir() && has_mode(&found, DIR_MODE))
            && is_alone().unwrap_or(false)
            && fs::symlink_metadata(self.path.join(COMMAND_FILE)).is_ok_and(|found| is_command(&found))
    }

    /// Writes another command and takes another name.
    fn used_again(mut self, command: &str) -> io::Result<(Self, PathBuf)> {
        let path = self.of.fresh("attempt");
        fs::rename(&self.path, &path)?;
        self.path = path;
        let file = self.path.join(COMMAND_FILE);
        open_own(&file)?.write_all(command.as_bytes())?;
        Ok((self, file))
    }
}

fn open_own(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// Opened for it: ext4 writes a file at once to the disk that is emptied by its path and then written.
fn empty(path: &Path) -> io::Result<()> {
    open_own(path)?.set_len(0)
}

impl Drop for Workspace {
    /// Removing a large tree takes long, so that a thread which may block does it; the worker clears what is left of a
    /// killed one when it starts.
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.path);
        if path.as_os_str().is_empty() {
            return;
        }
        let remove = move || match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, dir = %path.display(), "an attempt's working directory could not be removed");
            }
            Ok(()) | Err(_) => {}
        };
        match tokio::runtime::Handle::try_current() {
            Ok(handle) => drop(handle.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn workspaces() -> (tempfile::TempDir, Workspaces) {
        let dir = tempfile::tempdir().unwrap();
        let workspaces = Workspaces::below(dir.path().join("a/b"));
        (dir, workspaces)
    }

    fn inode(path: &Path) -> u64 {
        fs::metadata(path).unwrap().ino()
    }

    #[test]
    fn what_was_left_as_it_was_is_used_again_under_another_name_and_shows_nothing_of_before() {
        let (_dir, workspaces) = workspaces();
        let (first, file) = workspaces.with_command("echo a long command with a secret").unwrap();
        let (path, inodes) = (first.path().to_owned(), (inode(first.path()), inode(&file)));
        assert_eq!(fs::metadata(&path).unwrap().mode() & PERMISSIONS, DIR_MODE);
        first.give_back();
        assert!(!path.exists());
        let idle = fs::read_dir(workspaces.parent()).unwrap().next().unwrap().unwrap().path();
        assert_eq!(fs::read_to_string(idle.join(COMMAND_FILE)).unwrap(), "", "a command goes with its attempt");
        let (second, file) = workspaces.with_command("true").unwrap();
        assert_ne!(second.path(), path);
        assert_eq!(fs::read_to_string(&file).unwrap(), "true");
        assert_eq!((inode(second.path()), inode(&file)), inodes, "no inode is freed and none is taken");
        drop(second);
        assert_eq!(fs::read_dir(workspaces.parent()).unwrap().count(), 0);
    }

    #[test]
    fn what_was_changed_in_any_way_is_removed() {
        type Change = (&'static str, fn(&Path));
        let changes: [Change; 7] = [
            ("a file more", |dir| fs::write(dir.join("left"), "x").unwrap()),
            ("a hidden directory", |dir| fs::create_dir(dir.join(".x")).unwrap()),
            ("no command", |dir| fs::remove_file(dir.join(COMMAND_FILE)).unwrap()),
            ("a link in its place", |dir| {
                fs::rename(dir.join(COMMAND_FILE), dir.join("../../elsewhere")).unwrap();
                std::os::unix::fs::symlink(dir.join("../../elsewhere"), dir.join(COMMAND_FILE)).unwrap();
            }),
            ("a second name", |dir| fs::hard_link(dir.join(COMMAND_FILE), dir.join("../../second")).unwrap()),
            ("the file's mode", |dir| {
                fs::set_permissions(dir.join(COMMAND_FILE), fs::Permissions::from_mode(0o755)).unwrap();
            }),
            ("the directory's mode", |dir| fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap()),
        ];
        for (what, change) in changes {
            let (_dir, workspaces) = workspaces();
            let (workspace, _) = workspaces.with_command("keep me").unwrap();
            change(workspace.path());
            workspace.give_back();
            assert_eq!(fs::read_dir(workspaces.parent()).unwrap().count(), 0, "{what}");
            assert_eq!(workspaces.take_idle(), None, "{what}");
        }
    }

    #[test]
    fn one_that_is_gone_or_lost_its_file_while_it_was_idle_is_not_missed() {
        let (_dir, workspaces) = workspaces();
        let all: Vec<_> = (0..3).map(|_| workspaces.with_command("true").unwrap().0).collect();
        all.into_iter().for_each(Workspace::give_back);
        let idle: Vec<PathBuf> = workspaces.0.idle.lock().unwrap().clone();
        fs::remove_dir_all(&idle[2]).unwrap();
        fs::remove_file(idle[1].join(COMMAND_FILE)).unwrap();
        fs::remove_file(idle[0].join(COMMAND_FILE)).unwrap();
        std::os::unix::fs::symlink("/dev/null", idle[0].join(COMMAND_FILE)).unwrap();
        let (workspace, file) = workspaces.with_command("echo new").unwrap();
        assert_eq!(fs::read_to_string(file).unwrap(), "echo new");
        drop(workspace);
        assert_eq!(fs::read_dir(workspaces.parent()).unwrap().count(), 0);
    }

    #[test]
    fn no_more_wait_than_are_needed_at_once() {
        let (_dir, workspaces) = workspaces();
        let all: Vec<_> = (0..IDLE_MAX + 5).map(|_| workspaces.with_command("true").unwrap().0).collect();
        all.into_iter().for_each(Workspace::give_back);
        assert_eq!(fs::read_dir(workspaces.parent()).unwrap().count(), IDLE_MAX);
    }
}
