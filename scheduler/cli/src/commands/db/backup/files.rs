//! The files of a backup: copied, hashed, put in the place of others.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use sha2::{Digest as _, Sha256};

/// SHA-256 of every file below a folder, in hex, by its path from there.
pub(super) fn hashes(root: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut digest = Sha256::new();
            io::copy(&mut fs::File::open(&path)?, &mut digest)?;
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            found.insert(name, hex::encode(digest.finalize()));
        }
    }
    Ok(found)
}

/// A folder with all that is in it. Links to files are followed: what they name belongs to the backup. One to a folder is
/// followed within the folder that is copied, as a DAG file reads no other; one that it lies in adds nothing. What is no file
/// and no folder, such as a pipe, is left out.
pub(super) fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let root = from.canonicalize().with_context(|| format!("{} can not be read", from.display()))?;
    copy_below(from, to, &root, &mut Vec::new())
}

fn copy_below(from: &Path, to: &Path, root: &Path, above: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let real = from.canonicalize().with_context(|| format!("{} can not be read", from.display()))?;
    if above.contains(&real) {
        return Ok(());
    }
    if !real.starts_with(root) {
        tracing::warn!(
            link = %from.display(),
            "a link that leads out of the folder is left out of the backup: move what it names into the folder, or keep a copy of it yourself"
        );
        return Ok(());
    }
    above.push(real);
    if !to.is_dir() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(to)
            .with_context(|| format!("{} can not be made", to.display()))?;
    }
    for entry in fs::read_dir(from).with_context(|| format!("{} can not be read", from.display()))? {
        let (path, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
        if path.is_dir() {
            copy_below(&path, &target, root, above)?;
        } else if path.is_file()
            && let Err(error) = fs::copy(&path, &target)
            // Files of the lake come and go while it is copied; what the catalogue names stays for hours.
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error).with_context(|| format!("{} can not be copied", path.display()));
        }
    }
    above.pop();
    Ok(())
}

/// Deletes what is in a folder, and leaves the folder: it may be a disk of its own. One that is not there is empty.
pub(super) fn empty(folder: &Path) -> anyhow::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("{} can not be read", folder.display()))?,
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let gone = if entry.file_type()?.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        gone.with_context(|| format!("{} can not be removed", path.display()))?;
    }
    Ok(())
}

/// Refuses a backup's folder that lies in one that it is a copy of: it would copy itself, or be deleted with what it replaces.
pub(super) fn refuse_inside(folder: &Path, others: &[(&str, &Path)]) -> anyhow::Result<()> {
    // It need not be there yet, nor need the folders above it.
    let above = folder.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    let real = above.map(|(above, real)| real.join(folder.strip_prefix(above).unwrap_or(Path::new(""))));
    let real = real.unwrap_or_else(|| folder.to_owned());
    for (name, other) in others {
        if let Ok(other) = other.canonicalize()
            && real.starts_with(&other)
        {
            bail!("{} lies in {name}, {}; choose a folder elsewhere", folder.display(), other.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_copy_has_what_links_name_and_ends_where_they_lead_in_a_circle_or_out_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::write(folder.path().join("shared.sql"), "select 1").unwrap();
        symlink("../shared.sql", from.join("a.sql")).unwrap();
        symlink("..", from.join("sub/round")).unwrap();
        symlink("nowhere", from.join("dangling")).unwrap();
        fs::create_dir(folder.path().join("elsewhere")).unwrap();
        fs::write(folder.path().join("elsewhere/large"), "").unwrap();
        symlink("../elsewhere", from.join("outside")).unwrap();
        symlink("/", from.join("everything")).unwrap();
        nix::unistd::mkfifo(&from.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(hashes(&to).unwrap().keys().collect::<Vec<_>>(), ["a.sql"]);
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o700, "whatever the umask is");
        empty(&to).unwrap();
        assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
        empty(&folder.path().join("none")).unwrap();
    }

    #[test]
    fn a_backup_in_what_it_copies_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let dags = folder.path().join("dags");
        fs::create_dir(&dags).unwrap();
        symlink("dags", folder.path().join("link")).unwrap();
        for inside in ["dags", "dags/backup", "dags/of/today", "link/backup"] {
            let error =
                refuse_inside(&folder.path().join(inside), &[("the DAG folder", &dags)]).unwrap_err().to_string();
            assert!(error.contains("the DAG folder"), "{inside}: {error}");
        }
        refuse_inside(&folder.path().join("dags-backup"), &[("the DAG folder", &dags)]).unwrap();
    }
}
